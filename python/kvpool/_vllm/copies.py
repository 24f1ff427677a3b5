"""Copies between vLLM's KV cache and the staging memory, for a KV cache in host memory."""
import ctypes
import mmap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vllm.v1.kv_offload.base import OffloadingWorker, TransferResult

from .staging import Shape


@dataclass(frozen=True)
class _Tensor:
    address: int     # of block 0
    page_bytes: int  # of a block
    offset: int      # of its first page in a row


class HostCopies(OffloadingWorker):
    """Copies when it is asked to: a transfer is over when submit_store or submit_load returns, and cannot fail.

    `memory` is the staging memory, `part` the worker's number in each row. Threads: one.
    """

    def __init__(self, kv_caches: Any, blocks_per_chunk: int, memory: mmap.mmap, shape: Shape, part: int) -> None:
        self._blocks_per_chunk = blocks_per_chunk
        self._groups = kv_caches.group_data_refs
        self._memory = memory
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self._row_bytes = shape.row_bytes
        self._tensors: list[_Tensor] = []
        offset = part * shape.part_bytes
        for each in kv_caches.tensors:
            if not each.tensor.is_contiguous():
                raise RuntimeError("kvpool: this model's KV cache has gaps between its blocks, which the direct path "
                                   "does not copy on a processor: take KVPoolTier in secondary_tiers.")
            self._tensors.append(_Tensor(each.tensor.data_ptr(), each.page_size_bytes, offset))
            offset += each.page_size_bytes * blocks_per_chunk
        if offset > (part + 1) * shape.part_bytes:
            raise RuntimeError(f"kvpool: this worker's part of a chunk has {offset - part * shape.part_bytes} bytes, "
                               f"and vLLM named {shape.part_bytes}: report it, and take KVPoolTier meanwhile.")
        self._finished: list[TransferResult] = []

    def submit_store(self, job_id: int, src_spec: Any, dst_spec: Any) -> bool:
        return self._copy(job_id, dst_spec.block_ids, src_spec, store=True)

    def submit_load(self, job_id: int, src_spec: Any, dst_spec: Any, **later: Any) -> bool:
        return self._copy(job_id, src_spec.block_ids, dst_spec, store=False)

    def get_finished(self) -> list[TransferResult]:
        finished, self._finished = self._finished, []
        return finished

    def wait(self, job_ids: set[int]) -> None:
        pass

    def _copy(self, job_id: int, rows: Any, blocks: Any, *, store: bool) -> bool:
        begin, nbytes = time.perf_counter(), 0
        for group, block, row, place in self._places(rows, blocks):
            for ref in self._groups[group]:
                tensor = self._tensors[ref.tensor_idx]
                here = tensor.address + block * tensor.page_bytes
                there = self._base + row * self._row_bytes + tensor.offset + place * tensor.page_bytes
                ctypes.memmove(*(there, here) if store else (here, there), ref.page_size_bytes)
                nbytes += ref.page_size_bytes
        self._finished.append(TransferResult(job_id, True, nbytes, max(time.perf_counter() - begin, 1e-9)))
        return True

    def _places(self, rows: Any, blocks: Any) -> Iterator[tuple[int, int, int, int]]:
        """(group, block, row, place in the row): blocks come group by group, each from its own first index on, and the
        first row of a group may begin in its middle."""
        block_at = row_at = 0
        for group, (count, first) in enumerate(zip(blocks.group_sizes, blocks.block_indices)):
            skipped = first % self._blocks_per_chunk
            for i in range(count):
                row, place = divmod(skipped + i, self._blocks_per_chunk)
                yield group, int(blocks.block_ids[block_at + i]), int(rows[row_at + row]), place
            block_at += count
            if count:
                row_at += -(-(skipped + count) // self._blocks_per_chunk)
