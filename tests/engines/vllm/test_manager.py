"""The tier under vLLM's own tiering manager and primary tier, without a model: no engine, a few seconds."""
import dataclasses
import hashlib
import time
import unittest
import uuid

import numpy
from vllm.v1.kv_offload import base, config
from vllm.v1.kv_offload.factory import OffloadingSpecFactory

import pools

ROW_BYTES = 8192
KEYS = [base.make_offload_key(hashlib.sha256(b"%d" % n).digest(), 0) for n in range(12)]


def content(n):
    return numpy.frombuffer(pools.content(ROW_BYTES, n), dtype=numpy.uint8)


def make(cls, **values):
    """vLLM's dataclass with those of the values that this release's has."""
    return cls(**{f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values})


class Manager(pools.FolderTest):
    def setUp(self):
        super().setUp()
        settings = f'unit = "32KiB"\ncreate_if_missing = true\n{pools.WITH_CATALOG}'
        self.pool = pools.write(self.folder, settings=settings)

    def open(self, rows=16):
        tier = {"type": "KVPoolTier", "module_path": "kvpool.vllm", "pool": self.pool}
        extra = {"spec_name": "TieringOffloadingSpec", "cpu_bytes_to_use": rows * ROW_BYTES, "secondary_tiers": [tier]}
        parallel = make(config.OffloadingParallelConfig, rank=0, world_size=1, tp_size=1, pp_size=1, pcp_size=1,
                        dcp_size=1, data_parallel_index=0, data_parallel_size=1, data_parallel_rank_local=None,
                        is_parallelism_agnostic=True)
        group = make(config.OffloadingGroupConfig, tokens_per_block=16, layer_names=("a", "b"), group_id=0)
        spec = OffloadingSpecFactory.create_spec(make(
            config.OffloadingConfig, groups=(group,), worker_kv_bytes_per_block=ROW_BYTES, enable_kv_cache_events=False,
            extra_config=extra, engine_id=str(uuid.uuid4()), parallel=parallel,
            model=make(config.OffloadingModelConfig, name="model", dtype="float16"),
            cache=make(config.OffloadingCacheConfig, tokens_per_hash=16, blocks_per_chunk=1)))
        manager = spec.get_manager()
        self.addCleanup(self.close, manager)
        return manager

    def close(self, manager):
        if not getattr(manager, "is_closed", False):
            manager.is_closed = True
            manager.shutdown()

    def rows(self, manager):
        view = manager.primary_tier.get_kv_memoryview()
        return numpy.frombuffer(view, dtype=numpy.uint8).reshape(view.shape)

    def step(self, manager, new=()):
        manager.on_schedule_end(base.ScheduleEndContext(list(new), []))

    def settle(self, manager):
        deadline = time.monotonic() + 60
        while manager.has_pending_work():
            self.assertLess(time.monotonic(), deadline, "work never ends")
            self.step(manager)
            time.sleep(0.001)

    def store(self, manager, numbers):
        request = base.ReqContext("store")
        manager.on_new_request(request)
        keys = [KEYS[n] for n in numbers]
        self.assertTrue(all(manager.lookup(key, request) is base.LookupResult.MISS for key in keys))
        prepared = manager.prepare_store(keys, request)
        self.rows(manager)[prepared.store_spec.block_ids] = [content(n) for n in numbers]
        manager.complete_store(keys, request)
        manager.on_request_finished(request)
        self.settle(manager)

    def hit(self, manager, numbers, name="load"):
        """(leading chunks that are readable in the primary tier, scheduler steps it took)."""
        request = base.ReqContext(name)
        manager.on_new_request(request)
        for steps in range(200):
            found, pending = 0, False
            for n in numbers:
                result = manager.lookup(KEYS[n], request)
                if result is base.LookupResult.MISS:
                    break
                found += 1
                pending |= result is not base.LookupResult.HIT
            if not pending:
                return found, steps, request
            self.step(manager)
            for _ in range(20):
                time.sleep(0.001)
        return None, steps, request

    def check(self, manager, numbers, request):
        keys = [KEYS[n] for n in numbers]
        ids = manager.prepare_load(keys, request).block_ids
        self.assertTrue((self.rows(manager)[ids] == [content(n) for n in numbers]).all())
        manager.complete_load(keys, request)
        manager.on_request_finished(request)
        self.settle(manager)

    def damage(self, n):
        pools.turn_bit(self.path(pools.DISK), content(n).tobytes()[:4096])

    def test_what_is_stored_is_restored_by_another_manager(self):
        manager = self.open()
        self.store(manager, range(8))
        self.close(manager)
        manager = self.open()
        found, _, request = self.hit(manager, range(12))
        self.assertEqual(found, 8)
        self.check(manager, range(8), request)
        self.assertFalse((self.rows(manager) == content(9)).all(axis=1).any())

    def test_a_wrong_byte_is_a_shorter_hit(self):
        manager = self.open()
        self.store(manager, range(8))
        self.close(manager)
        self.damage(5)
        manager = self.open()
        found, _, request = self.hit(manager, range(8))
        self.assertEqual(found, 5)
        self.check(manager, range(5), request)

    def test_a_primary_tier_that_is_too_small_ends(self):
        manager = self.open()
        self.store(manager, range(8))
        self.close(manager)
        manager = self.open(rows=3)
        found, steps, request = self.hit(manager, range(8))
        self.assertEqual(found, 3)
        self.assertLess(steps, 20)
        self.check(manager, range(3), request)

    def test_a_reset_waits_and_forgets_the_primary_tier_only(self):
        manager = self.open()
        self.store(manager, range(8))
        manager.reset_cache()
        getattr(manager, "on_reset_flushed", lambda: None)()
        found, _, request = self.hit(manager, range(8))
        self.assertEqual(found, 8)
        self.check(manager, range(8), request)

    def test_metrics_are_taken(self):
        manager = self.open()
        self.store(manager, range(4))
        self.assertIn("vllm:kvpool_blocks", str(manager.get_stats().data))


if __name__ == "__main__":
    unittest.main(verbosity=2)
