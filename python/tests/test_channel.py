"""Channel: submit, poll, one eventfd, exactly one completion a request."""
import gc
import os
import select
import threading
import time

import kvpool
from kvpool import Status

import harness
import pools
from harness import PATIENCE_S, PoolTest, device, finish, slow


class Channels(PoolTest):
    def setUp(self):
        super().setUp()
        self.pool = self.open()
        self.space = self.pool.space(model="m", layers=2)
        self.channel = self.pool.channel()

    def test_the_four_verbs(self):
        keys, user = [b"a", b"b"], object()
        submitted = self.channel.submit_put(self.space, keys, [b"1234", b"567890"], ordinal=0, user=user)
        self.assertEqual(self.channel.in_flight, 1)
        [put] = finish(self.channel)
        self.assertEqual((put.id, put.results, put.block_bytes, put.layers_ready), (submitted, [Status.OK] * 2, [], 0))
        self.assertIs(put.user, user)
        self.assertEqual(self.channel.in_flight, 0)
        into = [bytearray(8), bytearray(8), bytearray(8)]
        self.channel.submit_get(self.space, [*keys, b"c"], into)
        [get] = finish(self.channel)
        self.assertEqual(get.results, [Status.OK, Status.OK, Status.NOT_FOUND])
        self.assertEqual((get.block_bytes, get.layers_ready, get.user), ([4, 6, 0], 2, None))
        self.assertEqual(into[1][:6], b"567890")
        self.channel.submit_flush(self.space)
        self.channel.submit_drop(self.space, keys)
        ended = {one.id: one.results for one in finish(self.channel, 2)}
        self.assertEqual(sorted(map(len, ended.values())), [1, 2])
        self.assertEqual(self.space.match(keys), 0)

    def test_every_request_completes_once(self):
        ids = []
        with self.assertRaisesRegex(kvpool.Busy, "poll"):
            while len(ids) < 5000:
                ids.append(self.channel.submit_drop(self.space, [b"k"]))
        self.assertEqual(len(ids), 1024)
        seen = []
        while self.channel.in_flight:
            self.assertTrue(self.channel.wait(PATIENCE_S))
            some = self.channel.poll(100)
            self.assertLessEqual(len(some), 100)
            seen += [one.id for one in some]
        self.assertEqual(sorted(seen), sorted(ids))
        self.assertEqual(self.channel.poll(), [])

    def test_the_eventfd_is_readable_while_there_is_something(self):
        readable = lambda patience=0: bool(select.select([self.channel], [], [], patience)[0])
        self.assertFalse(readable())
        self.channel.submit_drop(self.space, [b"a"])
        self.channel.submit_drop(self.space, [b"b"])
        taken = 0
        while taken < 2:
            self.assertTrue(readable(PATIENCE_S), "also for what the poll before left")
            taken += len(self.channel.poll(1))
        ends = time.monotonic() + PATIENCE_S
        while readable():  # a daemon's bell may be heard late
            self.assertEqual(self.channel.poll(), [])
            self.assertLess(time.monotonic(), ends, "readable without anything to poll")

    def test_wait_ends_by_its_timeout(self):
        started = time.monotonic()
        self.assertFalse(self.channel.wait(0.05))
        self.assertGreaterEqual(time.monotonic() - started, 0.05)
        self.assertFalse(self.channel.wait(0))
        for timeout in (-1, float("nan")):
            self.assertRaises(kvpool.Invalid, self.channel.wait, timeout)
        self.assertRaises(kvpool.Invalid, self.channel.poll, 0)

    def test_a_channel_that_closes_wakes_who_waits(self):
        outcome = []

        def wait():
            try:
                self.channel.wait()
            except kvpool.Cancelled as error:
                outcome.append(str(error))

        waiter = threading.Thread(target=wait)
        waiter.start()
        time.sleep(0.05)
        self.channel.close()
        waiter.join(PATIENCE_S)
        self.assertEqual(outcome, ["the channel is closed: open it again to use it"])
        self.channel.close()
        with self.assertRaises(kvpool.Cancelled):
            self.channel.submit_drop(self.space, [b"k"])

    def test_a_request_that_is_not_taken_leaves_nothing(self):
        with self.assertRaises(kvpool.Invalid):
            self.channel.submit_drop(self.space, [b"k"] * 65_537)
        with self.assertRaises(kvpool.Invalid):
            self.channel.submit_put(self.space, [b"k"], [7])
        self.assertEqual(self.channel.in_flight, 0)

    def test_a_space_of_another_pool(self):
        os.mkdir(self.path("other"))
        with kvpool.Pool.open(self.pool_file(device("ram"), catalog=False, name="other/pool.toml")) as other:
            with self.assertRaisesRegex(kvpool.Invalid, "another pool"):
                self.channel.submit_drop(other.space(model="m"), [b"k"])

    def test_a_space_of_another_handle_of_the_pool(self):
        with kvpool.Pool.open(self.path("pool.toml")) as other:
            self.channel.submit_drop(other.space(model="m"), [b"k"])
            finish(self.channel)

    @pools.in_process("layers show themselves in memory of the pool, or at the end")
    def test_a_get_that_is_polled_has_no_layers_to_ask_for(self):
        request = self.channel.submit_get(self.space, [b"k"], [bytearray(1)])
        self.channel.wait(PATIENCE_S)
        self.assertEqual(self.channel.layers_ready(request), 2)
        finish(self.channel)
        with self.assertRaisesRegex(kvpool.Invalid, "not in flight"):
            self.channel.layers_ready(request)


