"""Ways to bring stored values back into memory. Each knows how to store and how to load all values of a Buffers.

`place` says where: its folder lies on the fastest drive; its pool_file names all drives.
"""
import argparse
import json
import os
import pathlib
import select
import time

from memory import MIB

KVPOOL = {"type": "native_plugin", "module_path": "kvpool.lmcache", "class_name": "PoolConnector"}
# name: (adapter of LMCache, without where it stores; tasks that its values are submitted in)
LMCACHE = {
    "lmcache-fs": ({"type": "fs"}, 8),
    "lmcache-fs-direct": ({"type": "fs", "use_odirect": True}, 8),
    "lmcache-fs-native": ({"type": "fs_native"}, 1),
    "lmcache-fs-native-direct": ({"type": "fs_native", "use_odirect": True}, 1),
    "lmcache-raw-block-uring": ({"type": "raw_block", "io_engine": "io_uring"}, 8),
    "lmcache-kvpool": (KVPOOL, 1),
    "lmcache-kvpool-unverified": (KVPOOL, 1),
}
NAMES = (*LMCACHE, "nixl-posix", "kvpool", "kvpool-unverified")


class Place:
    def __init__(self, folder, pool_file):
        self.folder = pathlib.Path(folder)
        self.pool_file = pool_file


def make(name, place, buffers):
    if name in LMCACHE:
        return LMCacheAdapter(name, place, buffers)
    if name == "nixl-posix":
        return NixlPosix(place, buffers)
    return Kvpool(place.pool_file, buffers)


