"""The direct path made by vLLM's own factory, of its own classes, without an engine; and what a GPU's worker gets."""
import hashlib
import inspect
import pickle
import re
import unittest
import uuid
from unittest import mock

import kvpool
import kvpool._vllm.gpu as gpu
import kvpool._vllm.worker as worker
import torch
from vllm.v1.kv_offload import base, config
from vllm.v1.kv_offload.cpu import gpu_worker
from vllm.v1.kv_offload.factory import OffloadingSpecFactory

import pools
from test_manager import make

PAGES, BLOCKS = (8192, 4096), 32
KEYS = [base.make_offload_key(hashlib.sha256(b"%d" % n).digest(), 0) for n in range(12)]
ROWS = 8


class ClassesTest(pools.FolderTest):
    def setUp(self):
        super().setUp()
        self.pool = pools.write(self.folder, settings=f'unit = "32KiB"\ncreate_if_missing = true\n{pools.WITH_CATALOG}')
        platform = mock.patch.object(worker, "current_platform", mock.Mock(device_type="cpu"))
        platform.start()
        self.addCleanup(platform.stop)

    def spec(self):
        extra = {"spec_name": "KVPoolOffloadingSpec", "spec_module_path": "kvpool.vllm", "pool": self.pool,
                 "staging_bytes": ROWS * sum(PAGES)}
        parallel = make(config.OffloadingParallelConfig, rank=0, world_size=1, tp_size=1, pp_size=1, pcp_size=1,
                        dcp_size=1, data_parallel_index=0, data_parallel_size=1, data_parallel_rank_local=None,
                        is_parallelism_agnostic=True)
        group = make(config.OffloadingGroupConfig, tokens_per_block=16, layer_names=("a", "b"), group_id=0)
        return OffloadingSpecFactory.create_spec(make(
            config.OffloadingConfig, groups=(group,), worker_kv_bytes_per_block=sum(PAGES),
            enable_kv_cache_events=False, extra_config=extra, engine_id=str(uuid.uuid4()), parallel=parallel,
            model=make(config.OffloadingModelConfig, name="model", dtype="float16"),
            cache=make(config.OffloadingCacheConfig, tokens_per_hash=16, blocks_per_chunk=1)))

    def caches(self):
        tensors = [torch.zeros((BLOCKS, page), dtype=torch.int8) for page in PAGES]
        return tensors, base.CanonicalKVCaches(
            [base.CanonicalKVCacheTensor(tensor, page) for tensor, page in zip(tensors, PAGES)],
            [[base.CanonicalKVCacheRef(i, page) for i, page in enumerate(PAGES)]])

    def open(self):
        spec = self.spec()
        manager = spec.get_manager()
        self.addCleanup(manager.shutdown)
        tensors, caches = self.caches()
        return manager, tensors, spec.get_worker(caches)


class Factory(ClassesTest):
    def lookup(self, manager, numbers, request):
        """Leading chunks in rows."""
        while True:
            results = [manager.lookup(KEYS[n], request) for n in numbers]
            if base.LookupResult.HIT_PENDING not in results and base.LookupResult.RETRY not in results:
                return (results + [base.LookupResult.MISS]).index(base.LookupResult.MISS)
            manager.on_schedule_end(base.ScheduleEndContext([], []))
            manager._transfers.wait()

    def test_a_store_and_a_load(self):
        manager, tensors, one = self.open()
        for tensor in tensors:
            tensor.random_(-128, 127)
        request = base.ReqContext("stores")
        manager.on_new_request(request)
        self.assertEqual(self.lookup(manager, range(5), request), 0)
        stored = manager.prepare_store(KEYS[:5], request)
        self.assertEqual(stored.keys_to_store, KEYS[:5])
        blocks = base.GPULoadStoreSpec(list(range(5)), group_sizes=[5], block_indices=[0])
        self.assertTrue(one.submit_store(1, blocks, pickle.loads(pickle.dumps(stored.store_spec))))
        self.assertEqual([(result.job_id, result.success) for result in one.get_finished()], [(1, True)])
        manager.complete_store(set(KEYS[:5]), request)
        while manager.has_pending_work():
            manager._transfers.wait()
        one.shutdown()
        manager.shutdown()

        manager, loaded, one = self.open()
        request = base.ReqContext("reads")
        self.assertEqual(self.lookup(manager, range(6), request), 5)
        rows = manager.prepare_load(KEYS[:5], request)
        self.assertIsInstance(rows, base.LoadStoreSpec)
        blocks = base.GPULoadStoreSpec(list(range(10, 15)), group_sizes=[5], block_indices=[0])
        self.assertTrue(one.submit_load(2, rows, blocks))
        self.assertTrue(all(result.success for result in one.get_finished()))
        for before, after in zip(tensors, loaded):
            self.assertTrue(torch.equal(before[:5], after[10:15]))
            self.assertFalse(after[:10].any())
        one.shutdown()
        self.assertIsNotNone(manager.get_stats())

    def test_the_methods_have_the_parameters_that_vllm_gives_them(self):
        for ours, theirs in ((kvpool._vllm.manager.StagingManager, base.OffloadingManager),
                             (worker.StagingWorker, base.OffloadingWorker)):
            for name, method in inspect.getmembers(theirs, inspect.isfunction):
                if name.startswith("_"):
                    continue
                parameters = list(inspect.signature(method).parameters)
                values = {parameter: None for parameter in parameters}
                with self.subTest(method=f"{ours.__name__}.{name}"):
                    inspect.signature(getattr(ours, name)).bind(**values)

    def test_a_method_that_vllm_calls_otherwise_would_be_seen(self):
        with self.assertRaises(TypeError):
            inspect.signature(worker.StagingWorker.submit_store).bind(self=None, job_id=1, src_spec=None, other=None)


