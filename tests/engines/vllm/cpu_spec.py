"""For tests: vLLM's TieringOffloadingSpec on the processor.

vLLM copies between its cache and the primary tier by CUDA and XPU workers only, and refuses the processor at that
one point. CopyWorker does the same with plain copies; the tiering manager, the primary tier and its mapping are
vLLM's own. Engine and workers import this file: PYTHONPATH has to lead to it.
"""
import inspect
import time

import torch
from vllm.v1.kv_offload.base import OffloadingWorker, TransferResult
from vllm.v1.kv_offload.cpu.shared_offload_region import SharedOffloadRegion
from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec


class CopyWorker(OffloadingWorker):
    """Copies when it is asked to; every transfer is over before submit returns."""

    def __init__(self, kv_caches, blocks_per_chunk, region):
        self.blocks_per_chunk = blocks_per_chunk
        self.region = region
        self.groups = kv_caches.group_data_refs
        self.blocks, self.chunks = [], []
        for each in kv_caches.tensors:
            self.blocks.append(each.tensor.view(torch.int8).view(-1, each.page_size_bytes).numpy())
            self.chunks.append(region.create_next_worker_view(each.page_size_bytes * blocks_per_chunk).numpy())
        self.finished = []

    def places(self, chunk_ids, blocks):
        """(group, block, chunk, place in the chunk): blocks come group by group, each from its own first index on."""
        block_at = chunk_at = 0
        for group, (count, first) in enumerate(zip(blocks.group_sizes, blocks.block_indices)):
            skipped = first % self.blocks_per_chunk
            for i in range(count):
                chunk, place = divmod(skipped + i, self.blocks_per_chunk)
                yield group, blocks.block_ids[block_at + i], chunk_ids[chunk_at + chunk], place
            block_at += count
            if count:
                chunk_at += -(-(skipped + count) // self.blocks_per_chunk)

    def copy(self, job_id, chunk_ids, blocks, store):
        begin, nbytes = time.perf_counter(), 0
        for group, block, chunk, place in self.places(chunk_ids, blocks):
            for ref in self.groups[group]:
                page = self.blocks[ref.tensor_idx].shape[1]
                here = self.blocks[ref.tensor_idx][block, :ref.page_size_bytes]
                there = self.chunks[ref.tensor_idx][chunk, place * page:place * page + ref.page_size_bytes]
                if store:
                    there[:] = here
                else:
                    here[:] = there
                nbytes += ref.page_size_bytes
        self.finished.append(TransferResult(job_id, True, nbytes, max(time.perf_counter() - begin, 1e-9)))
        return True

    def submit_store(self, job_id, src_spec, dst_spec):
        return self.copy(job_id, dst_spec.block_ids, src_spec, True)

    def submit_load(self, job_id, src_spec, dst_spec, **later):
        return self.copy(job_id, src_spec.block_ids, dst_spec, False)

    def get_finished(self):
        finished, self.finished = self.finished, []
        return finished

    def wait(self, job_ids):
        pass

    def shutdown(self):
        self.blocks, self.chunks = [], []
        if self.region is not None:
            self.region.cleanup()
            self.region = None


class CpuTieringSpec(TieringOffloadingSpec):
    def get_worker(self, kv_caches):
        if not self._worker:
            self._worker = CopyWorker(kv_caches, self.blocks_per_chunk, self.own_region())
        return self._worker

    def own_region(self):
        rank = 0 if self.replicated_layout else self.config.parallel.rank
        sizes = {"rank": rank, "cpu_page_size": self.cpu_page_size_per_worker}
        if "num_chunks" in inspect.signature(SharedOffloadRegion.__init__).parameters:
            sizes |= {"num_chunks": self.num_chunks, "kv_bytes_per_chunk": self.kv_bytes_per_chunk}
        else:  # 0.28
            sizes |= {"num_blocks": self.num_blocks, "kv_bytes_per_block": self.kv_bytes_per_chunk}
        return SharedOffloadRegion(engine_id=self._engine_id, **sizes)
