"""Memory between llama.cpp and the pool, in equal slots, and a channel that moves several of them at once."""
import contextlib
import ctypes

import kvpool

_MOST_SLOTS = 32
_LARGEST_SLOT = 4 << 30  # no block of a pool is larger
_ALIGN = 4096


class Staging:
    """Threads: one at a time."""

    def __init__(self, pool, space, nbytes, slot_bytes=1 << 20):
        self._pool, self._space, self._nbytes = pool, space, nbytes
        self._channel = pool.channel()
        self._make(slot_bytes)

    def _make(self, slot_bytes):
        self.slot_bytes = -(-slot_bytes // _ALIGN) * _ALIGN
        self._count = max(2, min(_MOST_SLOTS, self._nbytes // self.slot_bytes))
        self._memory = self._pool.allocate(self._count * self.slot_bytes)
        self._view = memoryview(self._memory)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    def grow(self, slot_bytes):
        """Slots of at least so many bytes. Waits for what is in flight; False where no block is that large."""
        if slot_bytes > _LARGEST_SLOT:
            return False
        self._drain()
        self._make(max(slot_bytes, 2 * self.slot_bytes))
        return True

    def blocks(self, keys):
        """(address, length) of each key's bytes, valid until the next; reads ahead. Ends where one is missing."""
        done, status = 0, None
        while done < len(keys):
            with contextlib.closing(self._read_ahead(keys[done:])) as ahead:
                for status, address, nbytes in ahead:
                    if status != kvpool.Status.OK:
                        break
                    yield address, nbytes
                    done += 1
            # The pool has longer blocks than this memory: the first chunk that a process sees tells.
            if done < len(keys) and (status != kvpool.Status.INVALID or not self.grow(2 * self.slot_bytes)):
                return

    def store(self, count, fill):
        """Puts up to `count` chunks. `fill(index, room)` writes a chunk to the address that `room(length)` gives, and
        returns (key, ordinal, parent, length), or None to end. One Status for each that was put."""
        results, sent = {}, 0
        try:
            while sent < count:
                while sent >= self._count and sent - self._count not in results:
                    self._collect(results)
                filled = fill(sent, lambda nbytes: self._room(sent, nbytes, results))
                if filled is None:
                    break
                key, ordinal, parent, nbytes = filled
                self._channel.submit_put(self._space, [key], [self._slot(sent)[:nbytes]], ordinal=ordinal,
                                         parent=parent, user=sent)
                sent += 1
            while len(results) < sent:
                self._collect(results)
        finally:
            self._drain()
        return [results[index][0] for index in range(sent)]

    def close(self):
        self._channel.close()

    def _room(self, index, nbytes, results):
        """The address of the slot for chunk `index`, of at least `nbytes`. None: no block is that large."""
        if nbytes > self.slot_bytes:
            while self._channel.in_flight:
                self._collect(results)
            if not self.grow(nbytes):
                return None
        return self._address + index % self._count * self.slot_bytes

    def _slot(self, index):
        begin = index % self._count * self.slot_bytes
        return self._view[begin:begin + self.slot_bytes]

    def _read_ahead(self, keys):
        results, sent = {}, 0
        try:
            for index in range(len(keys)):
                while sent < len(keys) and sent < index + self._count:
                    self._channel.submit_get(self._space, [keys[sent]], [self._slot(sent)], user=sent)
                    sent += 1
                while index not in results:
                    self._collect(results)
                status, nbytes = results.pop(index)
                yield status, self._address + index % self._count * self.slot_bytes, nbytes
        finally:
            self._drain()

    def _collect(self, results):
        self._channel.wait()
        for done in self._channel.poll():
            results[done.user] = done.results[0], done.block_bytes[0] if done.block_bytes else 0

    def _drain(self):
        with contextlib.suppress(kvpool.Cancelled):
            while self._channel.in_flight:
                self._collect({})
