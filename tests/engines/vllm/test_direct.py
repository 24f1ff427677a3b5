"""Stores and loads of the direct path on a real pool: bytes, promises that are kept, misses after failures."""
import contextlib
import os
import signal
import threading
import time
import unittest
from unittest import mock

import bed
import direct_bed
import pools
import standin
from bed import key

MISS, HIT, HIT_PENDING, RETRY = (standin.LookupResult[name] for name in ("MISS", "HIT", "HIT_PENDING", "RETRY"))
ABSENT = bytes(bed.ROW_BYTES)


class Bytes(direct_bed.DirectTest):
    def test_what_was_stored_comes_back_to_another_engine(self):
        path = self.pool_file()
        engine = self.direct(path)
        self.assertEqual(self.found(engine, range(8)), 0)
        self.assertEqual(self.put(engine, range(8)), list(range(8)))
        engine.close()
        engine = self.direct(path)
        request = self.ask("reads")
        self.assertEqual(engine.hits(range(10), request)[0], 8)
        engine.load(range(8), request, blocks=range(20, 28))
        self.assertEqual([engine.caches[0].block(20 + n) for n in range(8)], [self.content(n) for n in range(8)])
        self.assertNotEqual(engine.caches[0].block(20), self.content(1))
        self.assertEqual(engine.caches[0].block(8), ABSENT)

    def test_it_comes_back_from_the_rows_as_well(self):
        engine = self.direct(self.pool_file())
        self.put(engine, range(4))
        request = self.ask("reads")
        self.assertEqual(engine.hits(range(4), request), (4, 0), "not from the rows: that takes no step")
        engine.load(range(4), request)
        self.assertEqual([engine.caches[0].block(n) for n in range(4)], [self.content(n) for n in range(4)])

    def test_what_a_tier_stored_the_direct_path_finds_and_the_other_way_round(self):
        path = self.pool_file()
        tier = self.open(path)
        self.store(tier, range(4))
        tier.shutdown()
        engine = self.direct(path)
        request = self.ask("reads")
        self.assertEqual(engine.hits(range(5), request)[0], 4)
        engine.load(range(4), request)
        self.assertEqual([engine.caches[0].block(n) for n in range(4)], [bed.content(n) for n in range(4)])
        self.put(engine, [9])
        engine.close()
        tier = self.open(path)
        self.assertEqual(self.hits(tier, [8, 9]), [9])
        self.assertTrue(self.load(tier, [9], rows=[5]).success)
        self.assertEqual(self.row(tier, 5), self.content(9))

    def test_each_worker_has_its_part(self):
        path = self.pool_file()
        engine = self.direct(path, world_size=2)
        self.put(engine, range(4))
        engine.close()
        engine = self.direct(path, world_size=2)
        request = self.ask("reads")
        self.assertEqual(engine.hits(range(4), request)[0], 4)
        engine.load(range(4), request)
        for rank, cache in enumerate(engine.caches):
            self.assertEqual([cache.block(n) for n in range(4)], [self.content(n, rank) for n in range(4)])
        engine.close()
        self.assertEqual(self.found(self.direct(path), range(4)), 0)

    def test_what_all_workers_have_alike_is_there_once(self):
        engine = self.direct(self.pool_file(), world_size=2, replicated=True)
        self.assertEqual(engine.manager._staging.shape.row_bytes, bed.ROW_BYTES)
        self.put(engine, range(2))
        request = self.ask("reads")
        self.assertEqual(engine.hits(range(2), request)[0], 2)
        rows = engine.manager.prepare_load([key(0), key(1)], request)
        for worker in engine.workers:
            worker.submit_load(7, rows, engine.blocks([0, 1]))
        self.assertEqual([cache.block(1) for cache in engine.caches], [self.content(1)] * 2)

    def test_chunks_of_several_blocks_may_begin_in_their_middle(self):
        engine = self.direct(self.pool_file(), blocks_per_chunk=4)
        blocks = [5, 6, 7, 8, 20, 21, 22, 23]  # of chunks 0 and 1
        self.fill_blocks(engine, blocks)
        request = self.ask("stores", tuple(range(2)))
        output = engine.manager.prepare_store([key(0), key(1)], request)
        engine.workers[0].submit_store(1, standin.GPULoadStoreSpec(blocks, [8], [0]), output.store_spec)
        engine.end_store([0, 1], request)
        engine.settle()
        self.assertEqual(engine.hits(range(2), request)[0], 2)
        rows = engine.manager.prepare_load([key(0), key(1)], request)
        into = [40, 41, 42, 43, 44]  # from the last block of chunk 0 on
        engine.workers[0].submit_load(2, rows, standin.GPULoadStoreSpec(into, [5], [3]))
        self.assertEqual([engine.caches[0].block(n) for n in into], [self.content(n) for n in blocks[3:]])

    def test_groups_do_not_share_keys(self):
        engine = self.direct(self.pool_file(), groups=2)
        self.put(engine, [0, 1], group=0)
        self.assertEqual(self.found(engine, [0, 1], group=1), 0)
        self.put(engine, [1], group=1)
        request = self.ask("reads", group=1)
        self.assertEqual(engine.hits([1], request, group=1)[0], 1)
        engine.load([1], request, group=1)
        self.assertEqual(engine.caches[0].block(1), self.content(1, group=1))

    def test_a_window_is_fetched_and_no_more(self):
        """Counting on from a chunk that is on its way is what keeps vLLM from asking for all before the window."""
        path = self.pool_file()
        engine = self.direct(path, groups=2)
        self.put(engine, range(8), group=1)
        engine.close()
        engine = self.direct(path, groups=2)
        request = self.ask("reads", group=1)
        self.assertEqual(engine.lookup([7, 6], request, group=1), [HIT_PENDING, HIT_PENDING])
        engine.settle()
        self.assertEqual(engine.lookup([7, 6], request, group=1), [HIT, HIT])
        self.assertIsNone(engine.manager._rows.find(key(5, 1)))

    def test_anything_that_differs_misses(self):
        path = self.pool_file()
        engine = self.direct(path)
        self.put(engine, range(3))
        engine.close()
        for change in ({"model": "other"}, {"dtype": "bfloat16"}, {"layout": "HND"}, {"layers": 3},
                       {"extra": {"namespace": "tenant"}}):
            with self.subTest(change=change):
                other = self.direct(path, **change)
                self.assertEqual(self.found(other, range(3)), 0)
                other.close()
        self.assertEqual(self.found(self.direct(path), range(3)), 3)

    def test_one_wrong_byte_costs_its_chunk_only(self):
        path = self.pool_file()
        engine = self.direct(path)
        self.put(engine, range(4))
        engine.close()
        pools.turn_bit(self.path(pools.DISK), self.content(2)[:4096], at=100)
        engine = self.direct(path)
        request = self.ask("reads")
        self.assertEqual(engine.lookup(range(4), request), [HIT_PENDING] * 4)
        engine.step()
        engine.settle()
        self.assertEqual(engine.lookup(range(4), request), [HIT, HIT, MISS, HIT])
        self.assertEqual(self.counters(engine)["vllm:kvpool_load_failures"], 1)
        engine.load([0, 1], request)
        self.assertEqual(engine.caches[0].block(1), self.content(1))
        self.put(engine, [2])  # the engine computes it again
        self.assertEqual(self.found(engine, range(4)), 4)

    def test_without_verification_the_wrong_byte_would_be_loaded(self):
        engine = self.direct(self.pool_file(pool=pools.UNVERIFIED))
        self.put(engine, range(4))
        pools.turn_bit(self.path(pools.DISK), self.content(2)[:4096], at=100)
        engine.manager.reset_cache()
        request = self.ask("reads")
        self.assertEqual(engine.hits(range(4), request)[0], 4)
        engine.load(range(4), request)
        self.assertNotEqual(engine.caches[0].block(2), self.content(2))