class SlowDevice(PoolTest):
    """4 MiB take a second."""

    def setUp(self):
        super().setUp()
        self.pool = self.open(device("ram", extra=slow("4MB/s")), catalog=False)
        self.space = self.pool.space(model="m", layers=8)

    @pools.in_process("layers show themselves in memory of the pool, or at the end")
    def test_layers_come_one_by_one(self):
        self.assertEqual(self.space.put([b"k"], [bytes(4 << 20)]), [Status.OK])
        channel = self.pool.channel()
        request = channel.submit_get(self.space, [b"k"], [bytearray(4 << 20)])
        seen = {channel.layers_ready(request)}
        while not channel.wait(0.01):
            seen.add(channel.layers_ready(request))
        seen.add(channel.layers_ready(request))
        self.assertTrue(seen & set(range(1, 8)), seen)
        self.assertIn(8, seen)

    def test_closing_waits_for_what_is_in_flight(self):
        channel = self.pool.channel()
        channel.submit_put(self.space, [b"k"], [bytes(2 << 20)])
        started = time.monotonic()
        channel.close()
        self.assertGreater(time.monotonic() - started, 0.1)
        self.assertEqual(self.space.match([b"k"]), 1)

    def test_a_channel_that_is_collected_waits_too(self):
        into = bytearray(1 << 20)
        self.space.put([b"k"], [bytes([7]) * (1 << 20)])
        channel = self.pool.channel()
        channel.submit_get(self.space, [b"k"], [into])
        del channel
        gc.collect()
        self.assertEqual(into, bytes([7]) * (1 << 20))


    def test_a_deadline_ends_it(self):
        self.assertEqual(self.space.put([b"k"], [bytes(8 << 20)], deadline=0.2), [Status.TIMED_OUT])


class Background(PoolTest):
    """Much more than the few I/Os that a device may be busy with: half a second of it."""

    def setUp(self):
        super().setUp()
        self.pool = self.open(device("ram", capacity="128MiB", extra=slow("64MB/s")), catalog=False)
        self.space = self.pool.space(model="m", layers=8)
        self.channel = self.pool.channel()

    def test_a_get_passes_one_of_the_background(self):
        keys = [b"%d" % i for i in range(32)]
        self.assertEqual(self.space.put(keys, [bytes(1 << 20)] * 32), [Status.OK] * 32)
        into = [bytearray(1 << 20) for _ in keys]
        for background in (False, True):
            load = self.channel.submit_get(self.space, keys, into, background=background)
            one = self.channel.submit_get(self.space, keys[:1], [bytearray(1 << 20)])
            ended = [completion.id for completion in finish(self.channel, 2)]
            self.assertEqual(ended, [one, load] if background else [load, one])

    def test_a_put_passes_one_of_the_background(self):
        load = self.channel.submit_put(self.space, [b"load"], [bytes(32 << 20)], background=True)
        one = self.channel.submit_put(self.space, [b"one"], [bytes(1 << 20)])
        self.assertEqual([completion.id for completion in finish(self.channel, 2)], [one, load])
        self.assertEqual(self.space.get([b"one"], [bytearray(1 << 20)], background=True), [Status.OK])


if __name__ == "__main__":
    harness.main()