class Region(ClassesTest):
    """What vLLM's worker for a GPU is given. No GPU: its copies are vLLM's own."""

    def setUp(self):
        super().setUp()
        manager, _, _ = self.open()
        self.place = manager._staging.place
        self.region = gpu.StagingRegion(self.place.attach(), self.place.shape, 0)
        self.staging = manager._staging

    def test_its_views_are_the_rows(self):
        views = [self.region.create_next_worker_view(page) for page in PAGES]
        views[1][3, 7] = 99
        self.assertEqual(self.staging.view[3, PAGES[0] + 7], 99)
        self.staging.view[5, 0] = 98
        self.assertEqual(int(views[0][5, 0]), 98)
        self.assertEqual([tuple(view.shape) for view in views], [(ROWS, page) for page in PAGES])
        with self.assertRaises(AssertionError):
            self.region.create_next_worker_view(1)
        del views
        self.region.cleanup()
        self.assertIsNone(self.region.mmap_obj)

    def test_it_has_every_field_that_is_asked_of_it(self):
        """Those of its class' own methods, and those that the worker takes."""
        source = inspect.getsource(gpu_worker) + inspect.getsource(gpu.SharedOffloadRegion)
        asked = set(re.findall(r"\bregion\.(\w+)", source)) | set(re.findall(r"\bself\.(\w+)", source.split(
            "class SharedOffloadRegion")[1]))
        missing = {name for name in asked if not hasattr(self.region, name)}
        self.assertEqual(missing, set())
        self.assertIn("_row_stride", asked)
        del self.region._row_stride
        self.assertFalse(hasattr(self.region, "_row_stride"), "nothing would be missed")

    def test_the_whole_of_it_is_pinned_once(self):
        calls = []

        def register(address, nbytes, *flags):
            calls.append((address, nbytes))
            return True if hasattr(gpu_worker, "host_register") else mock.Mock(value=0)

        pinned = (mock.patch.object(gpu_worker, "host_register", register) if hasattr(gpu_worker, "host_register")
                  else mock.patch.object(torch.cuda, "cudart", lambda: mock.Mock(cudaHostRegister=register)))
        cuda = mock.Mock(is_cuda_alike=lambda: True)
        with pinned, mock.patch.object(gpu_worker, "current_platform", cuda):
            gpu_worker.pin_mmap_region(self.region)
        self.assertEqual(calls, [(self.region._base.data_ptr(), ROWS * sum(PAGES))])
        self.assertTrue(self.region.is_pinned)

    def test_the_worker_takes_what_it_is_given(self):
        taken = {}

        def worker_of(*arguments, **named):
            bound = inspect.signature(real).bind(*arguments, **named)
            taken.update(bound.arguments)

        real = gpu_worker.CPUOffloadingWorker
        with mock.patch.object(gpu_worker, "CPUOffloadingWorker", worker_of):
            gpu.gpu_worker("caches", 4, self.place.attach(), self.place.shape, 0)
        self.assertEqual((taken["kv_caches"], taken["blocks_per_chunk"]), ("caches", 4))
        self.assertEqual(taken.get("num_cpu_chunks", taken.get("num_cpu_blocks")), ROWS)
        self.assertIsInstance(taken["mmap_region"], gpu.StagingRegion)


if __name__ == "__main__":
    unittest.main(verbosity=2)
