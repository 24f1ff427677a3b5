"""The memory that every loader reads into, what is stored, and what a load cost."""
import dataclasses
import mmap
import resource
import time

import numpy

MIB = 1 << 20


@dataclasses.dataclass
class Work:
    """`count` values of `value_bytes` each, one behind the other."""
    value_bytes: int
    count: int

    @property
    def bytes(self):
        return self.value_bytes * self.count


class Buffers:
    """One array for all values on transparent huge pages, every page touched: as an engine's pinned memory is."""

    def __init__(self, work):
        self.work = work
        self.memory = mmap.mmap(-1, work.bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory.madvise(mmap.MADV_HUGEPAGE)
        self.array = numpy.frombuffer(self.memory, dtype=numpy.uint8)
        self.clear()

    def clear(self):
        self.array[:] = 0xEE

    def value(self, index):
        return self.array[index * self.work.value_bytes:(index + 1) * self.work.value_bytes]

    def fill(self):
        for index in range(self.work.count):
            self.value(index)[:] = self._content(index)

    def right(self):
        """How many values have the bytes that were stored."""
        return sum(numpy.array_equal(self.value(index), self._content(index)) for index in range(self.work.count))

    def _content(self, index):
        generator = numpy.random.Generator(numpy.random.SFC64([self.work.value_bytes, index]))
        return generator.integers(0, 1 << 64, size=self.work.value_bytes // 8, dtype=numpy.uint64).view(numpy.uint8)


class Measured:
    """A context that times its body: wall clock, and processor time of all threads of this process."""

    def __enter__(self):
        self.before = resource.getrusage(resource.RUSAGE_SELF)
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self.started
        after = resource.getrusage(resource.RUSAGE_SELF)
        self.cpu_s = after.ru_utime + after.ru_stime - self.before.ru_utime - self.before.ru_stime
