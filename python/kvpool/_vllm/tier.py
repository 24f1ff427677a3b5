"""KVPoolTier: the class that vLLM's tiering manager calls."""
import threading
from collections.abc import Iterable
from typing import Any, ClassVar

import kvpool
from kvpool import Status
from vllm.logger import init_logger
from vllm.platforms import current_platform
from vllm.v1.kv_offload import base as offload
from vllm.v1.kv_offload.base import Locality, LookupResult, Medium, OffloadingEvent, RequestOffloadingContext
from vllm.v1.kv_offload.tiering.base import JobResult, SecondaryTierManager

from . import metrics, versions
from .common import Complaints, Failed, Outcomes, group_index, groups_of, pool_path, position
from .requests import Request, Run
from .spaces import space_spec
from .transfers import Job, Transfers

logger = init_logger("vllm.kvpool")  # vLLM prints loggers of its own name only


class KVPoolTier(SecondaryTierManager):
    """A pool of memory and drives behind vLLM's primary tier.

    In `secondary_tiers`: "pool" (required) is the path of a pool file; "namespace" keeps what must not be shared
    apart (another revision or quantization of the same model name); "enable_kv_events" and "locality" as for vLLM's
    own tiers. Keywords that later releases add are accepted and ignored.

    Threads: any, as vLLM 0.33 asks; a lock of its own covers every call, never across I/O. Only drain_jobs and
    shutdown wait. Errors: a pool that cannot be opened ends the engine's start with one sentence; after that no
    method raises for the pool's sake, and what the pool cannot do is a miss.
    """

    medium: ClassVar[Medium] = Medium.STORAGE

    def __init__(self, offloading_spec: Any, primary_kv_view: memoryview, tier_type: str, pool: str | None = None,
                 namespace: str = "", enable_kv_events: bool = False, locality: str | None = None,
                 backpressure_detector: Any = None, **later: Any) -> None:
        version = versions.require_vllm()
        path = pool_path(pool, "the tier")
        detector = {} if backpressure_detector is None else {"backpressure_detector": backpressure_detector}
        super().__init__(offloading_spec, primary_kv_view, tier_type, **detector)
        self.locality = Locality(locality) if locality is not None else None
        if later:
            logger.warning("kvpool: unknown settings of the tier are ignored: %s.", ", ".join(sorted(later)))
        self._lock = threading.RLock()
        self._requests: dict[str, Request] = {}
        self._failed = Failed()
        self._complaints = Complaints(logger)
        self._events: list[OffloadingEvent] | None = [] if self._wants_events(enable_kv_events) else None
        config = offloading_spec.config
        self._groups = groups_of(config)
        self._pool = kvpool.Pool.open(path)
        try:
            self._transfers: Transfers | None = Transfers(self._pool, primary_kv_view)
            self._spaces = {group: self._pool.space(**space_spec(
                config, group, self._transfers.row_bytes, version=version, platform=current_platform.device_type,
                namespace=namespace)) for group in self._groups}
        except BaseException:
            self.shutdown()
            raise
        self._metrics = metrics.Metrics(self._pool)
        self._outcomes = Outcomes(self._failed, self._complaints, self._metrics.count, self._tell)
        logger.info("kvpool: pool %s, %d groups, rows of %d bytes.", path, len(self._groups), self._transfers.row_bytes)

    # --- what is there ---

    def lookup(self, key: bytes, req_context: Any) -> LookupResult:
        """HIT or MISS, from memory. Never RETRY."""
        with self._lock:
            if self._transfers is None:
                return LookupResult.MISS
            group, request = group_index(key), self._request(req_context)
            request.looked_up(self._groups, group, position(req_context, key, self._groups[group]), key)
            if key in self._failed or not self._contains(group, key):
                return LookupResult.MISS
            if not request.may_promote(key, self._transfers.rows):
                self._metrics.count("refused_promotions")
                return LookupResult.MISS
            return LookupResult.HIT

    def on_new_request(self, req_context: Any) -> RequestOffloadingContext:
        return RequestOffloadingContext()

    def on_request_finished(self, req_context: Any) -> None:
        with self._lock:
            self._requests.pop(req_context.req_id, None)

    # --- transfers ---

    def submit_store(self, job_metadata: Any) -> None:
        with self._lock:
            request = self._request(job_metadata.req_context)
            runs: list[tuple[int, Run]] = []
            for group, chunks in self._by_group(job_metadata).items():
                runs += [(group, run) for run in request.runs(self._groups, group, chunks)]
            self._submit(Job(job_metadata.job_id, is_load=False), runs)

    def submit_load(self, job_metadata: Any, **later: Any) -> None:
        with self._lock:
            self._request(job_metadata.req_context).promoted(job_metadata.keys)
            runs = [(group, Run([key for _, key, _ in chunks], [at for _, _, at in chunks]))
                    for group, chunks in self._by_group(job_metadata).items()]
            self._submit(Job(job_metadata.job_id, is_load=True), runs)

    def get_finished_jobs(self) -> Iterable[JobResult]:
        with self._lock:
            if self._transfers is None:
                return []
            return [self._loaded(job) if job.is_load else self._stored(job) for job in self._transfers.finished()]

    def drain_jobs(self) -> None:
        """Waits until nothing touches the view; every job's result is then there for get_finished_jobs. The pool's
        deadline bounds the wait."""
        while True:
            with self._lock:
                transfers = self._transfers
                if transfers is None:
                    return
                transfers.collect()
                if transfers.idle():
                    return
            transfers.wait()

    # --- reports ---

    def take_events(self) -> Iterable[OffloadingEvent]:
        with self._lock:
            events, self._events = self._events, None if self._events is None else []
            return events or ()

    @classmethod
    def build_metric_definitions(cls, extra_config: dict[str, Any]) -> dict[str, Any]:
        return metrics.tier_definitions(offload)

    def get_stats(self) -> Any:
        from vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics import OffloadingConnectorStats
        stats = OffloadingConnectorStats()
        with self._lock:
            if self._transfers is not None:
                self._metrics.report(stats)
        return None if stats.is_empty() else stats

    def shutdown(self) -> None:
        """Waits for what is in flight, lets the view go, and closes the pool, which records what is to survive.
        Idempotent. A process that is killed instead loses what lies in memory only."""
        with self._lock:
            transfers, self._transfers = getattr(self, "_transfers", None), None
            if transfers is not None:
                transfers.close()
            self._pool.close()

    # --- inside; the lock is held ---

    def _wants_events(self, asked: bool) -> bool:
        if asked and not self._offloading_spec.kv_events_config.enable_kv_cache_events:
            logger.warning("kvpool: enable_kv_events has no effect while vLLM's KV cache events are off: "
                           "switch them on by --kv-events-config.")
            return False
        return asked

    def _request(self, context: Any) -> Request:
        return self._requests.setdefault(context.req_id, Request())

    def _contains(self, group: int, key: bytes) -> bool:
        try:
            return self._spaces[group].contains([key])[0]
        except kvpool.Error as error:
            self._complaints.complain("looked up", error)
            return False

    def _by_group(self, job: Any) -> dict[int, list[tuple[int, bytes, int]]]:
        """group -> [(index in the prompt, key, row)], in the job's order."""
        ids = job.chunk_ids if hasattr(job, "chunk_ids") else job.block_ids  # renamed after 0.28
        chunks: dict[int, list[tuple[int, bytes, int]]] = {}
        for key, at in zip(job.keys, ids):
            group = group_index(key)
            index = position(job.req_context, key, self._groups[group])
            chunks.setdefault(group, []).append((index, key, int(at)))
        return chunks

    def _submit(self, job: Job, runs: list[tuple[int, Run]]) -> None:
        if self._transfers is None:
            raise RuntimeError("kvpool: the tier is shut down and takes no jobs.")
        self._transfers.submit(job, [(self._spaces[group], run) for group, run in runs])

    def _loaded(self, job: Job) -> JobResult:
        good = job.keys(Status.OK)
        bad = self._outcomes.loaded(job)
        return self._result(job, not bad, len(good), successful_keys=tuple(good) if bad and good else None)

    def _stored(self, job: Job) -> JobResult:
        there, refused = self._outcomes.stored(job)
        return self._result(job, refused == 0, there)

    def _result(self, job: Job, success: bool, chunks: int, **more: Any) -> JobResult:
        if "transfer_bytes" in JobResult.__dataclass_fields__:  # from 0.29 on
            more["transfer_bytes"] = chunks * self._transfers.row_bytes
        return JobResult(job.id, success, transfer_time=job.seconds, **more)

    def _tell(self, keys: list[bytes], removed: bool) -> None:
        if self._events is not None and keys:
            self._events.append(OffloadingEvent(keys=keys, medium=self.medium, removed=removed, locality=self.locality))
