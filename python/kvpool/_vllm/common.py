"""What the tier and the direct path do alike: settings, where chunks stand, misses after failures, warnings."""
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import kvpool
from kvpool import Status

from .requests import Group
from .transfers import Job

# How long a chunk whose load failed is answered as missing, if nobody stores it anew.
FAILED_FOR_S = 60.0
MOST_FAILED = 1 << 16
COMPLAIN_EVERY_S = 10.0
GROUP_BYTES = 4  # vLLM's keys are a block's hash and the group's index, big-endian


def pool_path(pool: Any, where: str) -> str:
    if not isinstance(pool, (str, os.PathLike)) or not os.fspath(pool):
        raise ValueError(f'kvpool: {where} needs "pool", the path of a pool file.')
    return os.fspath(pool)


def groups_of(config: Any) -> dict[int, Group]:
    """Of vLLM's OffloadingConfig, by the index that keys name them by; 0.28 has no ids."""
    return {getattr(group, "group_id", index): group_of(config, group) for index, group in enumerate(config.groups)}


def group_of(config: Any, group: Any) -> Group:
    """vLLM says from 0.33 on whether a group slides."""
    told = None
    if hasattr(group, "sliding_window_size_in_chunks"):
        told = group.sliding_window_size_in_chunks is not None
    return Group(group.tokens_per_block * config.cache.blocks_per_chunk, told)


def group_index(key: bytes) -> int:
    return int.from_bytes(key[-GROUP_BYTES:], "big")


def position(context: Any, key: bytes, group: Group) -> int:
    """The chunk's index in its prompt; -1 where vLLM does not say (before 0.31)."""
    end_of = getattr(context, "get_offload_key_position", None)
    end = None if end_of is None else end_of(key)
    return -1 if end is None else -(-end // group.tokens_per_chunk) - 1


class Failed:
    """Keys that are answered as missing for a while, because loading them failed: the engine recomputes them and does
    not ask for ever. Threads: one call at a time."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def __contains__(self, key: bytes) -> bool:
        until = self._until.get(key)
        if until is not None and time.monotonic() >= until:
            del self._until[key]
            return False
        return until is not None

    def add(self, keys: Iterable[bytes]) -> None:
        until = time.monotonic() + FAILED_FOR_S
        for key in keys:
            self._until.pop(key, None)
            self._until[key] = until
        while len(self._until) > MOST_FAILED:
            del self._until[next(iter(self._until))]

    def discard(self, key: bytes) -> None:
        """It was stored anew."""
        self._until.pop(key, None)


class Complaints:
    """Warnings, at most one in ten seconds: a drive that is gone fails thousands of chunks."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._next = 0.0

    def complain(self, what: str, problem: Any) -> None:
        """`problem`: the pool's exception, or (key, Status) of chunks."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + COMPLAIN_EVERY_S
        if isinstance(problem, kvpool.Error):
            self._logger.warning("kvpool: chunks are not %s: %s", what, problem)
            return
        why = sorted({status.name for _, status in problem} - {"OK", "EXISTS", "DECLINED"})
        self._logger.warning("kvpool: chunks are not %s (%s): the engine goes on without them; `kvpool info` names "
                             "devices that fail.", what, ", ".join(why))


class Outcomes:
    """What jobs that are over leave behind: misses, counts, warnings, and vLLM's events of what came and went, which
    `tell(keys, removed)` makes. Threads: one call at a time."""

    def __init__(self, failed: Failed, complaints: Complaints, count: Callable[..., None],
                 tell: Callable[[list[bytes], bool], None]) -> None:
        self._failed = failed
        self._complaints = complaints
        self._count = count
        self._tell = tell

    def loaded(self, job: Job) -> list[bytes]:
        """The keys that did not come."""
        bad = [key for key, status in job.results if status != Status.OK]
        if bad:
            self._count("load_failures", len(bad))
            self._complaints.complain("loaded", job.results)
            self._failed.add(bad)
            self._tell(job.keys(Status.NOT_FOUND), True)
        return bad

    def stored(self, job: Job) -> tuple[int, int]:
        """How many chunks are there now, and how many could not be stored; neither counts what was declined."""
        there = job.keys(Status.OK, Status.EXISTS)
        for key in job.keys(Status.OK):
            self._failed.discard(key)
        refused = len(job.results) - len(there) - len(job.keys(Status.DECLINED))
        if refused:
            self._count("store_failures", refused)
            self._complaints.complain("stored", job.results)
        self._tell(there, False)
        return len(there), refused
