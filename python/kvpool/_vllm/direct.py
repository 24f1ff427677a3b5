"""KVPoolOffloadingSpec: the class that vLLM makes in its scheduler and in each worker."""
from dataclasses import dataclass
from typing import Any

from vllm.platforms import current_platform
from vllm.v1.kv_offload import base as offload
from vllm.v1.kv_offload.base import OffloadingManager, OffloadingSpec, OffloadingWorker

from . import metrics, versions
from .common import pool_path
from .manager import StagingManager
from .staging import DEFAULT_BYTES, Shape
from .worker import StagingWorker

DEFAULT_DEADLINE_S = 10.0


@dataclass(frozen=True)
class Settings:
    """Those of kv_connector_extra_config that are kvpool's. ValueError, with one sentence, for a wrong one."""
    pool: str
    namespace: str
    staging_bytes: int
    load_deadline_s: float

    @classmethod
    def of(cls, extra: Any) -> "Settings":
        staging = extra.get("staging_bytes", DEFAULT_BYTES)
        deadline = extra.get("load_deadline_s", DEFAULT_DEADLINE_S)
        if isinstance(staging, bool) or not isinstance(staging, int) or staging <= 0:
            raise ValueError(f'kvpool: "staging_bytes" is a number of bytes above 0, and not {staging!r}.')
        if isinstance(deadline, bool) or not isinstance(deadline, (int, float)) or not 0 < deadline <= 3600:
            raise ValueError(f'kvpool: "load_deadline_s" is a number of seconds up to 3600, and not {deadline!r}.')
        return cls(pool_path(extra.get("pool"), "KVPoolOffloadingSpec"), str(extra.get("namespace", "")), staging,
                   float(deadline))


class KVPoolOffloadingSpec(OffloadingSpec):
    """The pool as vLLM's only host memory for offloading: no primary tier stands between it and the KV cache.

    In kv_connector_extra_config: "spec_name": "KVPoolOffloadingSpec", "spec_module_path": "kvpool.vllm"; "pool"
    (required) is the path of a pool file; "namespace" keeps apart what must not be shared and has the same model name;
    "staging_bytes" is the memory, of all workers, through which chunks come and go (4 GiB unless given);
    "load_deadline_s" bounds how long a request waits for chunks (10 unless given).

    Errors: a pool that cannot be opened, or a setting that does not fit, ends the engine's start with one sentence.
    """

    @classmethod
    def build_metric_definitions(cls, extra_config: dict[str, Any]) -> dict[str, Any]:
        return metrics.staging_definitions(offload)

    def __init__(self, config: Any) -> None:
        self._version = versions.require_vllm()
        super().__init__(config)
        if getattr(config, "canonical_layout", False):
            raise ValueError('kvpool: the direct path has no canonical layout: take "canonical_layout" out of '
                             "kv_connector_extra_config.")
        self.replicated_layout = bool(config.replicated_layout)
        self._settings = Settings.of(config.extra_config)
        self._manager: StagingManager | None = None
        self._worker: StagingWorker | None = None

    def get_manager(self) -> OffloadingManager:
        if self._manager is None:
            shape = Shape.of(self.config, self._settings.staging_bytes)
            self._manager = StagingManager(self.config, self._settings, shape, version=self._version,
                                           platform=current_platform.device_type)
        return self._manager

    def get_worker(self, kv_caches: Any) -> OffloadingWorker:
        if self._worker is None:
            self._worker = StagingWorker(self.config, kv_caches)
        return self._worker
