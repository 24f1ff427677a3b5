"""Namespaces: what must be equal for a chunk of one engine to be a chunk of another."""
import hashlib
import json
import re
from typing import Any

# Grows when this package itself stores other bytes under the same names.
FORMAT = 1


def digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def release(version: str) -> str:
    """Major and minor: between two of them vLLM may order bytes inside a block differently."""
    return ".".join(re.findall(r"\d+", version)[:2])


def space_spec(config: Any, group: int, row_bytes: int, *, version: str, platform: str,
               namespace: str) -> dict[str, str]:
    """The arguments of Pool.space for one KV cache group.

    `config` is vLLM's OffloadingConfig, `row_bytes` the bytes of one row of the primary tier (all workers, all
    layers of the largest group, padded to 4 KiB). Everything that decides what the bytes of a row mean is in a
    field: a pool that was filled by another dtype, rank count, layout or release can only miss.
    """
    parallel, cache = config.parallel, config.cache
    layout = {
        "order": getattr(config, "kv_cache_layout", None),
        "canonical": bool(getattr(config, "canonical_layout", False)),
        "replicated": bool(config.replicated_layout),
        "tokens_per_hash": cache.tokens_per_hash,
        "blocks_per_chunk": cache.blocks_per_chunk,
        "worker_bytes_per_block": config.worker_kv_bytes_per_block,
        "row_bytes": row_bytes,
        "groups": [[g.tokens_per_block, list(g.layer_names)] for g in config.groups],
    }
    sizes = ("world_size", "tp_size", "pp_size", "pcp_size", "dcp_size")
    return {
        "model": config.model.name,
        "dtype": config.model.dtype,
        "layout": f"{layout['order'] or 'unnamed'}-{digest(layout)}",
        "layer_group": f"group-{group}",
        "rank": "-".join(f"{name.removesuffix('_size')}{getattr(parallel, name)}" for name in sizes),
        "engine": f"vllm-{release(version)}-{platform}-{FORMAT}",
        "tenant_salt": namespace,
    }
