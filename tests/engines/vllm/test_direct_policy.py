"""What the direct path says and decides: settings, its rows as laws over random uses, memory, events, metrics."""
import collections
import dataclasses
import os
import pickle
import random
import subprocess
import sys
import unittest
from unittest import mock

import bed
import direct_bed
import kvpool
import standin
from bed import key

HERE = os.path.dirname(os.path.abspath(__file__))


class Settings(direct_bed.DirectTest):
    def refuse(self, words, error=ValueError, path="pool.toml", extra=None, **settings):
        with self.assertRaisesRegex(error, words) as caught:
            self.direct(path, extra=extra, **settings)
        self.assertNotIn("\n", str(caught.exception))

    def test_what_it_says_of_bad_ones(self):
        self.refuse('KVPoolOffloadingSpec needs "pool"', path=None)
        for wrong in (0, -1, "4GiB", 1.5, True, None):
            self.refuse('"staging_bytes" is a number of bytes', extra={"staging_bytes": wrong})
        for wrong in (0, -1, "soon", 3601, True):
            self.refuse('"load_deadline_s" is a number of seconds', extra={"load_deadline_s": wrong})
        self.refuse("holds no chunk, which has 8192 bytes: .* 8192 for every 16 tokens", extra={"staging_bytes": 8191})
        self.refuse("canonical_layout", canonical=True)
        self.refuse("absent.toml", error=kvpool.Error, path=os.path.join(self.folder, "absent.toml"))
        self.refuse("no KV cache", bytes_per_block=0, extra={"staging_bytes": 1})

    def test_four_gigabytes_unless_said(self):
        staging = sys.modules["kvpool._vllm.staging"]
        shape = staging.Shape.of(standin.config(bytes_per_block=1 << 20), staging.DEFAULT_BYTES)
        self.assertEqual((shape.rows, shape.row_bytes), (4096, 1 << 20))

    def test_rows_are_whole_pages_and_parts_are_not(self):
        staging = sys.modules["kvpool._vllm.staging"]
        shape = staging.Shape.of(standin.config(bytes_per_block=5000, world_size=3), 1 << 20)
        self.assertEqual((shape.row_bytes, shape.part_bytes), (16384, 5000))

    def test_vllm_finds_it_by_its_line(self):
        import importlib
        found = getattr(importlib.import_module("kvpool.vllm"), "KVPoolOffloadingSpec")
        self.assertTrue(issubclass(found, standin.OffloadingSpec))

    def test_a_release_that_was_not_tested_is_refused(self):
        sys.modules["vllm"].__version__ = "0.34.0"
        self.refuse("with vLLM 0.28 to 0.33, and this is 0.34.0", error=ImportError, path=self.pool_file())


class Memory(direct_bed.DirectTest):
    def place(self):
        return self.direct(self.pool_file()).manager._staging.place

    def test_what_a_load_says_reaches_workers_as_it_is(self):
        engine = self.direct(self.pool_file())
        self.put(engine, [0, 1])
        request = self.ask("reads")
        engine.hits([0, 1], request)
        rows = engine.manager.prepare_load([key(1), key(0)], request)
        copied = pickle.loads(pickle.dumps(rows))
        self.assertEqual((list(copied.block_ids), copied.place), (list(rows.block_ids), rows.place))

    def test_another_process_has_the_same_memory(self):
        engine = self.direct(self.pool_file())
        staging = engine.manager._staging
        staging.view[2, 5] = 77
        said = subprocess.run([sys.executable, "-B", "-c", ATTACHES, HERE], input=pickle.dumps(staging.place),
                              check=True, capture_output=True, timeout=60).stdout
        self.assertEqual(said.strip(), b"77")
        self.assertEqual(staging.view[2, 6], 78)

    def test_what_workers_say_that_cannot_reach_it(self):
        place = self.place()
        with self.assertRaisesRegex(RuntimeError, "on another machine"):
            dataclasses.replace(place, boot="another").attach()
        with self.assertRaisesRegex(RuntimeError, "cannot open the scheduler's memory .*: run both in one container"):
            dataclasses.replace(place, path="/proc/self/fd/99999").attach()

    def test_a_part_that_is_larger_than_vllm_said_is_refused(self):
        copies = sys.modules["kvpool._vllm.copies"]
        place, cache = self.place(), direct_bed.KvCache([bed.ROW_BYTES, 4096], 1)
        with self.assertRaisesRegex(RuntimeError, "has 12288 bytes, and vLLM named 8192"):
            copies.HostCopies(cache.caches, 1, place.attach(), place.shape, 0)

    def test_a_gpu_gets_hugepages_or_nothing(self):
        staging = sys.modules["kvpool._vllm.staging"]
        memory = self.direct(self.pool_file()).manager._staging
        with mock.patch.object(staging, "on_hugepages", return_value=False):
            with self.assertRaisesRegex(RuntimeError, "has to be on transparent hugepages for a GPU"):
                memory.require_fixed_pages()
        with mock.patch.object(staging, "on_hugepages", return_value=True):
            memory.require_fixed_pages()

    def test_hugepages_are_counted_where_the_memory_is(self):
        count = sys.modules["kvpool._vllm.staging"].huge_bytes
        smaps = SMAPS.splitlines()
        self.assertEqual(count(smaps, 0x200000, 0x800000), 4 << 20)
        self.assertEqual(count(smaps, 0x800000, 0xa00000), 0)
        self.assertEqual(count(smaps, 0x200000, 0xa00000), 4 << 20)

    def test_and_the_kernels_own_count_is_read(self):
        staging = sys.modules["kvpool._vllm.staging"]
        memory = self.direct(self.pool_file()).manager._staging.memory
        if "transparent" not in memory.description:
            self.skipTest(memory.description)
        self.assertTrue(staging.on_hugepages(memoryview(memory)))
        self.assertFalse(staging.on_hugepages(memoryview(bytearray(1 << 20))))


