#!/usr/bin/env python3
"""What LMCache expects of a native connector, checked on a pool of files, without LMCache.

Each behaviour is run twice: with kvpool's connector, where it must hold, and with one of sabotage.py that breaks it,
where the check must fail.
"""
import shutil
import tempfile
import threading
import time
import unittest

import driver
import kvpool
import pools
import sabotage
from kvpool import lmcache

QUICK_S = 2  # how long a control waits for what does not come


class Bed:
    """A folder of pools, and one connector to look at."""

    def __init__(self, kind):
        self.kind = kind
        self.patience_s = driver.PATIENCE_S if kind is lmcache.PoolConnector else QUICK_S
        self.folder = tempfile.mkdtemp(prefix="kvpool-lmcache-")
        self.opened = []

    def open(self, name="pool", namespace=None, **settings):
        path = driver.pool_file(self.folder, name, **settings)
        self.opened.append(self.kind(path, create=True, namespace=namespace))
        return self.opened[-1]

    def close(self):
        for connector in self.opened:
            lmcache.PoolConnector.close(connector)
        shutil.rmtree(self.folder, ignore_errors=True)


class Watched:
    """A channel that notices two threads in it at once, or breaks when told."""

    def __init__(self, channel):
        self.channel = channel
        self.inside = 0
        self.met = False
        self.broken = None  # raised by every call from now on

    def __getattr__(self, name):
        call = getattr(self.channel, name)

        def watched(*arguments, **options):
            if self.broken and name != "close":
                raise self.broken
            self.inside += 1
            self.met |= self.inside > 1
            time.sleep(0.001)
            try:
                return call(*arguments, **options)
            finally:
                self.inside -= 1
        return watched


def expect(condition, sentence):
    if not condition:
        raise AssertionError(sentence)


def brings_back_any_length_and_alignment(bed):
    connector = bed.open()
    lengths = [1, 511, 4095, 4096, 4097, 262144, 300001, 1 << 20]
    for offset in (0, 1, 512):
        keys = [f"model@{offset}@{length}" for length in lengths]
        blocks = [pools.content(length, length + offset) for length in lengths]
        expect(driver.store(connector, keys, blocks, offset)[0], "the set failed")
        ok, results, got = driver.load(connector, keys, lengths, offset)
        expect(ok and results == [True] * len(keys), f"the get gave {results}")
        expect(got == blocks, "other bytes came back")


def reports_a_get_key_by_key(bed):
    connector = bed.open()
    driver.store(connector, ["a", "c"], [b"x" * 5000, b"y" * 7000])
    ok, results, got = driver.load(connector, ["a", "b", "c"], [5000, 10, 7000])
    expect(not ok and results == [True, False, True], f"the get gave {ok}, {results}")
    expect((got[0], got[2]) == (b"x" * 5000, b"y" * 7000), "other bytes came back")


def says_what_exists_and_what_was_deleted(bed):
    connector = bed.open()
    driver.store(connector, ["a"], [b"x" * 5000])
    expect(driver.found(connector, ["a", "b"]) == [True, False], "exists is wrong")
    ok, _, results = driver.one(connector, connector.submit_batch_delete(["a", "b"]))
    expect(ok and results == [True, False], f"the delete gave {results}")
    expect(driver.found(connector, ["a"]) == [False], "the key is still there")


def completes_each_batch_once(bed):
    connector = bed.open()
    view = driver.filled(b"x" * 5000)
    numbers = [connector.submit_batch_set(["a"], [view]), connector.submit_batch_get(["a"], [driver.buffer(5000)]),
               connector.submit_batch_exists(["a"]), connector.submit_batch_delete(["b"]),
               connector.submit_batch_exists([]), connector.submit_batch_get([], []),
               connector.submit_batch_set([], []), connector.submit_batch_delete([]),
               connector.submit_batch_get(["a"], [])]
    done = driver.completions(connector, len(numbers), bed.patience_s)
    time.sleep(0.2)  # room for one too many
    done += connector.drain_completions()
    expect(sorted(entry[0] for entry in done) == sorted(numbers), f"{numbers} completed as {done}")


