"""Many threads on one pool; the GIL is free while one waits."""
import ctypes
import threading
import time

import kvpool
from kvpool import Status

import harness
from harness import PATIENCE_S, PoolTest, device, slow


def run_all(*bodies):
    """Runs each in a thread of its own; raises what one raised."""
    failures = []

    def guarded(body):
        try:
            body()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        if thread.is_alive():
            raise AssertionError("a thread hangs")
    if failures:
        raise failures[0]


class Threads(PoolTest):
    def test_eight_threads_put_and_get_side_by_side(self):
        space = self.open(device("ram"), device("ssd", "file"), catalog=False).space(model="m")

        def work(number):
            keys = [b"%d of thread %d" % (i, number) for i in range(4)]
            for turn in range(30):
                stored = [bytes([number, turn, i]) * 20_001 for i in range(4)]
                self.assertEqual(space.put(keys, stored), [Status.OK] * 4)
                into = [bytearray(60_003) for _ in keys]
                self.assertEqual(space.get(keys, into), [Status.OK] * 4)
                self.assertEqual(into, stored)
                self.assertEqual(space.drop(keys), [Status.OK] * 4)

        run_all(*[lambda number=number: work(number) for number in range(8)])

    def test_threads_may_share_a_channel(self):
        pool = self.open()
        space, channel = pool.space(model="m"), pool.channel()
        polled = []

        def submit(number):
            for i in range(100):
                channel.submit_put(space, [b"%d %d" % (number, i)], [b"abc"], user=(number, i))

        def poll():
            while len(polled) < 400:
                if channel.wait(0.1):
                    polled.extend(one.user for one in channel.poll())

        run_all(poll, *[lambda number=number: submit(number) for number in range(4)])
        self.assertEqual(sorted(polled), [(number, i) for number in range(4) for i in range(100)])

    def test_opening_and_closing_side_by_side(self):
        file = self.pool_file()
        kvpool.Pool.create(file)

        def work(number):
            for turn in range(10):
                with kvpool.Pool.open(file) as pool:
                    space, key = pool.space(model="m"), b"%d of thread %d" % (turn, number)
                    space.put([key], [b"abc"])
                    self.assertEqual(space.match([key]), 1)

        run_all(*[lambda number=number: work(number) for number in range(4)])

    def test_closing_under_load(self):
        pool = self.open(device("ram", extra=slow("50MB/s")), catalog=False)
        space = pool.space(model="m")

        def work(number):
            try:
                while True:
                    kvpool.check(space.put([b"%d" % number], [bytes(1 << 20)]))
                    kvpool.check(space.get([b"%d" % number], [bytearray(1 << 20)]))
                    kvpool.check(space.drop([b"%d" % number]))
            except kvpool.Cancelled:
                pass

        def close():
            time.sleep(0.3)
            pool.close()

        run_all(close, *[lambda number=number: work(number) for number in range(4)])


class TheGil(PoolTest):
    def beats(self, call):
        """How often another thread came to run while `call` did, and for how long that was."""
        beats, running = [], threading.Event()

        def beat():
            running.set()
            while running.is_set():
                beats.append(time.monotonic())
                time.sleep(0.001)

        thread = threading.Thread(target=beat)
        thread.start()
        while not beats:
            time.sleep(0.001)
        started = time.monotonic()
        call()
        ended = time.monotonic()
        running.clear()
        thread.join()
        return sum(started + 0.005 < one < ended - 0.005 for one in beats), ended - started

    def test_it_is_free_while_calls_wait(self):
        pool = self.open(device("ram", extra=slow("4MB/s")), catalog=False)
        space, channel = pool.space(model="m"), pool.channel()
        into = bytearray(2 << 20)
        calls = [lambda: space.put([b"k"], [bytes(2 << 20)]), lambda: space.get([b"k"], [into]),
                 lambda: channel.wait(0.4)]
        for call in calls:
            beats, seconds = self.beats(call)
            self.assertGreater(seconds, 0.2)
            self.assertGreater(beats, 20)
        channel.submit_get(space, [b"k"], [into])
        beats, seconds = self.beats(pool.close)
        self.assertGreater(seconds, 0.1)
        self.assertGreater(beats, 10)

    def test_a_call_that_keeps_it_would_be_seen(self):
        beats, _ = self.beats(lambda: ctypes.PyDLL(None).usleep(300_000))
        self.assertLess(beats, 5)


if __name__ == "__main__":
    harness.main()
