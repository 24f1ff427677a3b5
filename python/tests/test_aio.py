"""kvpool.aio: requests are awaited, and the loop goes on meanwhile."""
import asyncio
import time

import kvpool
from kvpool import Status
from kvpool.aio import AsyncChannel

import harness
from harness import PATIENCE_S, PoolTest, device, slow


class Asyncio(PoolTest):
    def run_async(self, body):
        asyncio.run(asyncio.wait_for(body, PATIENCE_S))

    def test_requests_run_side_by_side(self):
        pool = self.open(catalog=True)
        space = pool.space(model="m")

        async def body():
            async with AsyncChannel(pool) as channel:
                stored = {b"%d" % i: b"%d" % i * 50 for i in range(200)}
                puts = [channel.put(space, [key], [block]) for key, block in stored.items()]
                self.assertEqual(await asyncio.gather(*puts), [[Status.OK]] * 200)
                into = {key: bytearray(len(block)) for key, block in stored.items()}
                gets = [channel.get(space, [key], [block]) for key, block in into.items()]
                self.assertEqual(await asyncio.gather(*gets), [[Status.OK]] * 200)
                self.assertEqual(into, stored)
                self.assertEqual(await channel.flush(space), [Status.OK])
                self.assertEqual(await channel.drop(space, [b"0", b"x"]), [Status.OK, Status.NOT_FOUND])

        self.run_async(body())

    def test_more_than_fit_wait_for_their_turn(self):
        pool = self.open()
        space = pool.space(model="m")

        async def body():
            async with AsyncChannel(pool) as channel:
                drops = [channel.drop(space, [b"k"]) for _ in range(3000)]
                self.assertEqual(await asyncio.gather(*drops), [[Status.NOT_FOUND]] * 3000)

        self.run_async(body())

    def test_the_loop_goes_on_meanwhile(self):
        pool = self.open(device("ram", extra=slow("4MB/s")), catalog=False)
        space = pool.space(model="m")

        async def body():
            ticks = []

            async def tick():
                while True:
                    ticks.append(time.monotonic())
                    await asyncio.sleep(0.01)

            ticker = asyncio.create_task(tick())
            channel = AsyncChannel(pool)
            self.assertEqual(await channel.put(space, [b"k"], [bytes(2 << 20)]), [Status.OK])
            self.assertGreater(len(ticks), 10)
            task = asyncio.create_task(channel.get(space, [b"k"], [bytearray(2 << 20)]))
            await asyncio.sleep(0.01)
            del ticks[:]
            await channel.close()  # waits for the get, with the loop running
            self.assertGreater(len(ticks), 10)
            self.assertEqual(await task, [Status.OK])
            ticker.cancel()
            await channel.close()
            with self.assertRaises(kvpool.Cancelled):
                await channel.drop(space, [b"k"])

        self.run_async(body())

    def test_a_task_that_is_cancelled_leaves_the_others_alone(self):
        pool = self.open(device("ram", extra=slow("4MB/s")), catalog=False)
        space = pool.space(model="m")

        async def body():
            async with AsyncChannel(pool) as channel:
                first = asyncio.create_task(channel.put(space, [b"k"], [bytes(1 << 20)]))
                second = asyncio.create_task(channel.put(space, [b"l"], [bytes(1 << 20)]))
                await asyncio.sleep(0.05)
                first.cancel()
                self.assertEqual(await second, [Status.OK])
            self.assertEqual(space.match([b"k", b"l"]), 2)

        self.run_async(body())

    def test_a_pool_that_closes_leaves_nobody_waiting(self):
        pool = self.open(device("ram", extra=slow("4MB/s")), catalog=False)
        space = pool.space(model="m")

        async def body():
            channel = AsyncChannel(pool)
            task = asyncio.create_task(channel.put(space, [b"k"], [bytes(1 << 20)]))
            await asyncio.sleep(0.05)
            pool.close()
            with self.assertRaisesRegex(kvpool.Cancelled, "before the request had ended"):
                await task
            await channel.close()

        self.run_async(body())

    def test_mistakes_are_raised_at_once(self):
        pool = self.open()
        space = pool.space(model="m")

        async def body():
            async with AsyncChannel(pool) as channel:
                with self.assertRaises(kvpool.Invalid):
                    await channel.put(space, [b"k"], [7])
                with self.assertRaises(TypeError):
                    await channel.put(space, [b"k"], [b"a"], no_such_option=1)

        self.run_async(body())


if __name__ == "__main__":
    harness.main()
