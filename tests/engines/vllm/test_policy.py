"""What the tier decides: thrash, namespaces, which end of a chain goes first, events, metrics, and what it says."""
import os
import signal
import subprocess
import sys
import unittest
from unittest import mock

import bed
import kvpool
import standin
from bed import content, key

HERE = os.path.dirname(os.path.abspath(__file__))
MISS, HIT = standin.LookupResult.MISS, standin.LookupResult.HIT


class Primary:
    """vLLM's primary tier in so far as it matters here: `rows` rows, the one used longest ago goes."""

    def __init__(self, test, tier, rows):
        self.test, self.tier, self.rows = test, tier, rows
        self.present = {}  # key -> row, used longest ago first

    def step(self, keys, request):
        """One scheduler step: how many leading chunks are in the primary tier, None after promotions."""
        promoted = {}
        for at, k in enumerate(keys):
            if k in self.present:
                self.present[k] = self.present.pop(k)
                continue
            room = self.tier.lookup(k, request) is HIT and self.room(promoted)
            if not room:
                break
            promoted[k] = room - 1
        else:
            at = len(keys)
        if not promoted:
            return at
        self.test.finish(self.tier, self.test.start(self.tier, promoted, promoted.values(), request, True))
        self.present |= promoted
        return None

    def room(self, promoted):
        """A row, plus one; 0: every row is being filled."""
        used = set(self.present.values()) | set(promoted.values())
        if len(used) < self.rows:
            return min(set(range(self.rows)) - used) + 1
        return self.present.pop(next(iter(self.present))) + 1 if self.present else 0


class Thrash(bed.TierTest):
    """Four rows, and a prefix of seven chunks: promotions would push each other out for ever."""

    def rounds(self, request=None):
        tier = self.open(self.pool_file(), rows=4)
        for n in range(7):
            self.finish(tier, self.start(tier, [key(n)], [0], self.request("store"), False))
        primary, request = Primary(self, tier, 4), request or self.request("reads")
        for rounds in range(30):
            hit = primary.step([key(n) for n in range(7)], request)
            if hit is not None:
                return rounds, hit, tier
        return 30, None, tier

    def test_ends_with_what_fits(self):
        rounds, hit, tier = self.rounds()
        self.assertLessEqual(rounds, 2)
        self.assertEqual(hit, 4)
        self.assertGreater(self.counters(tier)["vllm:kvpool_refused_promotions"], 0)

    def test_would_go_on_without_the_tier_seeing_it(self):
        request_class = sys.modules["kvpool._vllm.requests"].Request
        with mock.patch.object(request_class, "may_promote", return_value=True):
            self.assertEqual(self.rounds()[0], 30)

    def test_a_key_is_promoted_twice_at_most(self):
        tier = self.open(self.pool_file())
        self.store(tier, [1])
        request = self.request("again")
        for _ in range(2):
            self.assertIs(tier.lookup(key(1), request), HIT)
            self.load(tier, [1], request=request)
        self.assertIs(tier.lookup(key(1), request), MISS)
        self.assertIs(tier.lookup(key(1), self.request("another")), HIT)
        tier.on_request_finished(request)
        self.assertIs(tier.lookup(key(1), request), HIT)

    def counters(self, tier):
        return {name: value for (name, _), value in tier.get_stats().counters.items()}


class Namespaces(bed.TierTest):
    def test_anything_that_differs_misses(self):
        path = self.pool_file()
        tier = self.open(path)
        self.store(tier, range(3))
        tier.shutdown()
        different = [
            {"settings": {"model": "other"}}, {"settings": {"dtype": "bfloat16"}}, {"settings": {"world_size": 2}},
            {"settings": {"layout": "HND"}}, {"settings": {"blocks_per_chunk": 2}}, {"settings": {"layers": 3}},
            {"settings": {"tokens_per_block": 32}}, {"row_bytes": 4096}, {"namespace": "tenant"}]
        for change in different:
            with self.subTest(change=change):
                tier = self.open(path, **change)
                self.assertEqual(self.hits(tier, range(3)), [])
                tier.shutdown()
        tier = self.open(path)
        self.assertEqual(self.hits(tier, range(3)), [0, 1, 2])

    def test_another_release_or_platform_misses(self):
        spaces = sys.modules["kvpool._vllm.spaces"]
        same = {"platform": "cuda", "namespace": ""}
        made = [spaces.space_spec(standin.config(), 0, 4096, version=version, **same)
                for version in ("0.32.0", "0.32.1", "0.31.0", "0.32.0+cpu")]
        self.assertEqual(made[0], made[1])
        self.assertEqual(made[0], made[3])
        self.assertNotEqual(made[0], made[2])
        other = spaces.space_spec(standin.config(), 0, 4096, version="0.32.0", platform="cpu", namespace="")
        self.assertNotEqual(made[0], other)


