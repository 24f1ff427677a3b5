"""kvpool as a secondary tier of vLLM's native KV offloading (TieringOffloadingSpec).

    {"type": "KVPoolTier", "module_path": "kvpool.vllm", "pool": "pool.toml"}

in `secondary_tiers` of the OffloadingConnector is all that vLLM has to be told; docs/engines.md has the whole
line. The tier lives in vLLM's scheduler process, and vLLM imports this module in others as well: importing it
opens nothing and starts nothing.
"""
from kvpool._vllm.versions import require_vllm

require_vllm()

from kvpool._vllm.tier import KVPoolTier  # noqa: E402  vLLM's own modules only once its version is known to fit

__all__ = ["KVPoolTier"]
