"""kvpool as storage (L3) of SGLang's hierarchical cache:

    --enable-hierarchical-cache --hicache-mem-layout page_first_direct --hicache-storage-backend dynamic
    --hicache-storage-backend-extra-config '{"backend_name": "kvpool", "module_path": "kvpool.sglang",
        "class_name": "KVPoolStorage", "interface_v1": 1, "pool": "pool-{tp_rank}.toml"}'

docs/engines.md says more. SGLang imports this module in each of its scheduler processes; importing it opens nothing.
"""
import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import kvpool
from kvpool._releases import Releases, installed
from kvpool._sglang.pages import STORED, Pages, page_bytes

_RELEASES = Releases("kvpool.sglang", "SGLang", "sglang", "0.5.16", "0.5.23")
_VERSION = _RELEASES.require(installed("sglang"))

# SGLang's own modules only once its version is known to fit.
from sglang.srt.mem_cache.hicache_storage import (  # noqa: E402
    HiCacheStorage, PoolHitPolicy, PoolName, PoolTransferResult)

__all__ = ["KVPoolStorage"]

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


def _rank(config: Any) -> str:
    """What shard of each page this process has. Replicas of MLA hold the same under every tensor parallel rank."""
    parts = [("pp", config.pp_rank, config.pp_size), ("cp", config.attn_cp_rank, config.attn_cp_size),
             ("dcp", getattr(config, "dcp_rank", 0), getattr(config, "dcp_size", 1))]
    if not config.is_mla_model:
        parts.append(("tp", config.tp_rank, config.tp_size))
    return "-".join(f"{name}{rank}.{size}" for name, rank, size in parts)


