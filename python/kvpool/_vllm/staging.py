"""The staging memory: rows of the pool's own memory that vLLM's workers map as well."""
import ctypes
import mmap
import os
import re
from dataclasses import dataclass
from typing import Any

PAGE = 4096
DEFAULT_BYTES = 4 << 30


@dataclass(frozen=True)
class Shape:
    """A row is one chunk: the part of each worker, one after the other, padded to 4 KiB."""
    rows: int
    row_bytes: int
    part_bytes: int  # of one worker; of all of them where they hold the same bytes

    @classmethod
    def of(cls, config: Any, staging_bytes: int) -> "Shape":
        """Of vLLM's OffloadingConfig. It is the layout of vLLM's own rows in host memory, so a pool that a tier filled
        serves the direct path as well. ValueError, with one sentence, where there is no room for a row."""
        part = config.worker_kv_bytes_per_block * config.cache.blocks_per_chunk
        row = -(-part * (1 if config.replicated_layout else config.parallel.world_size) // PAGE) * PAGE
        if row == 0:
            raise ValueError("kvpool: this model has no KV cache to offload: leave kv_transfer_config out.")
        if staging_bytes < row:
            raise ValueError(f'kvpool: "staging_bytes" of {staging_bytes} holds no chunk, which has {row} bytes: give '
                             f"it the longest prompt, {row} for every {tokens_per_chunk(config)} tokens.")
        return cls(staging_bytes // row, row, part)


def tokens_per_chunk(config: Any) -> int:
    return max(group.tokens_per_block for group in config.groups) * config.cache.blocks_per_chunk


@dataclass(frozen=True)
class Place:
    """Where workers of the same machine find the staging memory. Goes to them with every transfer."""
    boot: str
    path: str
    nbytes: int
    shape: Shape

    def attach(self) -> mmap.mmap:
        """Maps it. RuntimeError, with one sentence, where it is out of reach."""
        if boot() != self.boot:
            raise RuntimeError("kvpool: this worker runs on another machine than vLLM's scheduler, and they share "
                               "memory: run the engine on one machine, or take KVPoolTier in secondary_tiers.")
        try:
            descriptor = os.open(self.path, os.O_RDWR)
        except OSError as error:
            raise RuntimeError(f"kvpool: this worker cannot open the scheduler's memory ({error}): run both in one "
                               "container, as the same user.") from error
        try:
            return mmap.mmap(descriptor, self.nbytes)
        finally:
            os.close(descriptor)


class Staging:
    """Memory of the pool, in the scheduler's process. Threads: immutable."""

    def __init__(self, pool: Any, shape: Shape) -> None:
        self.shape = shape
        self.memory = pool.allocate(shape.rows * shape.row_bytes, shareable=True)
        whole = memoryview(self.memory)
        self.view = whole[:shape.rows * shape.row_bytes].cast("B", (shape.rows, shape.row_bytes))
        self.place = Place(boot(), f"/proc/{os.getpid()}/fd/{self.memory.fileno()}", whole.nbytes, shape)

    def require_fixed_pages(self) -> None:
        """For memory that a GPU pins: the pool takes pages of 4 KiB away from a drive that hangs, and a GPU would go on
        with the former ones. RuntimeError, with one sentence, unless all of it is on hugepages, which stay."""
        if not on_hugepages(memoryview(self.memory)):
            raise RuntimeError(f"kvpool: the staging memory ({self.memory.description}) has to be on transparent "
                               "hugepages for a GPU: it takes Linux 6.1, and a shmem_enabled in "
                               "/sys/kernel/mm/transparent_hugepage other than deny; or give staging_bytes less.")


def boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def on_hugepages(memory: memoryview) -> bool:
    """Whether all of this shared memory is mapped by transparent hugepages."""
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    with open("/proc/self/smaps", encoding="utf-8") as file:
        return huge_bytes(file, begin, begin + memory.nbytes) == memory.nbytes


def huge_bytes(smaps: Any, begin: int, end: int) -> int:
    """Of the mappings within [begin, end), by the lines of smaps."""
    inside, found = False, 0
    for line in smaps:
        if header := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = begin <= int(header[1], 16) and int(header[2], 16) <= end
        elif inside and line.startswith("ShmemPmdMapped:"):
            found += int(line.split()[1]) << 10
    return found
