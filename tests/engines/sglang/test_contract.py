"""What SGLang expects of a HiCacheStorage, on a real pool with stand-ins for SGLang."""
import hashlib
import logging
import os
import unittest

import kvpool
import pools
import standin
from standin import Config, ExtraInfo, HostPool, Indices, Page, PoolHitPolicy, PoolName, PoolTransfer

SWA, KV, MAMBA = PoolName.SWA, PoolName.KV, PoolName.MAMBA


def keys_of(*numbers):
    return [hashlib.sha256(b"%d" % number).hexdigest() for number in numbers]


def content(number, nbytes):
    return pools.content(nbytes, number)


class StorageTest(pools.FolderTest):
    def setUp(self):
        super().setUp()
        self.module = standin.module()
        logging.getLogger("kvpool.sglang").setLevel(logging.CRITICAL)

    def pool_file(self, name="pool", options='catalog = "{name}.db"'):
        settings = 'unit = "32KiB"\n' + options.format(name=name)
        disk = pools.disk("32MiB", path=name + ".pool")
        return pools.write(self.folder, disk, settings=settings, name=name + ".toml")

    def open(self, host=None, path=None, extra=None, **config):
        extra = {"pool": path or self.pool_file(), "create": True, "interface_v1": 1, **(extra or {})}
        storage = self.module.KVPoolStorage(Config(extra_config=extra, **config), {})
        self.addCleanup(storage.close)
        storage.register_mem_pool_host(host or HostPool())
        return storage

    def slots(self, host, *pages):
        return Indices(page * host.page_size + token for page in pages for token in range(host.page_size))

    def fill(self, host, numbers):
        for page, number in enumerate(numbers):
            slot = page * host.page_size
            host.write(slot, content(number, len(host.read(slot))))

    def store(self, storage, host, *numbers, prefix=()):
        self.fill(host, numbers)
        return storage.batch_set_v1(keys_of(*numbers), self.slots(host, *range(len(numbers))), ExtraInfo(list(prefix)))


class ZeroCopy(StorageTest):
    def test_pages_go_both_ways_in_every_layout(self):
        for layout, pieces in (("page_first", 2), ("page_first_direct", 2), ("layer_first", 6)):
            host = HostPool(layout)
            storage = self.open(host, extra={"namespace": layout})
            self.assertEqual(len(host.get_page_buffer_meta(self.slots(host, 0))[0]), pieces)
            self.assertEqual(self.store(storage, host, 1, 2, 3), [True] * 3)
            self.assertEqual(storage.batch_exists(keys_of(1, 2, 3, 4)), 3)
            self.assertEqual(storage.batch_get_v1(keys_of(3, 4, 1), self.slots(host, 5, 6, 7)), [True, False, True])
            size = len(host.read(0))
            self.assertEqual([host.read(page * 4) for page in (5, 7)], [content(3, size), content(1, size)])

    def test_a_restart_finds_the_pages(self):
        path, host = self.pool_file(), HostPool()
        storage = self.open(host, path)
        self.store(storage, host, 1, 2)
        storage.close()
        host = HostPool()
        storage = self.open(host, path)
        self.assertEqual(storage.batch_exists(keys_of(1, 2, 3)), 2)
        self.assertEqual(storage.batch_get_v1(keys_of(1, 2), self.slots(host, 0, 1)), [True, True])
        self.assertEqual(host.read(4), content(2, len(host.read(4))))

    def test_a_wrong_byte_is_a_miss_and_comes_through_unverified(self):
        for options, good in (('catalog = "{name}.db"', False), ("verify = false", True)):
            host, name = HostPool(), f"pool{good}"
            storage = self.open(host, self.pool_file(name, options))
            self.store(storage, host, 1, 2)
            stored = content(1, len(host.read(0)))
            pools.turn_bit(self.path(name + ".pool"), stored, at=9)
            self.assertEqual(storage.batch_get_v1(keys_of(1, 2), self.slots(host, 4, 5)), [good, True])
            if good:
                self.assertNotEqual(host.read(16), stored, "without verification the wrong byte is there")
            storage.close()

    def test_what_differs_misses(self):
        path, host = self.pool_file(), HostPool()
        storage = self.open(host, path, tp_size=2)
        self.store(storage, host, 1)
        other = HostPool()
        other.dtype = "torch.float16"
        for pool, extra, config in (
                (HostPool(), {}, {"tp_size": 4}), (HostPool(), {}, {"tp_size": 2, "tp_rank": 1}),
                (HostPool(), {}, {"tp_size": 2, "pp_size": 2}), (HostPool(), {}, {"tp_size": 2, "model_name": "other"}),
                (HostPool(), {"namespace": "other"}, {"tp_size": 2}), (other, {}, {"tp_size": 2}),
                (HostPool("page_first"), {}, {"tp_size": 2}), (HostPool(layers=4), {}, {"tp_size": 2}),
                (HostPool(page_size=8), {}, {"tp_size": 2}), (HostPool(), {"interface_v1": 0}, {"tp_size": 2})):
            self.assertEqual(self.open(pool, path, extra, **config).batch_exists(keys_of(1)), 0, (extra, config))
        self.assertEqual(self.open(HostPool(), path, tp_size=2).batch_exists(keys_of(1)), 1)

    def test_replicas_of_mla_share(self):
        path, host = self.pool_file(), HostPool()
        self.store(self.open(host, path, tp_size=2, is_mla_model=True), host, 1)
        replica = self.open(HostPool(), path, tp_size=4, tp_rank=3, is_mla_model=True)
        self.assertEqual(replica.batch_exists(keys_of(1)), 1)


