"""Rows of the staging memory: which chunk lies in which, who uses it, which goes next. Pure: no vLLM, no pool, no I/O.

A row is filled by the pool or by vLLM's workers, is then ready, and is given to another chunk when nobody uses it, in
the order of last use.
"""
import time
from collections import OrderedDict, deque
from dataclasses import dataclass


@dataclass(eq=False)
class Row:
    """Where one chunk lies, or will lie."""
    number: int
    key: bytes
    ready: bool = False
    fetched: bool = False    # by the pool, or else by workers
    since: float = 0.0       # when it began to be filled
    uses: int = 0            # transfers of the pool, and requests that were promised it
    worker_uses: int = 0     # copies of vLLM's workers
    forgotten: bool = False  # no key leads here any more; free once nobody uses it
    rest_s: float = 0.0      # and that much later: bytes may still come


class Rows:
    """Threads: one call at a time."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = deque(range(count))
        self._by_key: dict[bytes, Row] = {}
        self._idle: OrderedDict[int, Row] = OrderedDict()  # ready and unused; used longest ago first
        self._limbo: set[Row] = set()                      # forgotten, and still used
        self._resting: list[tuple[float, int]] = []        # (until when, number)

    @property
    def in_use(self) -> int:
        """Rows that no chunk can be given now."""
        return self.count - len(self._free) - len(self._idle)

    def find(self, key: bytes) -> Row | None:
        return self._by_key.get(key)

    def take(self, key: bytes, *, fetched: bool) -> Row | None:
        """A row to fill for a key that has none, used by whoever fills it. None: every row is in use."""
        self._wake()
        if self._free:
            number = self._free.popleft()
        elif self._idle:
            number, old = self._idle.popitem(last=False)
            del self._by_key[old.key]
        else:
            return None
        row = Row(number, key, fetched=fetched, since=time.monotonic())
        row.uses, row.worker_uses = int(fetched), int(not fetched)
        self._by_key[key] = row
        return row

    def use(self, row: Row, *, worker: bool = False) -> None:
        row.worker_uses += worker
        row.uses += not worker
        self._idle.pop(row.number, None)

    def leave(self, row: Row, *, worker: bool = False) -> None:
        """The end of one use, or of filling: whoever filled the row says `ready` before."""
        row.worker_uses -= worker
        row.uses -= not worker
        if row.uses or row.worker_uses:
            return
        if row.forgotten:
            self._limbo.discard(row)
            self._give_back(row)
        else:
            self._idle[row.number] = row

    def touch(self, key: bytes) -> None:
        row = self._by_key.get(key)
        if row is not None and row.number in self._idle:
            self._idle.move_to_end(row.number)

    def forget(self, row: Row, rest_s: float = 0.0) -> None:
        """No lookup finds it any more. It is somebody else's `rest_s` seconds after its last use has ended."""
        row.rest_s = max(row.rest_s, rest_s)
        if row.forgotten:
            return
        row.forgotten = True
        del self._by_key[row.key]
        if self._idle.pop(row.number, None):
            self._give_back(row)
        else:
            self._limbo.add(row)

    def forget_all(self) -> None:
        for row in list(self._by_key.values()):
            self.forget(row)

    def workers_are_done(self) -> None:
        """With all copies to and from rows that are forgotten."""
        for row in list(self._limbo):
            if row.worker_uses:
                row.worker_uses = 1
                self.leave(row, worker=True)

    def _give_back(self, row: Row) -> None:
        if row.rest_s:
            self._resting.append((time.monotonic() + row.rest_s, row.number))
        else:
            self._free.append(row.number)

    def _wake(self) -> None:
        now = time.monotonic()
        self._free.extend(number for until, number in self._resting if now >= until)
        self._resting = [entry for entry in self._resting if now < entry[0]]
