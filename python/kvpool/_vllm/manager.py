"""StagingManager: the side of the direct path that lives in vLLM's scheduler."""
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import kvpool
from kvpool import Status
from vllm.logger import init_logger
from vllm.v1.kv_offload.base import (LookupResult, Medium, OffloadingEvent, OffloadingManager, PrepareStoreOutput,
                                     RequestOffloadingContext)

from . import metrics
from .common import Complaints, Failed, Outcomes, group_index, groups_of, position
from .readers import Reader, Readers
from .requests import Run
from .rows import Row, Rows
from .spaces import space_spec
from .staging import Shape, Staging
from .transfers import Job, Transfers
from .worker import StagingLoadStoreSpec

# A pool ends a request 100 ms after its deadline; a daemon that hangs ends nothing.
GRACE_S = 1.0
# Of a daemon's client: what its daemon had begun may still come into a row when the daemon is gone.
REST_S = 60.0
# Copies that were under way at a reset are over by then, whatever vLLM says of them.
FLUSHED_AFTER_S = 30.0
LATE = (Status.CANCELLED, Status.TIMED_OUT, Status.IO_ERROR)

logger = init_logger("vllm.kvpool")  # vLLM prints loggers of its own name only


@dataclass(eq=False)
class _Store:
    """Chunks of one prepare_store that workers copy, as puts of the pool: (group, run)."""
    runs: list[tuple[int, Run]]