class Chains(bed.TierTest):
    """A pool of 128 slots, filled over its brim: what goes is the end that is worth least."""
    GENERATION = "0.33.0"
    CHUNKS = 40

    def survivors(self, group, told=True):
        tier = self.open(self.pool_file(capacity="4MiB"), rows=64, settings={"groups": 2, "sliding": (1,)})
        if not told:
            tier._groups[1].told = False
        chunks = [key(n, group) for n in range(self.CHUNKS)]
        request = self.request("first", chunks)
        self.fill(tier, range(self.CHUNKS), range(self.CHUNKS), group)
        self.finish(tier, self.start(tier, chunks, range(self.CHUNKS), request, False))
        self.assertEqual(self.hits(tier, range(self.CHUNKS), group), list(range(self.CHUNKS)))
        others = range(1000, 1110)
        for n in others:
            other = key(n, group)
            self.finish(tier, self.start(tier, [other], [0], self.request(f"other {n}", [other]), False))
        kept = self.hits(tier, range(self.CHUNKS), group)
        self.assertGreater(len(kept), 0)
        self.assertLess(len(kept), self.CHUNKS, "nothing was evicted: this test shows nothing")
        return kept

    def test_full_attention_keeps_its_beginning(self):
        kept = self.survivors(group=0)
        self.assertEqual(kept, list(range(len(kept))))

    def test_a_sliding_window_keeps_its_end(self):
        kept = self.survivors(group=1)
        self.assertEqual(kept, list(range(self.CHUNKS - len(kept), self.CHUNKS)))

    def test_and_would_not_if_it_were_taken_for_full_attention(self):
        self.assertIn(0, self.survivors(group=1, told=False))


class Learning(unittest.TestCase):
    """Before 0.33 vLLM does not say which groups slide: the direction of its lookups does."""

    def setUp(self):
        standin.install()
        self.requests = sys.modules["kvpool._vllm.requests"]
        self.groups = {0: self.requests.Group(16), 1: self.requests.Group(16)}

    def look(self, group, order, request=None):
        request = request or self.requests.Request()
        for index in order:
            request.looked_up(self.groups, group, index, key(index, group))
        return request

    def test_downwards_is_a_window(self):
        self.look(1, range(20, 10, -1))
        self.assertIs(self.groups[1].sliding, True)
        self.assertIsNone(self.groups[0].sliding)

    def test_upwards_is_full_attention(self):
        self.look(0, range(10))
        self.assertIs(self.groups[0].sliding, False)

    def test_scans_that_start_anew_say_nothing(self):
        request = None
        for _ in range(5):
            request = self.look(1, range(20, 16, -1), request)
        self.assertIs(self.groups[1].sliding, True)
        self.look(0, [3, 9, 2, 30])
        self.assertIsNone(self.groups[0].sliding)

    def runs(self, group, chunks):
        return self.requests.Request().runs(self.groups, group, [(i, key(i, group), i) for i in chunks])

    def test_runs(self):
        one, two = self.runs(0, [4, 2, 3]), None
        self.assertEqual((len(one), one[0].ordinal, one[0].keys), (1, None, [key(4), key(2), key(3)]))
        self.groups[0].told, self.groups[1].told = False, True
        one, two = self.runs(0, [9, 4, 2, 3])
        self.assertEqual((one.ordinal, one.keys, one.chunk_ids), (2, [key(2), key(3), key(4)], [2, 3, 4]))
        self.assertEqual((two.ordinal, two.keys, two.parent), (9, [key(9)], b""))
        (one,) = self.runs(1, [4, 5, 6])
        self.assertEqual(one.keys, [key(6, 1), key(5, 1), key(4, 1)])
        later, = self.runs(1, [3])
        self.assertEqual(later.ordinal, one.ordinal + 3)

    def test_a_run_knows_its_parent_from_lookups(self):
        self.groups[0].told = False
        request = self.look(0, range(5))
        (run,) = request.runs(self.groups, 0, [(5, key(5), 0)])
        self.assertEqual(run.parent, key(4))

    def test_no_run_is_too_long_for_a_request(self):
        self.groups[0].told = False
        runs = self.runs(0, range(70_000))
        self.assertEqual([len(run.keys) for run in runs], [32_768, 32_768, 4_464])
        self.assertEqual(runs[1].parent, key(32_767))
        self.assertEqual(runs[2].ordinal, 65_536)