class OlderRelease(Bytes):
    GENERATION = "0.28.0"


class NewerRelease(Bytes):
    GENERATION = "0.33.0"

    def test_a_load_may_be_expedited(self):
        engine = self.direct(self.pool_file())
        self.put(engine, [0])
        request = self.ask("reads")
        engine.hits([0], request)
        rows = engine.manager.prepare_load([key(0)], request)
        self.assertTrue(engine.workers[0].submit_load(1, rows, engine.blocks([0]), expedited=True))
        self.assertEqual(engine.caches[0].block(0), self.content(0))


class Promises(direct_bed.DirectTest):
    """HIT is said of what is in a row, and stays there."""

    def stored(self, count, rows=16, **extra):
        path = self.pool_file()
        engine = self.direct(path, rows=count)
        self.put(engine, range(count))
        engine.close()
        return self.direct(path, rows=rows, extra=extra)

    def test_a_hit_is_in_a_row(self):
        engine = self.stored(2)
        request = self.ask("reads")
        self.assertEqual(engine.lookup([0, 1, 2], request), [HIT_PENDING, HIT_PENDING, MISS])
        with self.assertRaisesRegex(RuntimeError, "not promised"):
            engine.manager.prepare_load([key(0)], request)
        engine.settle()
        self.assertEqual(engine.lookup([0, 1], request), [HIT, HIT])
        engine.load([0, 1], request)
        self.assertEqual(engine.caches[0].block(1), self.content(1))

    def test_it_stays_for_who_it_was_promised_to(self):
        self.assertEqual(self.rows_that_others_get(), 2)

    def test_and_would_not_if_it_were_not_held(self):
        with mock.patch("kvpool._vllm.readers.Readers.hold"):
            self.assertEqual(self.rows_that_others_get(), 4)

    def rows_that_others_get(self):
        """Two of four rows were promised in this step; how many a store of four chunks gets then."""
        engine = self.stored(2, rows=4)
        self.assertEqual(engine.hits([0, 1], self.ask("reads"))[0], 2)
        return len(engine.begin_store(range(10, 14), self.ask("stores", range(10, 14))))

    def test_it_is_let_go_by_who_asks_no_more(self):
        engine = self.stored(2, rows=2)
        self.assertEqual(engine.hits([0, 1], self.ask("reads"))[0], 2)
        others = self.ask("stores", [10, 11])
        for _ in range(3):
            self.assertIsNone(engine.begin_store([10, 11], others))
            engine.step()
        self.assertEqual(engine.begin_store([10, 11], others), [10, 11])

    def test_a_row_is_not_given_away_while_workers_copy(self):
        engine = self.stored(2, rows=2)
        request = self.ask("reads")
        engine.hits([0, 1], request)
        engine.begin_load([0, 1], request)
        for _ in range(3):
            engine.step()
        self.assertIsNone(engine.begin_store([10], self.ask("stores", [10])))
        self.assertEqual(engine.lookup([0, 1], self.ask("other")), [HIT, HIT])
        engine.end_load([0, 1], request)
        engine.manager.on_request_finished(self.ask("other"))
        self.assertEqual(engine.begin_store([10], self.ask("stores", [10])), [10])

    def test_a_prefix_longer_than_the_staging_memory_ends_with_what_fits(self):
        engine = self.stored(8, rows=3)
        request = self.ask("reads")
        found, steps = engine.hits(range(8), request)
        self.assertEqual(found, 3)
        self.assertLess(steps, 20)
        engine.load(range(3), request)
        self.assertEqual(engine.caches[0].block(2), self.content(2))
        self.assertGreater(self.counters(engine)["vllm:kvpool_refused_loads"], 0)

    def test_who_finds_no_row_waits_for_one(self):
        engine = self.stored(6, rows=3)
        first, second = self.ask("first"), self.ask("second")
        self.assertEqual(engine.hits(range(3), first)[0], 3)
        engine.begin_load(range(3), first)
        self.assertEqual(engine.lookup(range(3, 6), second), [RETRY] * 3)
        engine.step()
        engine.end_load(range(3), first)
        self.assertEqual(engine.hits(range(3, 6), second)[0], 3)

    def test_but_not_for_ever(self):
        engine = self.stored(6, rows=3)
        first, second = self.ask("first"), self.ask("second")
        engine.hits(range(3), first)
        engine.begin_load(range(3), first)
        self.assertEqual(engine.lookup([3], second), [RETRY])
        engine.step()
        with mock.patch("time.monotonic", return_value=time.monotonic() + 11):
            self.assertEqual(engine.lookup([3], second), [MISS])
            engine.step()
            self.assertEqual(engine.lookup([3], second), [MISS], "it would wait anew")

    def test_two_that_wait_for_each_other_both_end(self):
        engine = self.stored(6, rows=4)
        first, second = self.ask("first"), self.ask("second")
        self.assertEqual(engine.lookup(range(3), first), [HIT_PENDING] * 3)
        self.assertEqual(engine.lookup(range(3, 6), second), [HIT_PENDING, RETRY, RETRY])
        ended = []
        for _ in range(1000):
            for numbers, request in ((range(3), first), (range(3, 6), second)):
                if request in ended or engine.lookup(numbers, request) != [HIT] * 3:
                    continue
                engine.load(numbers, request)
                ended.append(request)
            engine.step()
            if len(ended) == 2:
                break
        self.assertEqual(ended, [first, second])

    def test_a_store_of_more_than_there_is_room_for_keeps_the_beginning(self):
        engine = self.direct(self.pool_file(), rows=4)
        self.assertEqual(self.put(engine, range(6)), [0, 1, 2, 3])
        self.assertEqual(self.found(engine, range(6)), 4)
        self.assertEqual(self.counters(engine)["vllm:kvpool_refused_stores"], 2)

    def test_rows_go_in_the_order_of_last_use(self):
        engine = self.direct(self.pool_file(), rows=3)
        self.put(engine, range(3))
        engine.manager.touch([key(0)], self.ask("touches"))
        self.put(engine, [10])
        rows = engine.manager._rows
        self.assertEqual([bool(rows.find(key(n))) for n in (0, 1, 2, 10)], [True, False, True, True])
        self.assertEqual(self.found(engine, range(3)), 3)

    def test_what_is_there_is_not_stored_again(self):
        engine = self.stored(3)
        self.assertEqual(engine.begin_store(range(3), self.ask("stores")), [])
        self.assertEqual(engine.begin_store(range(5), self.ask("stores")), [3, 4])
        self.assertEqual(engine.lookup([3], self.ask("reads")), [HIT_PENDING])
        self.assertEqual(engine.begin_store([3], self.ask("stores twice")), [])