ATTACHES = """
import pickle, sys
sys.path.insert(0, sys.argv[1])
import standin
standin.install()
place = pickle.load(sys.stdin.buffer)
memory = place.attach()
print(memory[2 * place.shape.row_bytes + 5])
memory[2 * place.shape.row_bytes + 6] = 78
"""

SMAPS = """00200000-00600000 rw-s 00000000 00:01 7 /memfd:kvpool
Size:               4096 kB
ShmemPmdMapped:     2048 kB
00600000-00800000 rw-s 00400000 00:01 7 /memfd:kvpool
ShmemPmdMapped:     2048 kB
VmFlags: rd wr
00800000-00a00000 rw-p 00000000 00:00 0
ShmemPmdMapped:        0 kB
"""


class Laws(unittest.TestCase):
    """Of rows under random uses: nothing that somebody uses is anybody else's, and none is lost."""

    def setUp(self):
        standin.install()
        self.rows_module = sys.modules["kvpool._vllm.rows"]

    def walk(self, seed, steps=2000, count=5, leave=True):
        """Random uses of `count` rows; how many chunks got one. Raises AssertionError where a law is broken."""
        draw, rows = random.Random(seed), self.rows_module.Rows(count)
        uses, taken = collections.Counter(), 0  # (row, worker) -> uses
        for _ in range(steps):
            name, row = b"%d" % draw.randrange(12), draw.choice(list(uses) or [None])
            step = draw.randrange(6)
            if step == 0 and rows.find(name) is None:
                found = rows.take(name, fetched=bool(draw.randrange(2)))
                if found is None:
                    used = {one.number for one, _ in uses}
                    self.assertEqual(len(used), count, "a row is lost")
                    continue
                self.assertNotIn(found.number, {one.number for one, _ in uses})
                uses[found, not found.fetched] += 1
                taken += 1
            elif step == 1 and (found := rows.find(name)) and found.ready:
                worker = bool(draw.randrange(2))
                rows.use(found, worker=worker)
                uses[found, worker] += 1
            elif step in (2, 3) and row is not None and leave:
                row[0].ready = True
                rows.leave(row[0], worker=row[1])
                uses[row] -= 1
                uses += collections.Counter()
            elif step == 4 and (found := rows.find(name)):
                rows.touch(name)
            elif step == 5 and (found := rows.find(name)) and draw.randrange(3) == 0:
                rows.forget(found)
                self.assertIsNone(rows.find(name))
        return taken

    def test_rows(self):
        for seed in range(50):
            with self.subTest(seed=seed):
                self.assertGreater(self.walk(seed), 100)

    def test_a_row_that_is_given_away_in_use_is_seen(self):
        with mock.patch.object(self.rows_module.Rows, "use"):
            with self.assertRaises(AssertionError):
                for seed in range(50):
                    self.walk(seed)

    def test_a_row_that_is_lost_is_seen(self):
        with mock.patch.object(self.rows_module.Rows, "_give_back"):
            with self.assertRaises(AssertionError):
                for seed in range(50):
                    self.walk(seed)


class Reports(direct_bed.DirectTest):
    def test_events(self):
        path = self.pool_file()
        engine = self.direct(path)
        self.put(engine, range(3))
        (stored,) = engine.manager.take_events()
        self.assertEqual((stored.keys, stored.removed, stored.medium),
                         ([key(0), key(1), key(2)], False, standin.Medium.STORAGE))
        self.assertEqual(list(engine.manager.take_events()), [])
        engine.close()
        self.damage_direct(1)
        engine = self.direct(path)
        self.found(engine, range(3))
        (removed,) = engine.manager.take_events()
        self.assertEqual((removed.keys, removed.removed), ([key(1)], True))

    def test_no_events_unless_vllm_takes_them(self):
        engine = self.direct(self.pool_file(), events=False)
        self.put(engine, range(3))
        self.assertEqual(list(engine.manager.take_events()), [])

    def damage_direct(self, n):
        import pools
        pools.turn_bit(self.path(pools.DISK), self.content(n)[:4096], at=100)

    def test_metrics_are_all_defined(self):
        path = self.pool_file()
        engine = self.direct(path)
        self.put(engine, range(3))
        engine.close()
        self.damage_direct(1)
        engine = self.direct(path, rows=2)
        self.found(engine, range(3))
        stats = engine.manager.get_stats()
        defined = type(engine.spec).build_metric_definitions({})
        for values, kind in ((stats.counters, standin.OffloadingCounterMetadata),
                             (stats.gauges, standin.OffloadingGaugeMetadata)):
            for name, labels in values:
                self.assertEqual(len(defined[name].labelnames), len(labels), name)
                self.assertIs(type(defined[name]), kind)
        self.assertEqual(stats.counters["vllm:kvpool_load_failures", ()], 1)
        self.assertGreater(stats.counters["vllm:kvpool_refused_loads", ()], 0)
        self.assertEqual(stats.gauges["vllm:kvpool_staging_rows", ()], 2)

    def test_afterwards_everything_is_a_miss(self):
        engine = self.direct(self.pool_file())
        self.put(engine, range(3))
        engine.close()
        self.assertEqual(engine.lookup([0], self.ask("late")), [standin.LookupResult.MISS])
        self.assertIsNone(engine.manager.get_stats())
        self.assertFalse(engine.manager.has_pending_work())
        engine.step()
        engine.close()


if __name__ == "__main__":
    unittest.main()
