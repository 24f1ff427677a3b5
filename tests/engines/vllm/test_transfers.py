"""Stores and loads of the tier on a real pool: bytes, partial success, misses after failures, drain, threads."""
import threading
import time
import unittest
from unittest import mock

import bed
import standin
from bed import content, key

MISS, HIT = standin.LookupResult.MISS, standin.LookupResult.HIT


class Transfers(bed.TierTest):
    def test_what_was_stored_comes_back(self):
        tier = self.open(self.pool_file())
        self.assertEqual(self.hits(tier, range(8)), [])
        stored = self.store(tier, range(8))
        self.assertTrue(stored.success)
        self.assertEqual(self.hits(tier, range(10)), list(range(8)))
        loaded = self.load(tier, range(8), rows=range(8, 16))
        self.assertTrue(loaded.success)
        self.assertEqual([self.row(tier, 8 + n) for n in range(8)], [content(n) for n in range(8)])
        self.assertNotEqual(self.row(tier, 8), content(1))
        self.assertGreater(loaded.transfer_time, 0)
        self.assertEqual(getattr(loaded, "transfer_bytes", 8 * bed.ROW_BYTES), 8 * bed.ROW_BYTES)

    def test_a_new_process_finds_it(self):
        path = self.pool_file()
        tier = self.open(path)
        self.store(tier, range(5))
        tier.shutdown()
        again = self.open(path)
        self.assertEqual(self.hits(again, range(6)), list(range(5)))
        self.assertTrue(self.load(again, range(5)).success)
        self.assertEqual(self.row(again, 4), content(4))

    def test_a_chunk_that_is_stored_twice_is_stored(self):
        tier = self.open(self.pool_file())
        self.assertTrue(self.store(tier, range(3)).success)
        self.assertTrue(self.store(tier, range(4)).success)
        self.assertEqual(self.hits(tier, range(5)), [0, 1, 2, 3])

    def test_groups_do_not_share_keys(self):
        tier = self.open(self.pool_file(), settings={"groups": 2})
        self.store(tier, [0, 1], group=0)
        self.assertEqual(self.hits(tier, [0, 1], group=1), [])
        self.store(tier, [1], group=1)
        request = self.request("both", [key(1, 0), key(1, 1)])
        result = self.finish(tier, self.start(tier, [key(1, 0), key(1, 1)], [3, 4], request, True))
        self.assertTrue(result.success)
        self.assertEqual(self.row(tier, 3), content(1, 0))
        self.assertEqual(self.row(tier, 4), content(1, 1))

    def test_one_wrong_byte_costs_its_chunk_only(self):
        path = self.pool_file()
        tier = self.open(path)
        self.store(tier, range(4))
        tier.shutdown()
        self.damage(2)
        tier = self.open(path)
        self.assertEqual(self.hits(tier, range(4)), [0, 1, 2, 3])
        result = self.load(tier, range(4))
        self.assertFalse(result.success)
        self.assertEqual(sorted(result.successful_keys), sorted(key(n) for n in (0, 1, 3)))
        self.assertEqual([self.row(tier, n) for n in (0, 1, 3)], [content(n) for n in (0, 1, 3)])
        self.assertEqual(self.hits(tier, range(4)), [0, 1, 3])
        self.store(tier, [2])  # the engine computes it again
        self.assertEqual(self.hits(tier, range(4)), [0, 1, 2, 3])
        self.assertTrue(self.load(tier, range(4)).success)

    def test_without_verification_the_wrong_byte_would_be_delivered(self):
        path = self.pool_file(pool="verify = false")
        tier = self.open(path)
        self.store(tier, range(4))
        self.damage(2)
        self.assertTrue(self.load(tier, range(4)).success)
        self.assertNotEqual(self.row(tier, 2), content(2))

    def test_a_chunk_that_is_absent_fails_alone(self):
        tier = self.open(self.pool_file())
        self.store(tier, range(2))
        result = self.load(tier, range(3))
        self.assertFalse(result.success)
        self.assertEqual(set(result.successful_keys), {key(0), key(1)})
        self.assertIsNone(self.load(tier, [7, 8]).successful_keys)

    def test_more_jobs_than_the_channel_takes(self):
        tier = self.open(self.pool_file(), rows=1)
        request = self.request()
        jobs = {self.start(tier, [key(n)], [0], request, False).job_id for n in range(1500)}
        self.assertEqual(len(jobs), 1500)
        self.assertTrue(tier._transfers._waiting, "the channel took them all: this test shows nothing")
        tier.drain_jobs()
        done = [result.job_id for result in tier.get_finished_jobs()]
        self.assertEqual(sorted(done), sorted(jobs))