class Resets(direct_bed.DirectTest):
    def test_a_reset_forgets_the_rows_and_not_the_pool(self):
        engine = self.direct(self.pool_file())
        self.put(engine, range(3))
        engine.manager.reset_cache()
        request = self.ask("reads")
        self.assertEqual(engine.lookup(range(3), request), [HIT_PENDING] * 3)
        self.assertEqual(engine.hits(range(3), request)[0], 3)
        engine.load(range(3), request)
        self.assertEqual(engine.caches[0].block(2), self.content(2))

    def rows_after_a_reset(self, end):
        """Three of four rows are being copied at a reset; how many chunks find a row after `end`."""
        engine = self.direct(self.pool_file(), rows=4)
        self.fill_blocks(engine, range(4))
        engine.begin_store(range(3), self.ask("before"))
        engine.manager.reset_cache()
        end(engine)
        return len(engine.begin_store(range(10, 14), self.ask("after", range(10, 14))))

    def test_rows_that_workers_copy_are_nobodys(self):
        self.assertEqual(self.rows_after_a_reset(lambda engine: None), 1)

    def test_until_vllm_says_so(self):
        self.assertEqual(self.rows_after_a_reset(lambda engine: engine.manager.on_reset_flushed()), 4)

    def test_or_a_later_copy_ends(self):
        def a_later_copy(engine):
            engine.store([3], self.ask("later", [3]))

        self.assertEqual(self.rows_after_a_reset(a_later_copy), 4)

    def test_what_is_on_its_way_at_a_reset_ends(self):
        path = self.pool_file()
        engine = self.direct(path)
        self.put(engine, range(4))
        engine.close()
        engine = self.direct(path, rows=4)
        request = self.ask("reads")
        engine.lookup([0, 1], request)
        engine.step()
        engine.lookup([2, 3], request)  # not even begun
        engine.manager.reset_cache()
        engine.settle()
        self.assertEqual(engine.manager._rows.in_use, 0)
        self.assertEqual(engine.hits(range(4), request)[0], 4)


