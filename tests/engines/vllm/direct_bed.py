"""The direct path as vLLM uses it: its scheduler's calls, and workers with a KV cache in this process' memory."""
import ctypes
import time

import bed
import pools
import standin
from bed import key

LookupResult = standin.LookupResult
PATIENCE_S = 60
BLOCKS = 64


class Tensor:
    """What the worker asks of a KV cache's tensor: blocks one after the other."""

    def __init__(self, page_bytes):
        self.memory = (ctypes.c_char * (BLOCKS * page_bytes))()
        self.page_bytes = page_bytes

    def data_ptr(self):
        return ctypes.addressof(self.memory)

    def is_contiguous(self):
        return True

    def page(self, block):
        return self.memory.raw[block * self.page_bytes:(block + 1) * self.page_bytes]

    def fill(self, block, content):
        ctypes.memmove(self.data_ptr() + block * self.page_bytes, content, self.page_bytes)


class KvCache:
    """Of one worker: the tensors that each group's layers lie in."""

    def __init__(self, pages, groups):
        self.tensors = [Tensor(page) for page in pages]
        self.caches = standin.named(
            tensors=[standin.named(tensor=tensor, page_size_bytes=tensor.page_bytes) for tensor in self.tensors],
            group_data_refs=[[standin.named(tensor_idx=i, page_size_bytes=page) for i, page in enumerate(pages)]
                             for _ in range(groups)])

    def block(self, block):
        return b"".join(tensor.page(block) for tensor in self.tensors)

    def fill(self, block, content):
        for tensor in self.tensors:
            tensor.fill(block, content[:tensor.page_bytes])
            content = content[tensor.page_bytes:]


class Engine:
    """A scheduler with the direct path's manager, and its workers. Chunk n is block n of each KV cache, unless said."""

    def __init__(self, module, extra, **settings):
        self.settings = {"groups": 1, "bytes_per_block": bed.ROW_BYTES, **settings}
        self.spec = module.KVPoolOffloadingSpec(standin.config(extra=extra, **self.settings))
        self.manager = self.spec.get_manager()
        groups, size = self.settings["groups"], self.settings["bytes_per_block"]
        self.caches, self.workers, self.job = [], [], 0
        for rank in range(self.settings.get("world_size", 1)):
            cache = KvCache([size // 2, size - size // 2], groups)
            self.caches.append(cache)
            config = standin.config(extra=extra, rank=rank, **self.settings)
            self.workers.append(module.KVPoolOffloadingSpec(config).get_worker(cache.caches))

    def step(self):
        self.manager.on_schedule_end(None)
        transfers = self.manager._transfers
        if transfers is not None and not transfers.idle():
            transfers.wait()

    def settle(self):
        deadline = time.monotonic() + PATIENCE_S
        while self.manager.has_pending_work():
            assert time.monotonic() < deadline, "work never ends"
            self.step()

    def lookup(self, numbers, request, group=0):
        return [self.manager.lookup(key(n, group), request) for n in numbers]

    def hits(self, numbers, request, group=0):
        """Leading chunks that vLLM would load, and the steps that it took: its _maximal_prefix_lookup."""
        deadline = time.monotonic() + PATIENCE_S
        steps = 0
        while True:
            found, pending = 0, False
            for n in numbers:
                result = self.manager.lookup(key(n, group), request)
                if result is LookupResult.MISS:
                    break
                pending |= result is not LookupResult.HIT
                found += 1
            if not pending:
                return found, steps
            assert time.monotonic() < deadline, "lookups never end"
            self.step()
            steps += 1

    def blocks(self, numbers, group=0):
        """vLLM's GPULoadStoreSpec of a chunk a block."""
        groups = self.settings["groups"]
        sizes = [len(numbers) if i == group else 0 for i in range(groups)]
        return standin.GPULoadStoreSpec(list(numbers), sizes, [0] * groups)

    def begin_load(self, numbers, request, blocks=None, group=0):
        """As far as the workers' copies, which are over then. Ends with end_load."""
        rows = self.manager.prepare_load([key(n, group) for n in numbers], request)
        self.job += 1
        for worker in self.copying():
            assert worker.submit_load(self.job, rows, self.blocks(numbers if blocks is None else blocks, group))

    def end_load(self, numbers, request, group=0):
        self.finished()
        self.manager.complete_load({key(n, group) for n in numbers}, request)

    def load(self, numbers, request, blocks=None, group=0):
        self.begin_load(numbers, request, blocks, group)
        self.end_load(numbers, request, group)
        self.manager.on_request_finished(request)

    def begin_store(self, numbers, request, group=0):
        """The numbers whose chunks are stored, or None; their copies are over then. Ends with end_store."""
        output = self.manager.prepare_store([key(n, group) for n in numbers], request)
        if output is None:
            return None
        stored = [n for n in numbers if key(n, group) in output.keys_to_store]
        self.job += 1
        if stored:
            for worker in self.copying():
                assert worker.submit_store(self.job, self.blocks(stored, group), output.store_spec)
        return stored

    def end_store(self, stored, request, group=0):
        self.finished()
        if stored:
            self.manager.complete_store({key(n, group) for n in stored}, request)

    def store(self, numbers, request, group=0):
        stored = self.begin_store(numbers, request, group)
        self.end_store(stored, request, group)
        self.manager.on_request_finished(request)
        self.settle()
        return stored

    def copying(self):
        """Of bytes that all workers have alike, the first one stores and every one loads; here, the first does both."""
        return self.workers[:1] if self.spec.replicated_layout else self.workers

    def finished(self):
        for worker in self.copying():
            assert all(result.success for result in worker.get_finished())

    def close(self):
        for worker in self.workers:
            worker.shutdown()
        self.manager.shutdown()


class DirectTest(bed.TierTest):
    def direct(self, path, rows=16, extra=None, **settings):
        settings.setdefault("generation", self.GENERATION)
        size = settings.get("bytes_per_block", bed.ROW_BYTES) * settings.get("blocks_per_chunk", 1)
        if not settings.get("replicated"):
            size *= settings.get("world_size", 1)
        more = {"pool": path, "staging_bytes": rows * -(-size // 4096) * 4096, **(extra or {})}
        engine = Engine(self.module, more, **settings)
        self.addCleanup(engine.close)
        return engine

    def ask(self, name, numbers=range(16), group=0):
        return self.request(name, [key(n, group) for n in numbers])

    def content(self, n, rank=0, group=0, nbytes=bed.ROW_BYTES):
        return pools.content(nbytes, n, rank, group)

    def fill_blocks(self, engine, numbers, group=0):
        for rank, cache in enumerate(engine.caches):
            for n in numbers:
                cache.fill(n, self.content(n, rank, group, engine.settings["bytes_per_block"]))

    def put(self, engine, numbers, group=0, name="store"):
        """Stores chunks of a content of their own."""
        self.fill_blocks(engine, numbers, group)
        stored = engine.store(numbers, self.ask(name, numbers, group), group)
        for cache in engine.caches:
            for n in numbers:
                cache.fill(n, bytes(engine.settings["bytes_per_block"]))
        return stored

    def found(self, engine, numbers, group=0, name="lookup"):
        request = self.ask(name, numbers, group)
        found, _ = engine.hits(numbers, request, group)
        engine.manager.on_request_finished(request)
        return found

    def counters(self, engine):
        stats = engine.manager.get_stats()
        return {} if stats is None else {name: value for (name, _), value in stats.counters.items()}
