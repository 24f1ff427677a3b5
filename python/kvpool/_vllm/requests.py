"""What the tier knows of a request: where its chunks stand, and what was promoted for it.

vLLM names chunks by hash and says of each where it ends in its prompt (from 0.31 on). The pool wants chains, to
evict them from the end that is worth least. Pure bookkeeping: no vLLM, no pool, no lock.
"""
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# A chain of a sliding group is put from its end: ordinals fall as positions rise.
LAST_ORDINAL = 1 << 40
MAX_PROMOTIONS = 2
ENOUGH_STEPS = 3
MAX_RUN = 32_768


@dataclass
class Group:
    """One KV cache group of the model, and whether its attention slides over a window of the last chunks.

    vLLM says so from 0.33 on (`told`). Before that its lookups give it away: full attention is looked up from the
    first chunk that the engine lacks, upwards, a window from the last chunk of the prompt, downwards.
    """
    tokens_per_chunk: int
    told: bool | None = None
    ups: int = 0
    downs: int = 0

    @property
    def sliding(self) -> bool | None:
        """None: not known yet."""
        if self.told is not None:
            return self.told
        return None if self.ups + self.downs < ENOUGH_STEPS else self.downs > self.ups

    def stepped(self, before: int, now: int) -> None:
        # Neighbours only: a scan that starts anew jumps, and says nothing.
        self.ups += now == before + 1
        self.downs += now == before - 1


@dataclass
class Run:
    """Chunks that go into the pool by one put. `ordinal` None: each a chain of its own."""
    keys: list[bytes]
    chunk_ids: list[int]
    ordinal: int | None = None
    parent: bytes = b""


@dataclass
class Request:
    """Of one request of vLLM. Positions are chunk indices; -1 where vLLM does not say them."""
    last_seen: dict[int, int] = field(default_factory=dict)  # group -> index of its last lookup
    keys: dict[tuple[int, int], bytes] = field(default_factory=dict)  # (group, index) -> key
    promotions: Counter[bytes] = field(default_factory=Counter)
    stored: Counter[int] = field(default_factory=Counter)  # group -> chunks stored so far

    def may_promote(self, key: bytes, rows: int) -> bool:
        """False once promoting the key would only push out what was promoted for the same request.

        vLLM needs all chunks of a prefix in its primary tier at once. Where they do not fit, it promotes them in
        turns for ever; a miss ends that, and costs the recomputation of what did not fit.
        """
        if key in self.promotions:
            return self.promotions[key] < MAX_PROMOTIONS
        return len(self.promotions) < rows

    def promoted(self, keys: Iterable[bytes]) -> None:
        self.promotions.update(keys)

    def looked_up(self, groups: Mapping[int, Group], group: int, index: int, key: bytes) -> None:
        """Notes where the key stands."""
        if index < 0:
            return
        self.keys[group, index] = key
        groups[group].stepped(self.last_seen.get(group, index), index)
        self.last_seen[group] = index

    def runs(self, groups: Mapping[int, Group], group: int, chunks: list[tuple[int, bytes, int]]) -> list[Run]:
        """Deals (index, key, chunk id) of one group over puts, so that the pool's chains end where chunks are
        worth least: at the far end of full attention, at the near end of a sliding window."""
        placed = all(index >= 0 for index, _, _ in chunks)
        if placed:
            for index, key, _ in chunks:
                self.keys[group, index] = key
        sliding = groups[group].sliding
        if sliding is None and len(groups) == 1:
            sliding = False
        if sliding is None or (sliding and not placed):
            return split([Run([key for _, key, _ in chunks], [at for _, _, at in chunks])])
        if not placed:
            return self._unplaced(group, chunks)
        return split(self._chained(group, sorted(chunks, reverse=sliding), sliding))

    def _unplaced(self, group: int, chunks: list[tuple[int, bytes, int]]) -> list[Run]:
        """Before 0.31: in the order in which they come, which is that of the prompt."""
        ordinal = self.stored[group]
        self.stored[group] += len(chunks)
        parent = self.keys.get((group, ordinal - 1), b"")
        self.keys[group, self.stored[group] - 1] = chunks[-1][1]
        return split([Run([key for _, key, _ in chunks], [at for _, _, at in chunks], ordinal, parent)])

    def _chained(self, group: int, chunks: list[tuple[int, bytes, int]], sliding: bool) -> list[Run]:
        step = -1 if sliding else 1
        runs: list[Run] = []
        expected = None
        for index, key, chunk_id in chunks:
            if index != expected:
                ordinal = LAST_ORDINAL - index if sliding else index
                runs.append(Run([], [], ordinal, self.keys.get((group, index - step), b"")))
            runs[-1].keys.append(key)
            runs[-1].chunk_ids.append(chunk_id)
            expected = index + step
        return runs


def split(runs: list[Run]) -> list[Run]:
    """No put of more keys than a request of the pool takes."""
    pieces: list[Run] = []
    for run in runs:
        for begin in range(0, len(run.keys), MAX_RUN):
            end = begin + MAX_RUN
            ordinal = None if run.ordinal is None else run.ordinal + begin
            parent = run.parent if begin == 0 else run.keys[begin - 1]
            pieces.append(Run(run.keys[begin:end], run.chunk_ids[begin:end], ordinal, parent))
    return pieces
