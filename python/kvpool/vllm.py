"""kvpool in vLLM's native KV offloading: as a secondary tier behind vLLM's host memory, or instead of that.

    {"type": "KVPoolTier", "module_path": "kvpool.vllm", "pool": "pool.toml"}

in `secondary_tiers` of the OffloadingConnector's TieringOffloadingSpec is the tier;

    "spec_name": "KVPoolOffloadingSpec", "spec_module_path": "kvpool.vllm", "pool": "pool.toml"

in its kv_connector_extra_config is the direct path, with no tier of vLLM's. docs/engines.md has the whole lines. The
pool lives in vLLM's scheduler process, and vLLM imports this module in others as well: importing it opens nothing and
starts nothing.
"""
from kvpool._vllm.versions import require_vllm

require_vllm()

# vLLM's own modules only once its version is known to fit.
from kvpool._vllm.direct import KVPoolOffloadingSpec  # noqa: E402
from kvpool._vllm.tier import KVPoolTier  # noqa: E402

__all__ = ["KVPoolOffloadingSpec", "KVPoolTier"]
