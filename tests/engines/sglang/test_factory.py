"""The backend as SGLang itself loads and calls it: its factory, its classes and torch tensors. The host pool is a
stand-in with torch memory, in SGLang's layouts."""
import importlib.util
import inspect
import sys
import types
import unittest

import torch

import pools

LAYERS, PAGES, PAGE, HEADS, DIM = 3, 16, 8, 2, 32


def sglang_without_its_top():
    """SGLang's modules without running sglang/__init__.py, which imports everything that needs a GPU."""
    top = types.ModuleType("sglang")
    top.__path__ = importlib.util.find_spec("sglang").submodule_search_locations
    sys.modules["sglang"] = top
    from sglang.srt.mem_cache import hicache_storage, storage  # pylint: disable=import-outside-toplevel
    return hicache_storage, storage.StorageBackendFactory


STORAGE, FACTORY = sglang_without_its_top()


class HostPool:
    """Keys and values in one tensor."""

    def __init__(self, layout, dtype):
        self.layout, self.dtype, self.page_size = layout, dtype, PAGE
        shape = {"layer_first": (2, LAYERS, PAGES * PAGE, HEADS, DIM),
                 "page_first": (2, PAGES * PAGE, LAYERS, HEADS, DIM),
                 "page_first_direct": (2, PAGES, LAYERS, PAGE, HEADS, DIM)}[layout]
        self.kv_buffer = torch.zeros(shape, dtype=dtype)

    def views(self, slot):
        """The page's contiguous pieces."""
        if self.layout == "layer_first":
            return [self.kv_buffer[kv, layer, slot:slot + PAGE] for layer in range(LAYERS) for kv in (0, 1)]
        if self.layout == "page_first":
            return [self.kv_buffer[kv, slot:slot + PAGE] for kv in (0, 1)]
        return [self.kv_buffer[kv, slot // PAGE] for kv in (0, 1)]

    def get_page_buffer_meta(self, indices):
        views = [view for slot in indices.tolist()[::PAGE] for view in self.views(slot)]
        return [view.data_ptr() for view in views], [view.numel() * view.element_size() for view in views]


class Factory(pools.FolderTest):
    def setUp(self):
        super().setUp()
        pools.write(self.folder, name="pool-0.toml")

    def backend(self, host, **extra):
        extra = {"backend_name": "kvpool", "module_path": "kvpool.sglang", "class_name": "KVPoolStorage",
                 "interface_v1": 1, "pool": self.path("pool-{tp_rank}.toml"), "create": True, **extra}
        config = STORAGE.HiCacheStorageConfig(
            tp_rank=0, tp_size=1, pp_rank=0, pp_size=1, attn_cp_rank=0, attn_cp_size=1, is_mla_model=False,
            enable_storage_metrics=False, is_page_first_layout=host.layout == "page_first", model_name="model",
            extra_config=extra)
        backend = FACTORY.create_backend("dynamic", config, host)
        self.addCleanup(backend.close)
        backend.register_mem_pool_host(host)
        return backend

    def test_pages_come_back_bit_equal(self):
        keys = [f"{number:064x}" for number in range(6)]
        slots = torch.arange(6 * PAGE)
        for layout in ("layer_first", "page_first", "page_first_direct"):
            for dtype in (torch.bfloat16, torch.float16, torch.float8_e4m3fn):
                host = HostPool(layout, dtype)
                backend = self.backend(host)
                self.assertEqual(backend.batch_exists(keys), 0, (layout, dtype))
                host.kv_buffer.copy_(torch.randn(host.kv_buffer.shape).to(dtype))
                stored = [[view.clone() for view in host.views(page * PAGE)] for page in range(6)]
                info = STORAGE.HiCacheStorageExtraInfo(prefix_keys=[])
                self.assertEqual(backend.batch_set_v1(keys, slots, info), [True] * 6)
                backend.close()
                host = HostPool(layout, dtype)
                backend = self.backend(host)
                self.assertEqual(backend.batch_exists(keys + ["f" * 64], info), 6)
                self.assertEqual(backend.batch_get_v1(keys, slots + 4 * PAGE, info), [True] * 6)
                for page, views in enumerate(stored):
                    for view, was in zip(host.views((page + 4) * PAGE), views):
                        self.assertTrue(torch.equal(view.view(torch.uint8), was.view(torch.uint8)), (layout, dtype))
                backend.close()

    def test_hybrid_pools_by_sglangs_own_classes(self):
        host, swa = HostPool("page_first_direct", torch.bfloat16), HostPool("page_first_direct", torch.bfloat16)
        backend, name = self.backend(host), STORAGE.PoolName
        backend.register_mem_host_pool_v2(swa, name.SWA)
        keys = [f"{number:064x}" for number in range(4)]
        self.assertEqual(backend.batch_set_v1(keys, torch.arange(4 * PAGE)), [True] * 4)
        last = STORAGE.PoolTransfer(name=name.SWA, host_indices=torch.arange(PAGE), keys=keys[2:3],
                                    hit_policy=STORAGE.PoolHitPolicy.TRAILING_PAGES)
        self.assertEqual(backend.batch_set_v2([last]), {name.SWA: [True]})
        result = backend.batch_exists_v2(keys, [last])
        self.assertEqual((result.kv_hit_pages, result.extra_pool_hit_pages), (3, {name.KV: 4, name.SWA: 3}))
        self.assertEqual(backend.batch_get_v2([last]), {name.SWA: [True]})
        self.assertEqual(backend.batch_exists_v2(keys[:2], [last]).kv_hit_pages, 0)

    def test_signatures_are_sglangs(self):
        ours = sys.modules["kvpool.sglang"].KVPoolStorage if "kvpool.sglang" in sys.modules else type(
            self.backend(HostPool("page_first", torch.bfloat16)))
        for name, theirs in vars(STORAGE.HiCacheStorage).items():
            if callable(theirs) and not name.startswith("_"):
                mine = list(inspect.signature(getattr(ours, name)).parameters)
                self.assertEqual(mine, list(inspect.signature(theirs).parameters), name)


if __name__ == "__main__":
    unittest.main()