class NeverNone(StorageTest):
    def all_answers(self, storage, host):
        slots, transfer = self.slots(host, 0, 1), PoolTransfer(KV, self.slots(host, 0, 1), keys_of(1, 2))
        result = storage.batch_exists_v2(keys_of(1, 2), [transfer])
        return (storage.batch_get_v1(keys_of(1, 2), slots), storage.batch_set_v1(keys_of(1, 2), slots),
                storage.batch_exists(keys_of(1, 2)), storage.exists(keys_of(1)[0]), storage.batch_get_v2([transfer]),
                storage.batch_set_v2([transfer]), (result.kv_hit_pages, result.extra_pool_hit_pages),
                storage.batch_get(keys_of(1, 2), [Page(9), Page(9)]), storage.set("k", Page(9)),
                storage.batch_set(["k"], [Page(9)]), storage.clear())

    NOTHING = ([False] * 2, [False] * 2, 0, False, {KV: [False] * 2}, {KV: [False] * 2}, (0, {}), [None] * 2, False,
               False, False)

    def test_when_the_pool_is_gone(self):
        host = HostPool()
        storage = self.open(host)
        self.store(storage, host, 1, 2)
        self.assertNotEqual(self.all_answers(storage, host), self.NOTHING, "this can fail")
        storage.close()
        self.assertEqual(self.all_answers(storage, host), self.NOTHING)
        storage.close()

    def test_before_a_host_pool_is_registered(self):
        storage = self.module.KVPoolStorage(Config(extra_config={"pool": self.pool_file(), "create": True}))
        self.addCleanup(storage.close)
        self.assertEqual(self.all_answers(storage, HostPool()), self.NOTHING)

    def test_when_the_host_pool_breaks(self):
        host = HostPool()
        storage = self.open(host)
        self.store(storage, host, 1, 2)
        for broken in (lambda indices: None, lambda indices: ([1], []), lambda indices: ([4096], [1]),
                       lambda indices: 1 / 0):
            host.get_page_buffer_meta = broken
            self.assertEqual(storage.batch_get_v1(keys_of(1, 2), self.slots(host, 0, 1)), [False] * 2)
            self.assertEqual(storage.batch_set_v1(keys_of(3, 4), self.slots(host, 0, 1)), [False] * 2)

    def test_when_indices_do_not_fit(self):
        host = HostPool()
        storage = self.open(host)
        for slots in (None, Indices([]), self.slots(host, 0), Indices(range(7))):
            self.assertEqual(storage.batch_set_v1(keys_of(1, 2), slots), [False] * 2)
        self.assertEqual(storage.batch_set_v1([], Indices([])), [])


