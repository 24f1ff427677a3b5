"""Requests that look chunks up, and the rows that were promised to them. Pure bookkeeping: no vLLM, no pool."""
import time
from dataclasses import dataclass, field

from .requests import Request
from .rows import Row, Rows

# How long a request waits for rows that others use, before it goes on without what found no row.
WAIT_S = 10.0


@dataclass
class Reader:
    """A request. What was promised to it stays in place until its load is prepared, or it asks no more."""
    request: Request = field(default_factory=Request)
    held: dict[bytes, Row] = field(default_factory=dict)
    step: int = 0             # of its last lookup
    waits: bool = False       # in this step a lookup found no row
    waits_since: float | None = None
    patient: bool = True      # it has not waited for long enough yet


class Readers:
    """By vLLM's request ids. Threads: one call at a time.

    A request that has to wait for a row lets go of what it holds, so no two wait for each other; and who holds every
    row already, or has waited long enough, is not told to wait.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._readers: dict[str, Reader] = {}
        self._holding: set[str] = set()
        self._step = 0

    def of(self, name: str) -> Reader:
        return self._readers.setdefault(name, Reader())

    def asks(self, name: str) -> Reader:
        reader = self.of(name)
        reader.step = self._step
        self._holding.add(name)
        return reader

    def hold(self, reader: Reader, row: Row) -> None:
        """The row is neither given away nor filled anew until let_go."""
        before = reader.held.get(row.key)
        if before is row:
            return
        self._rows.use(row)
        reader.held[row.key] = row
        if before is not None:
            self._rows.leave(before)

    def may_wait(self, reader: Reader) -> bool:
        """There is no row for it. False: it goes on without."""
        now = time.monotonic()
        if reader.waits_since is None:
            reader.waits_since = now
        if len(reader.held) >= self._rows.count or now - reader.waits_since >= WAIT_S:
            reader.patient = False
        reader.waits = reader.patient
        return reader.waits

    def let_go(self, reader: Reader) -> None:
        held, reader.held = reader.held, {}
        for row in held.values():
            self._rows.leave(row)

    def step_ends(self) -> None:
        for name in list(self._holding):
            reader = self._readers[name]
            if reader.waits or reader.step < self._step - 1:
                self.let_go(reader)
            if not reader.waits:
                reader.waits_since = None
            if not reader.held and not reader.waits:
                self._holding.discard(name)
            reader.waits = False
        self._step += 1

    def finished(self, name: str) -> None:
        self._holding.discard(name)
        reader = self._readers.pop(name, None)
        if reader is not None:
            self.let_go(reader)

    def let_all_go(self) -> None:
        for reader in self._readers.values():
            self.let_go(reader)
