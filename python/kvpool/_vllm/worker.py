"""StagingWorker: the side of the direct path that lives in each of vLLM's workers."""
import mmap
from typing import Any

from vllm.logger import init_logger
from vllm.platforms import current_platform
from vllm.v1.kv_offload.base import BlockIDsLoadStoreSpec, OffloadingWorker, TransferResult

from .copies import HostCopies
from .staging import Place

logger = init_logger("vllm.kvpool")


class StagingLoadStoreSpec(BlockIDsLoadStoreSpec):
    """Rows of the staging memory, and where that is. The scheduler sends it to the workers with each transfer."""

    def __init__(self, rows: list[int], place: Place) -> None:
        super().__init__(rows)
        self.place = place


class StagingWorker(OffloadingWorker):
    """Copies between the KV cache of a worker and its part of the staging rows.

    With a KV cache in host memory by plain copies, otherwise by vLLM's own worker for host memory, which pins the
    staging memory. It is mapped with the first transfer: vLLM makes its workers before its scheduler, which has it.
    Threads: one. A transfer never fails for the pool's sake: the pool is done with a row before a load is asked for.
    """

    def __init__(self, config: Any, kv_caches: Any) -> None:
        self._config = config
        self._kv_caches = kv_caches
        self._memory: mmap.mmap | None = None
        self._copies: Any = None

    def submit_store(self, job_id: int, src_spec: Any, dst_spec: Any) -> bool:
        return self._attached(dst_spec.place).submit_store(job_id, src_spec, dst_spec)

    def submit_load(self, job_id: int, src_spec: Any, dst_spec: Any, **later: Any) -> bool:
        """`later`: 0.33 says `expedited`, of a load that is waited for; each of ours begins at once."""
        return self._attached(src_spec.place).submit_load(job_id, src_spec, dst_spec, **later)

    def get_finished(self) -> list[TransferResult]:
        return [] if self._copies is None else self._copies.get_finished()

    def wait(self, job_ids: set[int]) -> None:
        if self._copies is not None:
            self._copies.wait(job_ids)

    def shutdown(self) -> None:
        """Waits for copies in flight and lets the memory go. Idempotent."""
        copies, self._copies = self._copies, None
        if copies is not None:
            copies.shutdown()

    def _attached(self, place: Place) -> Any:
        if self._copies is None:
            self._copies = self._attach(place)
            logger.info("kvpool: staging memory of %d rows of %d bytes mapped.", place.shape.rows,
                        place.shape.row_bytes)
        return self._copies

    def _attach(self, place: Place) -> Any:
        config, memory = self._config, place.attach()
        part = 0 if config.replicated_layout else config.parallel.rank
        arguments = self._kv_caches, config.cache.blocks_per_chunk, memory, place.shape, part
        if current_platform.device_type == "cpu":
            return HostCopies(*arguments)
        from .gpu import gpu_worker  # has vLLM's kernels loaded
        return gpu_worker(*arguments)
