"""Jobs of vLLM as requests of the pool: rows of the primary tier's view, straight to and from the devices."""
import select
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import kvpool
from kvpool import Status

from .requests import Run

DRAIN_POLL_MS = 50


@dataclass
class Job:
    """One job of vLLM: over when no piece of it is left. `results` in the order in which pieces end."""
    id: int
    is_load: bool
    pieces: int = 0
    results: list[tuple[bytes, Status]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def keys(self, *statuses: Status) -> list[bytes]:
        return [key for key, status in self.results if status in statuses]


@dataclass
class _Piece:
    job: Job
    space: Any
    run: Run
    deadline: float | None


class Transfers:
    """The jobs in flight on one channel of the pool.

    `view` is vLLM's primary tier or the staging memory, C-contiguous, (rows, row_bytes), and is read and written in
    place while jobs are in flight; it is registered once, unless it is the pool's own memory. Threads: one call at a
    time, but idle() and wait(), which any thread may use.
    """

    def __init__(self, pool: kvpool.Pool, view: memoryview, *, register: bool = True) -> None:
        self.rows, self.row_bytes = view.shape[0], view.strides[0]
        self._flat = view.cast("B")
        try:
            self._registration = pool.register(self._flat) if register else None
            self._channel = pool.channel()
        except BaseException:
            self._flat.release()
            raise
        self._in_flight = 0
        self._waiting: deque[_Piece] = deque()  # the channel was full
        self._finished: deque[Job] = deque()

    def submit(self, job: Job, runs: list[tuple[Any, Run]], deadline: float | None = None) -> None:
        """Starts the job: (space, run) for each piece; `deadline` in seconds, None: the pool file's. Does not wait, and
        raises nothing of the pool's: what it refuses is a result."""
        job.pieces = len(runs)
        if not runs:
            self._finished.append(job)
        for space, run in runs:
            self._start(_Piece(job, space, run, deadline))

    def finished(self) -> list[Job]:
        """The jobs that are over since the last call."""
        self._collect()
        jobs, self._finished = list(self._finished), deque()
        return jobs

    def idle(self) -> bool:
        """Nothing touches the view, or is about to."""
        return self._in_flight == 0 and not self._waiting

    def wait(self) -> None:
        """Sleeps until something may have ended, 50 ms at most. Collects nothing."""
        poller = select.poll()
        poller.register(self._channel.fileno(), select.POLLIN)
        poller.poll(DRAIN_POLL_MS)

    def collect(self) -> None:
        """Takes note of what has ended; finished() hands it out."""
        self._collect()

    def close(self) -> None:
        """Waits for what is in flight, then lets the view go."""
        self._waiting.clear()
        self._channel.close()
        if self._registration is not None:
            self._registration.release()
        self._flat.release()

    def _start(self, piece: _Piece) -> None:
        run = piece.run
        rows = [self._flat[at * self.row_bytes:(at + 1) * self.row_bytes] for at in run.chunk_ids]
        try:
            if piece.job.is_load:
                self._channel.submit_get(piece.space, run.keys, rows, deadline=piece.deadline, user=piece)
            else:
                self._channel.submit_put(piece.space, run.keys, rows, ordinal=run.ordinal, parent=run.parent,
                                         deadline=piece.deadline, user=piece)
            self._in_flight += 1
        except kvpool.Busy:
            self._waiting.append(piece)
        except kvpool.Error as error:
            self._end(piece, [error.status] * len(run.keys))

    def _end(self, piece: _Piece, results: list[Status]) -> None:
        job = piece.job
        job.results.extend(zip(piece.run.keys, results))
        job.pieces -= 1
        if job.pieces == 0:
            job.seconds = time.monotonic() - job.started
            self._finished.append(job)

    def _collect(self) -> None:
        for done in self._completions():
            self._in_flight -= 1
            self._end(done.user, done.results)
        for _ in range(len(self._waiting)):
            self._start(self._waiting.popleft())

    def _completions(self) -> Iterator[Any]:
        while batch := self._channel.poll():
            yield from batch
