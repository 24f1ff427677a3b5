"""Copies to and from a GPU: by vLLM's own worker for host memory, over the staging memory instead of its region."""
import mmap
from typing import Any

import torch
from vllm.v1.kv_offload.cpu.shared_offload_region import SharedOffloadRegion

from .staging import Shape


class StagingRegion(SharedOffloadRegion):
    """What vLLM's worker asks of its region, with memory that exists already and has no name in /dev/shm.

    The fields are those of vLLM 0.28 to 0.33; tests/engines/vllm/test_direct_classes.py holds each release to them.
    """

    def __init__(self, memory: mmap.mmap, shape: Shape, part: int) -> None:  # not super's: it would make a file
        self.page_size = mmap.PAGESIZE
        self.num_chunks = self.num_blocks = shape.rows  # renamed after 0.28
        self._row_stride = shape.row_bytes
        self.total_size_bytes = shape.rows * shape.row_bytes
        self.cpu_page_size = shape.part_bytes
        self.rank = part
        self._worker_offset = part * shape.part_bytes
        self._worker_area_end = (part + 1) * shape.part_bytes
        self.mmap_path, self._segments = "kvpool's staging memory", [("", 0, self.total_size_bytes)]
        self._creator, self.fd, self.mmap_obj = False, None, memory
        self._base = torch.frombuffer(memoryview(memory), dtype=torch.int8)[:self.total_size_bytes]
        self._views: list[torch.Tensor] = []
        self._canonical_offset = 0
        self.is_pinned, self.pinned_addresses = False, []


def gpu_worker(kv_caches: Any, blocks_per_chunk: int, memory: mmap.mmap, shape: Shape, part: int) -> Any:
    """vLLM's worker, which pins the memory, copies on streams of its own, and lets it go in shutdown()."""
    from vllm.v1.kv_offload.cpu.gpu_worker import CPUOffloadingWorker
    region = StagingRegion(memory, shape, part)
    try:
        return CPUOffloadingWorker(kv_caches, blocks_per_chunk, shape.rows, region)
    except Exception:
        region.cleanup()
        raise