class SlowDevice(bed.TierTest):
    """A device that takes its time: what must not wait, does not; what must, does."""

    def setUp(self):
        super().setUp()
        self.tier = self.open(self.pool_file(pool="verify = true", device='slow = { bandwidth = "30KB/s" }'))
        self.jobs_left = [self.start(self.tier, [key(n)], [n], self.request(), False) for n in range(8)]

    def test_lookups_do_not_wait_for_transfers(self):
        for n in range(1000):
            self.tier.lookup(key(n), self.request())
        self.assertLess(len(list(self.tier.get_finished_jobs())), 8, "all transfers are over: the lookups waited")

    def test_drain_waits_until_nothing_touches_the_view(self):
        self.assertFalse(self.tier._transfers.idle())
        self.tier.drain_jobs()
        self.assertTrue(self.tier._transfers.idle())
        done = sorted(result.job_id for result in self.tier.get_finished_jobs())
        self.assertEqual(done, sorted(job.job_id for job in self.jobs_left))

    def test_a_drain_does_not_keep_other_threads_out(self):
        drain = threading.Thread(target=self.tier.drain_jobs)
        drain.start()
        self.tier.lookup(key(0), self.request())
        self.assertTrue(drain.is_alive(), "the drain is over: the lookup waited for it")
        drain.join()


class HungDevice(bed.TierTest):
    """Reads that end by their deadline: the pool still has the chunk, and would fail it again and again."""

    def setUp(self):
        super().setUp()
        path = self.pool_file(pool="verify = true\ndeadline_ms = 100", device='faults = "read.hang after=0 count=1"')
        self.tier = self.open(path)
        self.assertTrue(self.store(self.tier, [1]).success)

    def rounds(self):
        """Promotions that one request asks for until it goes on without the chunk, 5 at most."""
        for rounds in range(5):
            if self.tier.lookup(key(1), self.request(f"r{rounds}")) is MISS:
                return rounds
            if self.load(self.tier, [1], request=self.request(f"r{rounds}")).success:
                return 5
        return 5

    def test_a_failed_load_is_a_miss_afterwards(self):
        self.assertEqual(self.rounds(), 1)

    def test_and_it_is_the_tier_that_sees_to_it(self):
        with mock.patch.object(self.tier._failed, "add"):
            self.assertGreater(self.rounds(), 1)

    def test_the_miss_is_forgotten_after_a_while(self):
        self.assertEqual(self.rounds(), 1)
        later = time.monotonic() + 61
        with mock.patch("time.monotonic", return_value=later):
            self.assertIs(self.tier.lookup(key(1), self.request("later")), HIT)


class Threads(bed.TierTest):
    def test_calls_from_several_threads(self):
        tier = self.open(self.pool_file(), rows=64)
        stop, wrong, results = threading.Event(), [], []

        def look():
            request = self.request("looking")
            while not stop.is_set():
                try:
                    results.extend(tier.get_finished_jobs())
                    tier.lookup(key(3), request)
                    tier.get_stats()
                    list(tier.take_events())
                except Exception as error:
                    wrong.append(error)
                    return

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        jobs = [self.start(tier, [key(n)], [n % 64], self.request(), bool(n % 2)) for n in range(400)]
        tier.drain_jobs()
        stop.set()
        for thread in threads:
            thread.join()
        results.extend(tier.get_finished_jobs())
        self.assertEqual(wrong, [])
        self.assertEqual(sorted(r.job_id for r in results), [job.job_id for job in jobs])


class Shutdown(bed.TierTest):
    def test_the_view_is_let_go(self):
        tier = self.open(self.pool_file())
        self.store(tier, range(3))
        tier._primary_kv_view.release()
        with self.assertRaises(BufferError):
            tier.region.close()
        tier.shutdown()
        tier.region.close()

    def test_afterwards_everything_is_a_miss(self):
        tier = self.open(self.pool_file())
        self.store(tier, range(3))
        tier.shutdown()
        self.assertIs(tier.lookup(key(0), self.request()), MISS)
        self.assertEqual(list(tier.get_finished_jobs()), [])
        self.assertIsNone(tier.get_stats())
        tier.drain_jobs()
        tier.shutdown()


class OlderRelease(Transfers):
    GENERATION = "0.28.0"


class NewerRelease(Transfers):
    GENERATION = "0.33.0"

    def test_a_load_may_be_expedited(self):
        tier = self.open(self.pool_file(), something_new=1)
        self.store(tier, [0])
        job = self.job([key(0)], [5], self.request(), True)
        tier.submit_load(job, expedited=True)
        self.assertTrue(self.finish(tier, job).success)
        self.assertEqual(self.row(tier, 5), content(0))


if __name__ == "__main__":
    unittest.main()