def wakes_by_its_eventfd_and_clears_it(bed):
    connector = bed.open()
    number = connector.submit_batch_exists(["a"])
    done = driver.completions(connector, 1, bed.patience_s)
    expect([entry[0] for entry in done] == [number], "nothing woke the waiting thread")
    expect(driver.completions(connector, 1, 0.3) == [], "a completion came twice")
    poller = driver.select.poll()
    poller.register(connector.event_fd(), driver.select.POLLIN)
    expect(not poller.poll(0), "the eventfd is readable though all is drained")


def misses_a_block_of_another_length(bed):
    connector = bed.open()
    for length in (4000, 6000):
        driver.store(connector, ["a"], [b"x" * 5000])
        ok, results, _ = driver.load(connector, ["a"], [length])
        expect(not ok and results == [False], f"5000 bytes were taken for {length}")


def replaces_a_block_of_another_length(bed):
    connector = bed.open()
    driver.store(connector, ["a"], [b"x" * 5000])
    driver.load(connector, ["a"], [6000])
    until = time.monotonic() + bed.patience_s
    while driver.found(connector, ["a"]) != [False]:
        expect(time.monotonic() < until, "the block that cannot load is still found")
        connector.drain_completions()
    driver.store(connector, ["a"], [b"y" * 6000])
    expect(driver.load(connector, ["a"], [6000])[2] == [b"y" * 6000], "the new block did not come back")


def fails_a_batch_that_the_pool_refuses(bed):
    connector = bed.open()
    try:
        ok, error, _ = driver.one(connector, connector.submit_batch_set(["a"], ["no buffer"]))
    except (TypeError, ValueError, kvpool.Error) as raised:
        raise AssertionError("the submit raised") from raised
    expect(not ok and error, "a set of no buffer succeeded")
    expect(driver.store(connector, ["a"], [b"x" * 5000])[0], "the next batch failed, too")


def fails_what_is_under_way_when_the_pool_breaks(bed):
    connector = bed.open()
    connector._channel = watched = Watched(connector._channel)
    first = connector.submit_batch_get(["a"], [driver.buffer(5000)])
    watched.broken = kvpool.Cancelled("the pool was closed")
    second = connector.submit_batch_get(["b"], [driver.buffer(5000)])
    done = driver.completions(connector, 2, bed.patience_s)
    expect(sorted(entry[0] for entry in done) == [first, second], f"completed as {done}")
    expect(all(not entry[1] and "closed" in entry[2] for entry in done), f"completed as {done}")


def takes_more_batches_than_a_channel(bed):
    connector = bed.open()
    driver.store(connector, ["a"], [b"x" * 5000])
    view = driver.buffer(5000)
    try:
        numbers = [connector.submit_batch_get(["a"], [view]) for _ in range(1500)]
    except kvpool.Busy as raised:
        raise AssertionError("the submit raised") from raised
    done = driver.completions(connector, len(numbers), bed.patience_s)
    expect([entry[0] for entry in sorted(done)] == numbers and all(entry[1] for entry in done), "batches were lost")


def tells_long_keys_apart(bed):
    connector = bed.open()
    keys = ["m" * 600 + end for end in "ab"]
    driver.store(connector, keys, [b"x" * 5000, b"y" * 5000])
    try:
        got = driver.load(connector, keys, [5000, 5000])[2]
    except AssertionError:
        got = []
    expect(got == [b"x" * 5000, b"y" * 5000], "long keys were mixed up")