class Reports(bed.TierTest):
    def test_events(self):
        path = self.pool_file()
        tier = self.open(path, enable_kv_events=True, locality="LOCAL")
        self.store(tier, range(3))
        (stored,) = tier.take_events()
        self.assertEqual((stored.keys, stored.removed), ([key(0), key(1), key(2)], False))
        self.assertIs(stored.locality, standin.Locality.LOCAL)
        self.assertEqual(list(tier.take_events()), [])
        tier.shutdown()
        self.damage(1)
        tier = self.open(path, enable_kv_events=True)
        self.load(tier, range(3))
        (removed,) = tier.take_events()
        self.assertEqual((removed.keys, removed.removed), ([key(1)], True))

    def test_no_events_unless_asked(self):
        tier = self.open(self.pool_file())
        self.store(tier, range(3))
        self.assertEqual(list(tier.take_events()), [])

    def test_metrics_are_all_defined(self):
        path = self.pool_file()
        tier = self.open(path)
        self.store(tier, range(4))
        tier.shutdown()
        self.damage(1)
        tier = self.open(path)
        self.load(tier, range(4))
        stats = tier.get_stats()
        defined = self.module.KVPoolTier.build_metric_definitions({})
        for (name, labels), _ in [*stats.counters.items(), *stats.gauges.items()]:
            self.assertEqual(len(defined[name].labelnames), len(labels), name)
            gauge = (name, labels) in stats.gauges
            kind = standin.OffloadingGaugeMetadata if gauge else standin.OffloadingCounterMetadata
            self.assertIs(type(defined[name]), kind)
        self.assertEqual(stats.counters["vllm:kvpool_load_failures", ()], 1)
        self.assertEqual(stats.counters["vllm:kvpool_device_checksum_failures", ("disk",)], 1)
        self.assertGreater(stats.counters["vllm:kvpool_device_read_bytes", ("disk",)], 0)
        self.assertEqual(stats.gauges["vllm:kvpool_blocks", ()], 3)
        self.assertEqual(stats.gauges["vllm:kvpool_device_serving", ("disk",)], 1)
        self.assertIsNone(tier.get_stats())

    def test_what_it_says_of_bad_settings(self):
        with self.assertRaisesRegex(ValueError, 'needs "pool"'):
            self.open(None)
        with self.assertRaises(kvpool.Error) as caught:
            self.open(os.path.join(self.folder, "absent.toml"))
        self.assertIn("absent.toml", str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))

    def test_versions(self):
        versions = sys.modules["kvpool._vllm.versions"]
        for good in ("0.28.0", "0.28.1", "0.31.0", "0.32.0+cpu", "0.32.1rc1"):
            self.assertIsNone(versions.RELEASES.complaint(good), good)
        for bad in ("0.27.1", "0.9", "1.0.0", "2.30", "dev", None):
            self.assertRegex(versions.RELEASES.complaint(bad), "0.28 to ")
        sys.modules["vllm"].__version__ = "0.27.0"
        with self.assertRaisesRegex(ImportError, "with vLLM 0.28 to 0.33, and this is 0.27.0: install vllm==0.33"):
            versions.require_vllm()


CHILD = """
import os, sys, threading
sys.path.insert(0, sys.argv[1])
import standin
module = standin.install()
before = len(os.listdir("/proc/self/fd")), threading.active_count(), len(os.listdir("/proc/self/task"))
import importlib
module = importlib.import_module("kvpool.vllm")
module.KVPoolTier.build_metric_definitions({})
after = len(os.listdir("/proc/self/fd")), threading.active_count(), len(os.listdir("/proc/self/task"))
import kvpool
if len(sys.argv) > 2:
    pool = kvpool.Pool.open(sys.argv[2])
    after = len(os.listdir("/proc/self/fd")), threading.active_count(), len(os.listdir("/proc/self/task"))
print(before == after)
"""

KILLED = """
import sys, time
sys.path.insert(0, sys.argv[1])
import bed
test = bed.TierTest()
test.setUp()
tier = test.open(sys.argv[2])
test.store(tier, range(8))
tier._spaces[0].flush()
print("stored", flush=True)
for n in range(8, 100000):
    test.start(tier, [bed.key(n)], [n % 16], test.request(), False)
    time.sleep(0.001)
"""


class Processes(bed.TierTest):
    def child(self, text, *arguments):
        return subprocess.Popen([sys.executable, "-B", "-c", text, HERE, *arguments], stdout=subprocess.PIPE, text=True)

    def test_the_import_starts_and_opens_nothing(self):
        self.assertEqual(self.child(CHILD).communicate(timeout=60)[0].strip(), "True")
        self.assertEqual(self.child(CHILD, self.pool_file()).communicate(timeout=60)[0].strip(), "False")

    def test_the_line_of_the_configuration_names_the_class(self):
        import importlib
        found = getattr(importlib.import_module("kvpool.vllm"), "KVPoolTier")
        self.assertTrue(issubclass(found, standin.SecondaryTierManager))

    def test_a_killed_engine_leaves_a_pool_that_is_right(self):
        path = self.pool_file()
        child = self.child(KILLED, path)
        self.assertEqual(child.stdout.readline().strip(), "stored")
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        tier = self.open(path)
        found = self.hits(tier, range(8))
        self.assertEqual(found, list(range(8)))
        self.assertTrue(self.load(tier, found).success)
        self.assertEqual([self.row(tier, n) for n in found], [content(n) for n in found])


if __name__ == "__main__":
    unittest.main()