class StagingManager(OffloadingManager):
    """Chunks come and go through rows of the pool's memory, which the workers map.

    A lookup of a chunk that no row has begins to bring it there, and says HIT_PENDING until it has come: HIT is said of
    what lies in a row already, and stays there for the request until its load is prepared. So a worker's load is a copy
    in memory, and never fails. What cannot be brought is a miss for a minute. Stores are put from the rows that the
    workers filled; what cannot be put is a miss later. Rows are given to other chunks in the order of last use.

    Threads: vLLM's scheduler's. No method waits, but shutdown. After the start none raises for the pool's sake.
    """

    medium = Medium.STORAGE

    def __init__(self, config: Any, settings: Any, shape: Shape, *, version: str, platform: str) -> None:
        self._deadline_s = settings.load_deadline_s
        self._groups = groups_of(config)
        self._failed = Failed()
        self._complaints = Complaints(logger)
        self._events: list[OffloadingEvent] | None = [] if config.enable_kv_cache_events else None
        self._rows = Rows(shape.rows)
        self._readers = Readers(self._rows)
        self._stores: dict[bytes, _Store] = {}          # key -> what it is copied with
        self._to_fetch: dict[int, list[Row]] = {}       # group -> rows; until the step ends
        self._jobs: dict[int, dict[bytes, Row]] = {}    # of the pool, by number
        self._next_job = 0
        self._reset_at: float | None = None             # copies of before may still be under way
        self._transfers: Transfers | None = None
        self._pool = kvpool.Pool.open(settings.pool)
        try:
            self._staging: Staging | None = Staging(self._pool, shape)
            if platform != "cpu":
                self._staging.require_fixed_pages()
            self._spaces = {group: self._pool.space(**space_spec(
                config, group, shape.row_bytes, version=version, platform=platform, namespace=settings.namespace))
                for group in self._groups}
            self._transfers = Transfers(self._pool, self._staging.view, register=False)
        except BaseException:
            self.shutdown()
            raise
        self._metrics = metrics.Metrics(self._pool)
        self._outcomes = Outcomes(self._failed, self._complaints, self._metrics.count, self._tell)
        logger.info("kvpool: pool %s, %d groups, staging memory of %d rows of %d bytes (%s).", settings.pool,
                    len(self._groups), shape.rows, shape.row_bytes, self._staging.memory.description)

    # --- lookups and loads ---

    def on_new_request(self, req_context: Any) -> RequestOffloadingContext:
        return RequestOffloadingContext()

    def lookup(self, key: bytes, req_context: Any) -> LookupResult:
        """HIT, HIT_PENDING and RETRY for as long as the deadline and the wait for a row allow, else MISS."""
        if self._transfers is None:
            return LookupResult.MISS
        self._collect()
        group, reader = group_index(key), self._readers.asks(req_context.req_id)
        reader.request.looked_up(self._groups, group, position(req_context, key, self._groups[group]), key)
        row = self._rows.find(key)
        if row is None:
            return self._fetch(group, key, reader)
        if not row.ready and self._is_late(row):
            return LookupResult.MISS
        self._readers.hold(reader, row)
        return LookupResult.HIT if row.ready else LookupResult.HIT_PENDING

    def prepare_load(self, keys: Collection[bytes], req_context: Any) -> StagingLoadStoreSpec:
        """Of keys that lookups of this step have answered by HIT."""
        rows = [self._promised(key) for key in keys]
        for row in rows:
            self._rows.use(row, worker=True)
        self._readers.let_go(self._readers.of(req_context.req_id))
        return self._spec(rows)

    def complete_load(self, keys: Collection[bytes], req_context: Any) -> None:
        self._end_copies([row for key in keys if (row := self._rows.find(key))])

    def touch(self, keys: Collection[bytes], req_context: Any) -> None:
        for key in keys:
            self._rows.touch(key)

    # --- stores ---

    def prepare_store(self, keys: Collection[bytes], req_context: Any) -> PrepareStoreOutput | None:
        """Rows for the chunks that neither the pool nor a row has. Where there are not enough, the first ones get some;
        None, of vLLM's asking again, where none gets any."""
        wanted = [key for key in keys if not self._has(key)]
        rows: list[Row] = []
        for key in wanted:
            row = self._rows.take(key, fetched=False)
            if row is None:
                break
            rows.append(row)
        if len(rows) < len(wanted):
            self._metrics.count("refused_stores", len(wanted) - len(rows))
        if wanted and not rows:
            return None
        self._note_store(rows, req_context)
        return PrepareStoreOutput([row.key for row in rows], self._spec(rows), [])

    def complete_store(self, keys: Collection[bytes], req_context: Any, success: bool = True) -> None:
        filled = {key: row for key in keys if (row := self._rows.find(key)) and not row.ready}
        stores = {store for key in filled if (store := self._stores.pop(key, None))}
        for row in filled.values():
            row.ready = success
            if not success:
                self._rows.forget(row)
        if success:
            for store in stores:
                self._put(store, filled)
        self._end_copies(list(filled.values()))

    # --- steps ---

    def on_schedule_end(self, context: Any) -> None:
        """Begins what the lookups of the step have asked for."""
        if self._transfers is None:
            return
        waiting, self._to_fetch = self._to_fetch, {}
        for group, rows in waiting.items():
            run = Run([row.key for row in rows], [row.number for row in rows])
            self._submit(True, [(group, run)], {row.key: row for row in rows})
        self._readers.step_ends()
        self._collect()

    def on_request_finished(self, req_context: Any) -> None:
        self._readers.finished(req_context.req_id)

    def has_pending_work(self) -> bool:
        if self._transfers is None:
            return False
        self._collect()
        return bool(self._to_fetch) or not self._transfers.idle()

    def reset_cache(self) -> None:
        """Forgets the rows, not the pool. Rows that workers still copy are given to nobody until they are done."""
        self._readers.let_all_go()
        for rows in self._to_fetch.values():
            for row in rows:
                self._rows.forget(row)
                self._rows.leave(row)
        self._to_fetch.clear()
        self._stores.clear()
        self._rows.forget_all()
        self._reset_at = time.monotonic()

    def on_reset_flushed(self) -> None:
        """vLLM 0.33 says when the copies that were under way at a reset are over."""
        self._reset_at = None
        self._rows.workers_are_done()

    # --- reports ---

    def take_events(self) -> Iterable[OffloadingEvent]:
        events, self._events = self._events, None if self._events is None else []
        return events or ()

    def get_stats(self) -> Any:
        from vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics import OffloadingConnectorStats
        if self._transfers is None:
            return None
        self._collect()
        stats = OffloadingConnectorStats()
        self._metrics.report(stats, {"staging_rows": self._rows.count, "staging_rows_in_use": self._rows.in_use})
        return None if stats.is_empty() else stats

    def shutdown(self) -> None:
        """Waits for what is in flight and closes the pool, which records what is to survive. Idempotent. A process that
        is killed instead loses what lies in memory only."""
        transfers, self._transfers = self._transfers, None
        if transfers is not None:
            transfers.close()
        staging, self._staging = getattr(self, "_staging", None), None
        if staging is not None:
            staging.view.release()
        self._pool.close()

    # --- inside ---

    def _fetch(self, group: int, key: bytes, reader: Reader) -> LookupResult:
        if key in self._failed or not self._contains(group, key):
            return LookupResult.MISS
        if not reader.request.may_promote(key, self._rows.count):
            return self._refuse()
        row = self._rows.take(key, fetched=True)
        if row is None:
            return LookupResult.RETRY if self._readers.may_wait(reader) else self._refuse()
        reader.request.promoted([key])
        self._readers.hold(reader, row)
        self._to_fetch.setdefault(group, []).append(row)
        return LookupResult.HIT_PENDING

    def _refuse(self) -> LookupResult:
        self._metrics.count("refused_loads")
        return LookupResult.MISS

    def _is_late(self, row: Row) -> bool:
        return row.fetched and time.monotonic() > row.since + self._deadline_s + GRACE_S

    def _promised(self, key: bytes) -> Row:
        row = self._rows.find(key)
        if row is None or not row.ready:
            raise RuntimeError(f"kvpool: vLLM loads the chunk {key.hex()}, which was not promised: report it.")
        return row

    def _contains(self, group: int, key: bytes) -> bool:
        try:
            return self._spaces[group].contains([key])[0]
        except kvpool.Error as error:
            self._complaints.complain("looked up", error)
            return False

    def _has(self, key: bytes) -> bool:
        if self._rows.find(key) is not None:
            self._rows.touch(key)
            return True
        return self._contains(group_index(key), key)

    def _spec(self, rows: list[Row]) -> StagingLoadStoreSpec:
        return StagingLoadStoreSpec([row.number for row in rows], self._staging.place)

    def _note_store(self, rows: list[Row], context: Any) -> None:
        """How the chunks go into the pool, while their order is known: complete_store has a set."""
        chunks: dict[int, list[tuple[int, bytes, int]]] = {}
        for row in rows:
            group = group_index(row.key)
            chunks.setdefault(group, []).append((position(context, row.key, self._groups[group]), row.key, row.number))
        request = self._readers.of(context.req_id).request
        store = _Store([(group, run) for group, of_group in chunks.items()
                        for run in request.runs(self._groups, group, of_group)])
        self._stores.update((row.key, store) for row in rows)

    def _put(self, store: _Store, filled: dict[bytes, Row]) -> None:
        runs = [(group, run) for group, run in store.runs if all(key in filled for key in run.keys)]
        rows = {key: filled[key] for _, run in runs for key in run.keys}
        for row in rows.values():
            self._rows.use(row)
        self._submit(False, runs, rows)

    def _submit(self, is_load: bool, runs: list[tuple[int, Run]], rows: dict[bytes, Row]) -> None:
        if self._transfers is None or not runs:
            return
        self._next_job += 1
        self._jobs[self._next_job] = rows
        self._transfers.submit(Job(self._next_job, is_load), [(self._spaces[group], run) for group, run in runs],
                               deadline=self._deadline_s if is_load else None)

    def _end_copies(self, rows: list[Row]) -> None:
        for row in rows:
            self._rows.leave(row, worker=True)
        if self._reset_at is not None:
            # Workers take what they are told in its order: this was told after the reset's flush.
            self.on_reset_flushed()

    def _collect(self) -> None:
        for job in self._transfers.finished():
            rows = self._jobs.pop(job.id)
            if job.is_load:
                self._fetched(job, rows)
            else:
                self._outcomes.stored(job)
            for row in rows.values():
                self._rows.leave(row)
        if self._reset_at is not None and time.monotonic() > self._reset_at + FLUSHED_AFTER_S:
            self.on_reset_flushed()

    def _fetched(self, job: Job, rows: dict[bytes, Row]) -> None:
        good = job.keys(Status.OK)
        for key in good:
            rows[key].ready = True
        if good:
            self._metrics.count("fetched_bytes", len(good) * self._staging.shape.row_bytes)
            self._metrics.count("fetch_seconds", job.seconds)
        for key, status in job.results:
            if status != Status.OK:
                self._rows.forget(rows[key], REST_S if status in LATE else 0.0)
        self._outcomes.loaded(job)

    def _tell(self, keys: list[bytes], removed: bool) -> None:
        if self._events is not None and keys:
            self._events.append(OffloadingEvent(keys=keys, medium=self.medium, removed=removed))