class Failures(direct_bed.DirectTest):
    def test_a_load_that_fails_is_a_miss_afterwards(self):
        engine = self.hung()
        self.assertEqual(self.rounds(engine), 1)

    def test_and_it_is_the_direct_path_that_sees_to_it(self):
        engine = self.hung()
        with mock.patch.object(engine.manager._failed, "add"):
            self.assertGreater(self.rounds(engine), 1)

    def test_a_pool_that_ends_nothing_is_not_waited_for(self):
        engine = self.hung(extra={"load_deadline_s": 3})
        request = self.ask("reads")
        self.assertEqual(engine.lookup([1], request), [HIT_PENDING])
        engine.manager.on_schedule_end(None)
        with mock.patch("time.monotonic", return_value=time.monotonic() + 2):
            self.assertEqual(engine.lookup([1], request), [HIT_PENDING])
        with mock.patch("time.monotonic", return_value=time.monotonic() + 4.5):
            self.assertEqual(engine.lookup([1], request), [MISS])

    def hung(self, extra=None):
        """A drive that never ends its first read."""
        path = self.pool_file(pool="verify = true", device='faults = "read.hang after=0 count=1"')
        engine = self.direct(path, extra=extra or {"load_deadline_s": 0.2})
        self.put(engine, [1])
        engine.manager.reset_cache()
        return engine

    def rounds(self, engine):
        """Fetches that are begun until the request goes on without the chunk, 5 at most."""
        for rounds in range(5):
            request = self.ask(f"r{rounds}")
            if engine.lookup([1], request) == [MISS]:
                return rounds
            engine.step()
            engine.settle()
        return 5

    def test_a_chunk_that_cannot_be_put_is_a_miss_later(self):
        path = self.pool_file(device='faults = "write.error"')
        engine = self.direct(path)
        self.assertEqual(self.put(engine, range(3)), [0, 1, 2])
        self.assertEqual(self.counters(engine)["vllm:kvpool_store_failures"], 3)
        engine.manager.reset_cache()
        self.assertEqual(self.found(engine, range(3)), 0)

    def test_slow_devices_keep_nobody(self):
        engine = self.direct(self.pool_file(pool="verify = true", device='slow = { bandwidth = "30KB/s" }'))
        self.fill_blocks(engine, range(8))
        engine.end_store(engine.begin_store(range(8), self.ask("stores")), self.ask("stores"))
        self.assertTrue(engine.manager.has_pending_work())
        for n in range(1000):
            engine.manager.lookup(key(n), self.ask("reads"))
        self.assertTrue(engine.manager.has_pending_work(), "all is over: the calls waited")

    def test_rows_that_bytes_may_still_come_to_rest(self):
        engine = self.hung()
        rows = engine.manager._rows
        self.assertEqual(engine.lookup([1], self.ask("reads")), [HIT_PENDING])
        engine.step()
        engine.settle()
        engine.manager.on_request_finished(self.ask("reads"))
        self.assertEqual(rows.in_use, 1)
        with mock.patch("time.monotonic", return_value=time.monotonic() + 61):
            rows.take(b"any", fetched=True)
            self.assertEqual(rows.in_use, 1, "the row that was taken, and no other")

    @unittest.skipUnless(pools.DAEMON, "a pool of this process does not go by itself")
    def test_a_daemon_that_is_killed_costs_its_chunks_and_nothing_else(self):
        path = self.pool_file()
        engine = self.direct(path)
        self.put(engine, range(4))
        engine.manager.reset_cache()
        asks = self.ask("asks")
        engine.lookup(range(4), asks)
        daemon = pools._daemons.running[path]
        stopped = threading.Thread(target=self.kill, args=[daemon])
        stopped.start()
        engine.step()
        self.assertLessEqual(engine.hits(range(4), asks)[0], 4)
        stopped.join()
        engine.settle()
        self.assertEqual(self.found(engine, range(100, 104)), 0)
        self.fill_blocks(engine, range(20, 24))
        engine.store(range(20, 24), self.ask("stores", range(20, 24)))
        self.assertEqual(self.found(engine, range(20, 24)), 4, "not from the rows either")
        engine.manager.reset_cache()
        self.assertEqual(self.found(engine, range(20, 24)), 0)

    def kill(self, daemon):
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon.pid, signal.SIGKILL)
        daemon.wait()


if __name__ == "__main__":
    unittest.main()