def keeps_namespaces_apart(bed):
    connector = bed.open(namespace={"dtype": "bf16"})
    other = bed.open(namespace={"dtype": "fp8_e4m3"})
    driver.store(connector, ["a"], [b"x" * 5000])
    expect(driver.found(connector, ["a"]) == [True], "its own block is not found")
    expect(driver.found(other, ["a"]) == [False], "a block of another dtype is found")
    expect(driver.load(other, ["a"], [5000])[1] == [False], "a block of another dtype is loaded")


def lets_one_thread_at_a_time_into_the_channel(bed):
    connector = bed.open()
    connector._channel = watched = Watched(connector._channel)

    def submit(part):
        for number in range(40):
            connector.submit_batch_set([f"{part}-{number}"], [driver.filled(b"x" * 5000)])

    mine = [threading.Thread(target=submit, args=(part,)) for part in range(4)]
    for thread in mine:
        thread.start()
    done = driver.completions(connector, 160, bed.patience_s)
    for thread in mine:
        thread.join()
    expect(not watched.met, "two threads were in the channel")
    expect(sorted(entry[0] for entry in done) == list(range(1, 161)), "batches were lost")


def makes_no_completion_when_closed(bed):
    connector = bed.open()
    connector.close()
    connector.close()
    expect(connector.drain_completions() == [], "closing made a completion")
    try:
        connector.submit_batch_exists(["a"])
    except RuntimeError:
        return
    raise AssertionError("a closed connector took a batch")


def waits_for_its_buffers_when_closed(bed):
    connector = bed.open(device='slow = { bandwidth = "16MB/s" }')
    block = pools.content(4 << 20, 1)
    driver.store(connector, ["a"], [block])
    view = driver.buffer(len(block)).cast("B")
    connector.submit_batch_get(["a"], [view])
    connector.close()
    expect(bytes(view) == block, "close returned while the pool still wrote to a buffer")


BEHAVIOURS = {
    brings_back_any_length_and_alignment: sabotage.ForgetsResults,
    reports_a_get_key_by_key: sabotage.FindsEverything,
    says_what_exists_and_what_was_deleted: sabotage.FindsEverything,
    completes_each_batch_once: sabotage.CompletesTwice,
    wakes_by_its_eventfd_and_clears_it: sabotage.NeverWakes,
    misses_a_block_of_another_length: sabotage.TakesOtherLengths,
    replaces_a_block_of_another_length: sabotage.KeepsOtherLengths,
    fails_a_batch_that_the_pool_refuses: sabotage.RaisesFromSubmit,
    fails_what_is_under_way_when_the_pool_breaks: sabotage.LosesWhatBroke,
    takes_more_batches_than_a_channel: sabotage.RaisesFromSubmit,
    tells_long_keys_apart: sabotage.TruncatesKeys,
    keeps_namespaces_apart: sabotage.OneNamespace,
    lets_one_thread_at_a_time_into_the_channel: sabotage.Unguarded,
    makes_no_completion_when_closed: sabotage.TalksAfterClose,
    waits_for_its_buffers_when_closed: sabotage.LeavesWhenClosed,
}


class Contract(unittest.TestCase):
    def bed(self, kind):
        bed = Bed(kind)
        self.addCleanup(bed.close)
        return bed


def holds(behaviour):
    return lambda self: behaviour(self.bed(lmcache.PoolConnector))


def can_fail(behaviour, broken):
    def check(self):
        with self.assertRaises(AssertionError):
            behaviour(self.bed(broken))
    return check


for one_behaviour, broken_kind in BEHAVIOURS.items():
    setattr(Contract, f"test_{one_behaviour.__name__}", holds(one_behaviour))
    setattr(Contract, f"test_control_{one_behaviour.__name__}", can_fail(one_behaviour, broken_kind))


def stays_readable(self):
    with self.assertRaises(AssertionError):
        wakes_by_its_eventfd_and_clears_it(self.bed(sabotage.StaysReadable))


Contract.test_control_clears_its_eventfd = stays_readable

if __name__ == "__main__":
    unittest.main()