class KVPoolStorage(HiCacheStorage):
    """A storage backend on a pool of its own. Extra configuration: `pool`, the path of a pool file, in which
    {tp_rank}, {pp_rank}, {dp_rank} and {cp_rank} are replaced; `create`, true to make it where nothing is;
    `namespace`, what keeps apart what has the same model name; `deadline`, seconds that a call may take.

    Every call answers, whatever becomes of the pool: with "not there" or "not stored", and the reason in the log.
    An exception or None would end SGLang's prefetch or backup thread. Threads: any.
    """

    def __init__(self, storage_config: Any, kwargs: dict[str, Any] | None = None) -> None:
        """Raises ValueError or kvpool.Error, one sentence, if the pool cannot be opened: SGLang then does not start."""
        del kwargs
        self._config, extra = storage_config, storage_config.extra_config or {}
        if not extra.get("pool"):
            raise ValueError("kvpool.sglang needs a pool: name its pool file in "
                             '--hicache-storage-backend-extra-config, as in {"pool": "pool-{tp_rank}.toml", ...}')
        path = str(extra["pool"])
        for name, rank in (("tp_rank", storage_config.tp_rank), ("pp_rank", storage_config.pp_rank),
                           ("dp_rank", getattr(storage_config, "dp_rank", 0)),
                           ("cp_rank", storage_config.attn_cp_rank)):
            path = path.replace("{" + name + "}", str(rank))
        self._direct = bool(extra.get("interface_v1", 0))  # what SGLang itself looks at
        self._namespace, self._deadline = str(extra.get("namespace", "")), extra.get("deadline")
        self._pool = kvpool.Pool.open(path, create=bool(extra.get("create", False)))
        self._pages: dict[str, Pages] = {}
        self._registrations: list[kvpool.Registration] = []
        self._registered: set[int] = set()

    # --- SGLang's host pools ---

    def register_mem_pool_host(self, mem_pool_host: Any) -> None:
        super().register_mem_pool_host(mem_pool_host)
        self._add(mem_pool_host, PoolName.KV, self._direct)

    def register_mem_host_pool_v2(self, host_pool: Any, host_pool_name: Any) -> None:
        super().register_mem_host_pool_v2(host_pool, host_pool_name)
        if host_pool_name != PoolName.KV or str(PoolName.KV) not in self._pages:
            self._add(host_pool, host_pool_name, True)

    def _add(self, host_pool: Any, name: Any, direct: bool) -> None:
        def open_space(dtype: str, layout: str) -> kvpool.Space:
            return self._pool.space(model=self._config.model_name or "unnamed", dtype=dtype, layout=layout,
                                    layer_group=str(name), rank=_rank(self._config), engine=f"sglang-{_VERSION}",
                                    tenant_salt=self._namespace)
        self._pages[str(name)] = Pages(host_pool, direct, open_space, self._deadline)
        buffers = getattr(host_pool, "get_hybrid_pool_buffer", lambda: getattr(host_pool, "kv_buffer", None))()
        for buffer in buffers if isinstance(buffers, (list, tuple)) else [buffers]:
            if buffer is None or buffer.data_ptr() in self._registered:
                continue
            try:
                self._registrations.append(self._pool.register(page_bytes(buffer)))
                self._registered.add(buffer.data_ptr())
            except kvpool.Error as error:  # slower, and as good
                _log.info("the host pool %s is not registered: %s", name, error)

    # --- the zero-copy interface ---

    def batch_exists(self, keys: list[str], extra_info: Any = None) -> int:
        """How many leading pages are there."""
        return self._answer("look up pages", lambda: self._kv_hit(keys, 0), 0)

    def batch_get_v1(self, keys: list[str], host_indices: Any, extra_info: Any = None) -> list[bool]:
        return self._answer("load pages", lambda: self._kv().get(keys, host_indices), [False] * len(keys))

    def batch_set_v1(self, keys: list[str], host_indices: Any, extra_info: Any = None) -> list[bool]:
        return self._answer("store pages", lambda: self._kv().put(keys, host_indices, self._prefix(extra_info)),
                            [False] * len(keys))

    # --- hybrid models: several pools ---

    def batch_exists_v2(self, keys: list[str], pool_transfers: Any = None, extra_info: Any = None) -> Any:
        """The longest prefix of pages that every pool can go on from: all its pages in a pool of ALL_PAGES, the last
        ones in a pool of TRAILING_PAGES. A pool of another policy neither gates nor has a verdict, if it is
        BLOCK_GROUPS; one of a policy that is not known makes it a miss."""
        return self._answer("look up pages", lambda: self._restorable(keys, pool_transfers or []),
                            PoolTransferResult.empty())

    def batch_get_v2(self, transfers: Any, extra_info: Any = None) -> dict[Any, list[bool]]:
        return self._each(transfers, "load", lambda pages, keys, slots: pages.get(keys, slots))

    def batch_set_v2(self, transfers: Any, extra_info: Any = None) -> dict[Any, list[bool]]:
        return self._each(transfers, "store", lambda pages, keys, slots: pages.put(keys, slots))

    def _each(self, transfers: Any, verb: str,
              move: Callable[[Pages, list[str], Any], list[bool]]) -> dict[Any, list[bool]]:
        answers = {}
        for transfer in transfers:
            keys = transfer.keys or []
            answers[transfer.name] = self._answer(
                f"{verb} pages of the host pool {transfer.name}",
                lambda one=transfer, some=keys: move(self._pages[str(one.name)], some, one.host_indices),
                [False] * len(keys))
        return answers

    def _restorable(self, keys: list[str], transfers: Any) -> Any:
        gated = any(transfer.hit_policy == PoolHitPolicy.ALL_PAGES for transfer in transfers)
        kv_hit = self._kv_hit(keys, len(keys) if gated else 0)
        hits = {PoolName.KV: kv_hit} if kv_hit else {}
        lengths = set(range(1, kv_hit + 1))
        for transfer in transfers:
            if str(getattr(transfer.hit_policy, "value", "")) == "block_groups":
                continue
            good = set(self._good(transfer, keys[:kv_hit]))
            if good:
                hits[transfer.name] = max(good)
            lengths &= good
        result = PoolTransferResult(max(lengths, default=0), hits)
        if hasattr(result, "restorable_prefix_pages"):
            result.restorable_prefix_pages = sorted(lengths)
        return result

    def _good(self, transfer: Any, keys: list[str]) -> Iterator[int]:
        """Prefix lengths, in pages, that a pool can go on from."""
        space = self._pages[str(transfer.name)].space
        if transfer.hit_policy == PoolHitPolicy.ALL_PAGES:
            yield from range(1, space.match(keys) + 1)
        elif transfer.hit_policy == PoolHitPolicy.TRAILING_PAGES:
            trailing, run = max(1, len(transfer.keys or [])), 0
            for length, there in enumerate(space.contains(keys), 1):
                run = run + 1 if there else 0
                if run >= min(trailing, length):
                    yield length

    # --- the interface that copies ---

    def exists(self, key: str) -> bool:
        return self.batch_exists([key]) == 1

    def get(self, key: str, target_location: Any = None, target_sizes: Any = None) -> Any:
        """The page in `target_location`, or None: here that is SGLang's word for a miss."""
        return self.batch_get([key], [target_location])[0]

    def batch_get(self, keys: list[str], target_locations: Any = None, target_sizes: Any = None) -> list[Any]:
        def load() -> list[Any]:
            results = self._kv().space.get(keys, [page_bytes(page) for page in target_locations],
                                           deadline=self._deadline)
            return [page if result == kvpool.Status.OK else None for page, result in zip(target_locations, results)]
        return self._answer("load pages", load, [None] * len(keys))

    def set(self, key: str, value: Any = None, target_location: Any = None, target_sizes: Any = None) -> bool:
        return self.batch_set([key], [target_location if value is None else value])

    def batch_set(self, keys: list[str], values: Any = None, target_locations: Any = None,
                  target_sizes: Any = None) -> bool:
        def store() -> bool:
            pages = [page_bytes(page.contiguous()) for page in (target_locations if values is None else values)]
            return all(result in STORED for result in self._kv().space.put(keys, pages, deadline=self._deadline))
        return self._answer("store pages", store, False)

    # --- the rest ---

    def clear(self) -> bool:
        """False: a pool forgets by itself what is not used. Another `namespace` starts empty."""
        _log.warning("the pool was not cleared: set another namespace in the extra configuration to start empty, or "
                     "make the pool anew while SGLang is stopped")
        return False

    def close(self) -> None:
        """Closes the pool, when what is in flight has ended. Calls afterwards find nothing. Idempotent."""
        for registration in self._registrations:
            registration.release()
        self._registrations.clear()
        self._pool.close()

    def _kv(self) -> Pages:
        return self._pages[str(PoolName.KV)]

    def _kv_hit(self, keys: list[str], if_logical: int) -> int:
        pages = self._kv()
        return if_logical if pages.logical else pages.space.match(keys)

    @staticmethod
    def _prefix(extra_info: Any) -> list[str] | None:
        return getattr(extra_info, "prefix_keys", None)

    @staticmethod
    def _answer(what: str, ask: Callable[[], _Answer], otherwise: _Answer) -> _Answer:
        try:
            return ask()
        except Exception as error:  # pylint: disable=broad-except  SGLang's threads do not survive one
            _log.warning("could not %s: %s", what, error or type(error).__name__)
            return otherwise