class Hybrid(StorageTest):
    def both(self):
        kv, swa = HostPool(), HostPool(layers=2)
        storage = self.open(kv)
        storage.register_mem_host_pool_v2(kv, KV)
        storage.register_mem_host_pool_v2(swa, SWA)
        return storage, kv, swa

    def put_swa(self, storage, swa, *numbers):
        self.fill(swa, numbers)
        return storage.batch_set_v2([PoolTransfer(SWA, self.slots(swa, *range(len(numbers))), keys_of(*numbers))])

    def test_pools_keep_the_same_keys_apart(self):
        storage, kv, swa = self.both()
        self.store(storage, kv, 1, 2)
        self.fill(swa, (7, 8))
        self.assertEqual(storage.batch_set_v2([PoolTransfer(SWA, self.slots(swa, 0, 1), keys_of(1, 2))]),
                         {SWA: [True] * 2})
        got = storage.batch_get_v2([PoolTransfer(SWA, self.slots(swa, 5, 6), keys_of(2, 3)),
                                    PoolTransfer(KV, self.slots(kv, 5), keys_of(2)),
                                    PoolTransfer(MAMBA, self.slots(kv, 5), keys_of(2))])
        self.assertEqual(got, {SWA: [True, False], KV: [True], MAMBA: [False]})
        self.assertEqual(swa.read(20), content(8, len(swa.read(0))))
        self.assertEqual(kv.read(20), content(2, len(kv.read(0))))

    def test_trailing_pages(self):
        storage, kv, swa = self.both()
        self.store(storage, kv, *range(8))
        self.put_swa(storage, swa, 1, 2, 5, 6)
        for trailing, lengths in ((1, [2, 3, 6, 7]), (2, [3, 7]), (3, [])):
            transfer = PoolTransfer(SWA, keys=[""] * trailing, hit_policy=PoolHitPolicy.TRAILING_PAGES)
            result = storage.batch_exists_v2(keys_of(*range(10)), [transfer])
            self.assertEqual(result.restorable_prefix_pages, lengths)
            self.assertEqual(result.kv_hit_pages, max(lengths, default=0))
            self.assertEqual(result.extra_pool_hit_pages, {KV: 8, **({SWA: max(lengths)} if lengths else {})})

    def test_all_pages_and_others(self):
        storage, kv, swa = self.both()
        self.store(storage, kv, *range(8))
        self.put_swa(storage, swa, 0, 1, 2, 5)
        ask = keys_of(*range(10))
        for policy, hit in ((PoolHitPolicy.ALL_PAGES, 3), (PoolHitPolicy.BLOCK_GROUPS, 8), ("of the future", 0)):
            result = storage.batch_exists_v2(ask, [PoolTransfer(SWA, keys=ask, hit_policy=policy)])
            self.assertEqual(result.kv_hit_pages, hit, policy)
        self.assertEqual(storage.batch_exists_v2(ask).kv_hit_pages, 8)

    def test_a_logical_anchor_has_nothing_to_store(self):
        anchor, swa = HostPool(), HostPool()
        anchor.kv_buffer = None
        storage = self.open(anchor)
        storage.register_mem_host_pool_v2(swa, SWA)
        self.assertEqual(storage.batch_set_v1(keys_of(1), Indices([])), [True])
        self.assertEqual(storage.batch_exists(keys_of(1)), 0, "nothing says that it is there")
        self.put_swa(storage, swa, 1, 2)
        self.assertEqual(storage.batch_exists_v2(keys_of(1, 2, 3), [PoolTransfer(SWA)]).kv_hit_pages, 2)

    def test_a_pool_without_addresses_is_copied(self):
        storage, kv, _ = self.both()
        mamba = HostPool(page_size=1, addresses=False)
        storage.register_mem_host_pool_v2(mamba, MAMBA)
        mamba.write(3, content(1, len(mamba.read(3))))
        self.assertEqual(storage.batch_set_v2([PoolTransfer(MAMBA, Indices([3]), keys_of(1))]), {MAMBA: [True]})
        self.assertEqual(storage.batch_get_v2([PoolTransfer(MAMBA, Indices([9, 10]), keys_of(1, 2))]),
                         {MAMBA: [True, False]})
        self.assertEqual(mamba.read(9), mamba.read(3))


class Copying(StorageTest):
    def test_pages_as_tensors(self):
        host = HostPool()
        storage = self.open(host, extra={"interface_v1": 0})
        self.fill(host, (1, 2))
        self.assertTrue(storage.batch_set(keys_of(1, 2), [host.get_data_page(0), host.get_data_page(4)]))
        self.assertEqual(storage.batch_exists(keys_of(1, 2, 3)), 2)
        self.assertEqual([storage.exists(key) for key in keys_of(2, 3)], [True, False])
        pages = [host.get_dummy_flat_data_page() for _ in range(3)]
        self.assertEqual(storage.batch_get(keys_of(1, 3, 2), pages), [pages[0], None, pages[2]])
        self.assertEqual(bytes(pages[2].memory), host.read(4))
        self.assertIsNone(storage.get(keys_of(1)[0], Page(1536, contiguous=False)))
        self.assertIsNone(storage.get(keys_of(1)[0]))


class BadInput(StorageTest):
    def test_no_pool_is_named(self):
        with self.assertRaisesRegex(ValueError, "name its pool file"):
            self.module.KVPoolStorage(Config(), {})

    def test_a_pool_that_is_not_there(self):
        with self.assertRaises(kvpool.Error):
            self.module.KVPoolStorage(Config(extra_config={"pool": self.path("none.toml")}), {})

    def test_ranks_have_pools_of_their_own(self):
        for rank in (0, 1):
            self.pool_file(f"pool-{rank}-2")
        for rank in (0, 1):
            self.open(path=self.path("pool-{tp_rank}-{dp_rank}.toml"), tp_rank=rank, dp_rank=2)
            self.assertTrue(os.path.exists(self.path(f"pool-{rank}-2.pool")))

    def test_releases_outside_the_tested_range(self):
        for version in ("0.5.15", "0.5.24", "0.6.0", "1.0"):
            with self.assertRaisesRegex(ImportError, f"tested with SGLang .* this is {version}: install"):
                standin.module(version)
        for version in ("0.5.16", "0.5.20.post1", "0.5.23"):
            standin.module(version)


if __name__ == "__main__":
    unittest.main()
