#!/usr/bin/env python3
"""LMCache's adapter, made by its own factory from the JSON that a user writes, on a pool. Needs LMCache.

Each check has a control beside it that shows the same check failing.
"""
import argparse
import json
import pathlib
import select
import sys
import unittest

import torch
from lmcache.v1.distributed.api import ObjectKey
from lmcache.v1.distributed.l2_adapters import create_l2_adapter
from lmcache.v1.distributed.l2_adapters.config import parse_args_to_l2_adapters_config
from lmcache.v1.memory_management import MemoryFormat, MemoryObjMetadata, TensorMemoryObj
from lmcache.v1.platform import consume_fd

import driver
import pools

LENGTHS = (1, 4095, 4096, 70_001, 262_144, 1_000_003)
AREA = 2 << 20  # before it lies what is the drive's own (docs/formats/label.md)


def damage(drive):
    """Changes one stored byte: the first of the first page behind the drive's own area that is full of them."""
    with open(drive, "r+b", buffering=0) as file:
        for at in range(AREA, pathlib.Path(drive).stat().st_size, 4096):
            file.seek(at)
            page = file.read(4096)
            if page.count(0) < 256:
                file.seek(at)
                file.write(bytes([page[0] ^ 0x10]))
                return
    raise AssertionError(f"nothing is stored in {drive}")


def memory_object(data):
    tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return TensorMemoryObj(raw_data=tensor, metadata=MemoryObjMetadata(
        shape=tensor.shape, dtype=torch.uint8, address=0, phy_size=len(data), fmt=MemoryFormat.KV_2LTD, ref_count=1),
        parent_allocator=None)


def key(number, salt=""):
    return ObjectKey(chunk_hash=number.to_bytes(32, "big"), model_name="org/model", kv_rank=0x01000100, cache_salt=salt)


def wait(event_fd, take):
    """What `take` gives once it is there."""
    poller = select.poll()
    poller.register(event_fd, select.POLLIN)
    while (result := take()) in (None, {}):
        if not poller.poll(driver.PATIENCE_S * 1000):
            raise AssertionError("LMCache's adapter did not complete")
        consume_fd(event_fd)
    return result


class Adapter(pools.FolderTest):
    def setUp(self):
        super().setUp()
        self.blocks = [pools.content(length, length) for length in LENGTHS]
        self.keys = [key(number) for number in range(len(LENGTHS))]

    def adapter(self, capacity_gb=0, namespace=None, **settings):
        spec = {"type": "native_plugin", "module_path": "kvpool.lmcache", "class_name": "PoolConnector",
                "max_capacity_gb": capacity_gb, "adapter_params": {
                    "pool": driver.pool_file(self.folder, **settings), "create": True, "namespace": namespace or {}}}
        config = parse_args_to_l2_adapters_config(argparse.Namespace(l2_adapter=[json.dumps(spec)])).adapters[0]
        made = create_l2_adapter(config, l1_memory_desc=None)
        self.addCleanup(made.close)
        return made

    def store(self, adapter, keys, blocks):
        objects = [memory_object(block) for block in blocks]  # LMCache pins what is under way
        task = adapter.submit_store_task(keys, objects)
        return wait(adapter.get_store_event_fd(), adapter.pop_completed_store_tasks)[task].is_successful()

    def found(self, adapter, keys):
        task = adapter.submit_lookup_and_lock_task(keys, {})
        bits = wait(adapter.get_lookup_and_lock_event_fd(), lambda: adapter.query_lookup_and_lock_result(task))
        return [bits.test(index) for index in range(len(keys))]

    def load(self, adapter, keys, lengths):
        """The bytes of each key, or None."""
        objects = [memory_object(bytes(length)) for length in lengths]
        task = adapter.submit_load_task(keys, objects)
        bits = wait(adapter.get_load_event_fd(), lambda: adapter.query_load_result(task))
        return [bytes(one.byte_array) if bits.test(index) else None for index, one in enumerate(objects)]

    def test_objects_of_any_length_come_back(self):
        adapter = self.adapter()
        self.assertTrue(self.store(adapter, self.keys, self.blocks))
        self.assertEqual(self.load(adapter, self.keys, LENGTHS), self.blocks)

    def test_control_absent_and_salted_keys_do_not(self):
        adapter = self.adapter()
        self.store(adapter, self.keys, self.blocks)
        self.assertEqual(self.found(adapter, [self.keys[0], key(99), key(0, "tenant")]), [True, False, False])
        self.assertEqual(self.load(adapter, [key(99), self.keys[0]], [10, 1]), [None, self.blocks[0]])

    def test_a_changed_byte_is_a_miss(self):
        adapter = self.adapter()
        self.store(adapter, self.keys, self.blocks)
        damage(self.path("pool.drive"))
        got = self.load(adapter, self.keys, LENGTHS)
        self.assertEqual(got.count(None), 1)
        self.assertTrue(all(mine in (None, block) for mine, block in zip(got, self.blocks)))

    def test_control_a_changed_byte_comes_through_unverified(self):
        adapter = self.adapter(catalog=False, settings="verify = false")
        self.store(adapter, self.keys, self.blocks)
        damage(self.path("pool.drive"))
        got = self.load(adapter, self.keys, LENGTHS)
        self.assertEqual(got.count(None), 0)
        self.assertEqual(sum(mine != block for mine, block in zip(got, self.blocks)), 1)

    def test_another_namespace_misses(self):
        bf16, fp8 = (self.adapter(namespace={"dtype": dtype}) for dtype in ("bf16", "fp8_e4m3"))
        self.store(bf16, self.keys, self.blocks)
        self.assertEqual(self.found(fp8, self.keys), [False] * len(self.keys))
        self.assertEqual(self.found(bf16, self.keys), [True] * len(self.keys))  # the control

    def test_what_lmcache_deletes_is_gone_and_accounted_for(self):
        adapter = self.adapter(capacity_gb=1)
        self.store(adapter, self.keys, self.blocks)
        before = adapter.get_usage().total_bytes_used
        adapter.delete(self.keys[:2])
        self.assertEqual(before - adapter.get_usage().total_bytes_used, sum(LENGTHS[:2]))
        self.assertEqual(self.found(adapter, self.keys), [False, False] + [True] * (len(LENGTHS) - 2))

    def test_a_full_pool_makes_room_by_itself(self):
        adapter = self.adapter(capacity="8MiB")
        block = pools.content(1 << 20, 1)
        for number in range(16):
            self.assertTrue(self.store(adapter, [key(number)], [block]))
        held = self.found(adapter, [key(number) for number in range(16)])
        self.assertTrue(held[15] and 1 < sum(held) < 9, held)


if __name__ == "__main__":
    sys.exit(unittest.main())
