"""What vLLM exports for the pool: gauges of its devices, and what the tier did.

Names begin with "vllm:", which is what vLLM collects and clears; the labels are those that vLLM adds, and `device`.
"""
import time
from collections import Counter
from typing import Any

PREFIX = "vllm:kvpool_"
SNAPSHOT_EVERY_S = 1.0

# name -> (what PoolInfo calls it, documentation)
POOL_GAUGES = {
    "blocks": ("blocks", "Chunks in the pool."),
    "block_bytes": ("block_bytes", "Bytes of all chunks in the pool."),
    "dirty_bytes": ("dirty_bytes", "Bytes that lie in the pool's memory only: a crash would lose them."),
}
DEVICE_GAUGES = {
    "device_used_bytes": ("used_bytes", "Bytes in use on a device of the pool."),
    "device_capacity_bytes": ("capacity_bytes", "Bytes that a device of the pool holds."),
    "device_share": ("share", "The part of what is written next that goes to a device, 0 to 1."),
    "device_serving": ("serving", "1 while a device of the pool serves, 0 once it has failed or is removed."),
}
POOL_COUNTERS = {
    "evictions": ("evictions", "Chunks evicted from the pool."),
    "declined": ("declined", "Chunks that the pool's admission policy did not take."),
}
DEVICE_COUNTERS = {
    "device_read_bytes": ("bytes_read", "Bytes read from a device of the pool."),
    "device_written_bytes": ("bytes_written", "Bytes written to a device of the pool."),
    "device_io_errors": ("io_errors", "Transfers that a device of the pool failed."),
    "device_checksum_failures": ("checksum_failures", "Units of a device that did not verify, and were not delivered."),
}
TIER_COUNTERS = {
    "load_failures": "Chunks that a lookup had found and that could not be loaded; the engine recomputes them.",
    "store_failures": "Chunks that could not be stored.",
}
PRIMARY_COUNTERS = {
    "refused_promotions": "Lookups of present chunks answered as missing: the primary tier is too small.",
}
STAGING_COUNTERS = {
    "fetched_bytes": "Bytes brought from the pool into rows of the staging memory.",
    "fetch_seconds": "Time of all requests that brought them, each from its submission to its end.",
    "refused_loads": "Lookups of present chunks answered as missing: no row of the staging memory came free in time.",
    "refused_stores": "Chunks that were not stored: every row of the staging memory was in use.",
}
STAGING_GAUGES = {
    "staging_rows": "Rows of the staging memory, a chunk each.",
    "staging_rows_in_use": "Rows of the staging memory that chunks are moving through, or are promised to requests.",
}


def tier_definitions(metadata: Any) -> dict[str, Any]:
    """name -> metadata object of vLLM; `metadata` is the module that has OffloadingCounterMetadata and the gauge's."""
    return _of_pool(metadata) | _plain(metadata.OffloadingCounterMetadata, TIER_COUNTERS | PRIMARY_COUNTERS)


def staging_definitions(metadata: Any) -> dict[str, Any]:
    """The same of the direct path."""
    return (_of_pool(metadata) | _plain(metadata.OffloadingCounterMetadata, TIER_COUNTERS | STAGING_COUNTERS)
            | _plain(metadata.OffloadingGaugeMetadata, STAGING_GAUGES))


def _plain(kind: Any, table: dict[str, str]) -> dict[str, Any]:
    return {PREFIX + name: kind(documentation=text) for name, text in table.items()}


def _of_pool(metadata: Any) -> dict[str, Any]:
    counter, gauge = metadata.OffloadingCounterMetadata, metadata.OffloadingGaugeMetadata
    found: dict[str, Any] = {}
    for table, kind, labels in ((POOL_GAUGES, gauge, ()), (DEVICE_GAUGES, gauge, ("device",)),
                                (POOL_COUNTERS, counter, ()), (DEVICE_COUNTERS, counter, ("device",))):
        found |= {PREFIX + name: kind(documentation=text, labelnames=labels) for name, (_, text) in table.items()}
    return found


class Metrics:
    """Counts between two calls of report(). Threads: one call at a time."""

    def __init__(self, pool: Any, clock: Any = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._before: dict[tuple[str, str], float] = {}
        self._next_snapshot = 0.0

    def count(self, name: str, by: float = 1) -> None:
        self._counts[name] += by

    def report(self, stats: Any, gauges: dict[str, float] | None = None) -> None:
        """Adds to `stats` (OffloadingConnectorStats) what happened since the last call; looks at the pool's own
        counters once a second, and sets `gauges` then."""
        for name, count in self._counts.items():
            if count:
                stats.increase_counter(PREFIX + name, count)
        self._counts.clear()
        now = self._clock()
        if now < self._next_snapshot:
            return
        self._next_snapshot = now + SNAPSHOT_EVERY_S
        info = self._pool.info()
        for name, value in (gauges or {}).items():
            stats.set_gauge(PREFIX + name, value)
        self._add(stats, POOL_GAUGES, POOL_COUNTERS, info, ())
        for device in info["devices"]:
            values = {**device, "serving": int(device["state"] == "serving")}
            self._add(stats, DEVICE_GAUGES, DEVICE_COUNTERS, values, (device["name"],))

    def _add(self, stats: Any, gauges: Any, counters: Any, values: Any, labels: tuple[str, ...]) -> None:
        for name, (field, _) in gauges.items():
            stats.set_gauge(PREFIX + name, values[field], labels)
        for name, (field, _) in counters.items():
            before = self._before.get((name, *labels), 0)
            self._before[(name, *labels)] = values[field]
            if values[field] != before:
                stats.increase_counter(PREFIX + name, values[field] - before, labels)