class LMCacheAdapter:
    """Any second level of LMCache, by LMCache's own adapter."""

    def __init__(self, name, place, buffers):
        import torch
        from lmcache.v1.distributed.api import ObjectKey
        from lmcache.v1.distributed.internal_api import L1MemoryDesc
        from lmcache.v1.distributed.l2_adapters import create_l2_adapter
        from lmcache.v1.distributed.l2_adapters.config import parse_args_to_l2_adapters_config
        torch.set_num_threads(1)
        spec, self.tasks = LMCACHE[name]
        self.lasting = name != "lmcache-kvpool-unverified"  # what is stored is there in the next process
        work = buffers.work
        config = parse_args_to_l2_adapters_config(argparse.Namespace(
            l2_adapter=[json.dumps({**spec, **self._where(name, place, work)})])).adapters[0]
        memory = torch.frombuffer(buffers.memory, dtype=torch.uint8)
        self.adapter = create_l2_adapter(config, l1_memory_desc=L1MemoryDesc(
            ptr=memory.data_ptr(), size=work.bytes, align_bytes=4096))
        self.keys = [ObjectKey(chunk_hash=index.to_bytes(16, "big"), model_name="bench", kv_rank=0x01000100)
                     for index in range(work.count)]
        self.objects = [self._object(memory, index, work.value_bytes) for index in range(work.count)]

    @staticmethod
    def _where(name, place, work):
        if LMCACHE[name][0] is KVPOOL:
            return {"adapter_params": {"pool": str(place.pool_file), "create": True}}
        if name != "lmcache-raw-block-uring":
            folder = place.folder / name
            folder.mkdir(exist_ok=True)
            return {"base_path": str(folder)}
        file, slot = place.folder / "raw-block", work.value_bytes + 4096
        if not file.exists():
            with open(file, "wb") as made:
                os.posix_fallocate(made.fileno(), 0, 256 * MIB + (work.count + 8) * slot)
        return {"device_path": str(file), "slot_bytes": slot}

    @staticmethod
    def _object(memory, index, length):
        import torch
        from lmcache.v1.memory_management import MemoryFormat, MemoryObjMetadata, TensorMemoryObj
        return TensorMemoryObj(raw_data=memory[index * length:(index + 1) * length], metadata=MemoryObjMetadata(
            shape=torch.Size([length]), dtype=torch.uint8, address=index * length, phy_size=length,
            fmt=MemoryFormat.KV_2LTD, ref_count=1), parent_allocator=None)

    def _batches(self):
        step = -(-len(self.keys) // self.tasks)
        return [(self.keys[at:at + step], self.objects[at:at + step]) for at in range(0, len(self.keys), step)]

    def store(self):
        tasks = {self.adapter.submit_store_task(*batch) for batch in self._batches()}

        def collect():
            for task, result in self.adapter.pop_completed_store_tasks().items():
                tasks.discard(task)
                if not result.is_successful():
                    raise SystemExit("the store failed")
        self._wait(self.adapter.get_store_event_fd(), tasks, collect)

    def load(self):
        tasks = {self.adapter.submit_load_task(*batch) for batch in self._batches()}

        def collect():
            for task in list(tasks):
                if self.adapter.query_load_result(task) is not None:
                    tasks.discard(task)
        self._wait(self.adapter.get_load_event_fd(), tasks, collect)

    @staticmethod
    def _wait(event_fd, tasks, collect):
        from lmcache.v1.platform import consume_fd
        poller = select.poll()
        poller.register(event_fd, select.POLLIN)
        while tasks:
            poller.poll()
            consume_fd(event_fd)
            collect()

    def close(self):
        self.adapter.close()


class NixlPosix:
    """NIXL's POSIX plug-in as it comes: all values in one file, O_DIRECT, one transfer."""
    lasting = True

    def __init__(self, place, buffers):
        from nixl._api import nixl_agent, nixl_agent_config
        work = buffers.work
        self.file = os.open(place.folder / "nixl", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
        self.agent = nixl_agent("bench", nixl_agent_config(False, False, 0, backends=[]))
        self.agent.create_backend("POSIX", {})
        begin = buffers.array.ctypes.data
        self.registered = (self.agent.register_memory([(begin, work.bytes, 0, "")], "DRAM"),
                           self.agent.register_memory([(0, work.bytes, self.file, "f")], "FILE"))
        values = range(0, work.bytes, work.value_bytes)
        self.memory = self.agent.get_xfer_descs([(begin + at, work.value_bytes, 0) for at in values], "DRAM")
        self.stored = self.agent.get_xfer_descs([(at, work.value_bytes, self.file) for at in values], "FILE")

    def store(self):
        self._move("WRITE")
        os.fsync(self.file)

    def load(self):
        self._move("READ")

    def _move(self, direction):
        transfer = self.agent.initialize_xfer(direction, self.memory, self.stored, "bench")
        state = self.agent.transfer(transfer)
        while state == "PROC":
            time.sleep(0.0005)
            state = self.agent.check_xfer_state(transfer)
        if state != "DONE":
            raise SystemExit(f"NIXL's transfer ended as {state}")
        self.agent.release_xfer_handle(transfer)

    def close(self):
        os.close(self.file)


class Kvpool:
    """The pool itself, by its Python package: one get of all values."""

    def __init__(self, pool_file, buffers):
        import kvpool
        self.check = kvpool.check
        self.pool = kvpool.Pool.open(pool_file, create=True)
        self.registration = self.pool.register(buffers.memory)
        self.space = self.pool.space(model="bench")
        self.channel = self.pool.channel()
        self.keys = [index.to_bytes(16, "big") for index in range(buffers.work.count)]
        self.blocks = [buffers.value(index) for index in range(buffers.work.count)]
        self.lasting = "catalog" in pathlib.Path(pool_file).read_text(encoding="utf-8")

    def store(self):
        self.channel.submit_put(self.space, self.keys, self.blocks)
        self._wait()
        if self.lasting:
            self.channel.submit_flush(self.space, self.keys)
            self._wait()

    def load(self):
        self.channel.submit_get(self.space, self.keys, self.blocks)
        self._wait()

    def _wait(self):
        while not (done := self.channel.poll()):
            self.channel.wait(1.0)
        self.check(done[0].results)

    def close(self):
        self.channel.close()
        self.registration.release()
        self.pool.close()
