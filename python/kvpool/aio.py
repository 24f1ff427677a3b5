"""kvpool in asyncio: one eventfd in the running loop, and no thread of its own."""
import asyncio
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from kvpool import Block, Busy, Cancelled, Pool, Space, Status


class AsyncChannel:
    """`async with AsyncChannel(pool) as channel: await channel.get(space, keys, into)`.

    Requests run side by side: await several at once with asyncio.gather. A task that is cancelled leaves its
    request behind, which still ends, and uses its buffers until then. Threads: the loop's.
    """

    def __init__(self, pool: Pool, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._channel = pool.channel()
        self._fd = self._channel.fileno()
        self._closed = False
        self._pending = set()  # futures of requests in flight
        self._turn = asyncio.Event()  # set whenever something has completed
        self._channel._on_close = _Closing(self)
        self._loop.add_reader(self._fd, self._collect)

    async def put(self, space: Space, keys: Sequence[bytes | str], blocks: Sequence[Block],
                  **options: Any) -> list[Status]:
        """As Space.put; waits for its turn where 1,024 requests are in flight already."""
        return await self._request(self._channel.submit_put, space, keys, blocks, **options)

    async def get(self, space: Space, keys: Sequence[bytes | str], into: Sequence[Block],
                  **options: Any) -> list[Status]:
        """As Space.get."""
        return await self._request(self._channel.submit_get, space, keys, into, **options)

    async def drop(self, space: Space, keys: Sequence[bytes | str], **options: Any) -> list[Status]:
        """As Space.drop."""
        return await self._request(self._channel.submit_drop, space, keys, **options)

    async def flush(self, space: Space, keys: Sequence[bytes | str] = (), **options: Any) -> list[Status]:
        """As Space.flush."""
        return await self._request(self._channel.submit_flush, space, keys, **options)

    async def close(self) -> None:
        """Waits, with the loop running, for what is in flight; closes. Idempotent."""
        self._closed = True
        while self._pending:
            self._turn.clear()
            await self._turn.wait()
        self._abandon()
        self._channel.close()

    async def __aenter__(self) -> "AsyncChannel":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.close()

    async def _request(self, submit, *arguments, **options):
        done = self._loop.create_future()
        while True:
            if self._closed:
                raise Cancelled("the channel is closed: open it again to use it")
            try:
                submit(*arguments, user=done, **options)
                break
            except Busy:
                self._turn.clear()
                await self._turn.wait()
        self._pending.add(done)
        return await done

    def _collect(self):
        try:
            completions = self._channel.poll()
        except Cancelled:
            return self._abandon()
        for completion in completions:
            self._pending.discard(completion.user)
            if not completion.user.done():
                completion.user.set_result(completion.results)
        self._turn.set()

    def _abandon(self):
        """Of a channel that has closed, or whose pool has: nobody is left waiting."""
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
        self._fd = None
        self._closed = True
        for future in self._pending:
            if not future.done():
                future.set_exception(Cancelled("the pool was closed before the request had ended: open it again"))
        self._pending.clear()
        self._turn.set()


class _Closing:
    """Tells an AsyncChannel, without keeping it alive, that its channel has closed. Threads: any."""

    def __init__(self, channel):
        self._channel = weakref.ref(channel)
        self._loop = channel._loop

    def __call__(self):
        channel = self._channel()
        if channel is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(channel._abandon)
