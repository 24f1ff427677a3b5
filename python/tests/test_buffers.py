"""What a block may be: bytes-like objects, tensors, addresses, and several of them; and nothing else."""
import array
import ctypes
import gc
import mmap
import sys
import unittest
import weakref

import kvpool
from kvpool import Segment, Status

import harness
from fake_tensor import CUDA_HOST, ROCM, FakeTensor
from harness import PoolTest

try:
    import numpy
except ImportError:
    numpy = None


class BufferTest(PoolTest):
    def setUp(self):
        super().setUp()
        self.pool = self.open()
        self.space = self.pool.space(model="m")

    def put(self, key, *buffers):
        self.assertEqual(self.space.put([key], [buffers]), [Status.OK])

    def get(self, key, nbytes):
        into = bytearray(nbytes)
        self.assertEqual(self.space.get([key], [into]), [Status.OK])
        return bytes(into)

    def refuse(self, words, call, *arguments, error=kvpool.Invalid):
        with self.assertRaisesRegex(error, words) as caught:
            call(*arguments)
        self.assertGreater(len(str(caught.exception)), 30)


class Buffers(BufferTest):
    def test_every_kind_of_bytes_is_stored(self):
        with mmap.mmap(-1, 8192) as mapped:
            mapped[:4] = b"abcd"
            kinds = [b"abcd" * 1024, bytearray(b"abcd" * 1024), memoryview(b"abcd" * 1024),
                     array.array("I", [0x64636261] * 1024), (ctypes.c_char * 4096)(*b"abcd" * 1024)]
            for number, kind in enumerate(kinds):
                self.put(b"%d" % number, kind)
                self.assertEqual(self.get(b"%d" % number, 4096), b"abcd" * 1024)
            self.put(b"mmap", mapped)
            self.assertEqual(self.get(b"mmap", 8192), b"abcd" + bytes(8188))

    def test_a_block_is_the_concatenation_of_its_buffers(self):
        self.put(b"k", b"abc", b"", bytearray(b"defg"), memoryview(b"hi"))
        self.assertEqual(self.get(b"k", 9), b"abcdefghi")
        parts = [bytearray(2), bytearray(7)]
        self.assertEqual(self.space.get([b"k"], [parts]), [Status.OK])
        self.assertEqual(parts, [b"ab", b"cdefghi"])

    def test_addresses(self):
        stored = ctypes.create_string_buffer(b"0123456789", 10)
        address = ctypes.addressof(stored)
        self.put(b"k", Segment(address, 4), Segment(address + 4, nbytes=6, owner=stored))
        into = ctypes.create_string_buffer(10)
        segment = Segment(ctypes.addressof(into), 10)
        self.assertEqual(self.space.get([b"k"], [segment]), [Status.OK])
        self.assertEqual(into.raw, b"0123456789")
        self.assertEqual((segment.address, segment.nbytes, segment.owner), (ctypes.addressof(into), 10, None))
        self.refuse("address", Segment, 0, 1)
        self.refuse("address", Segment, 4096, -1)

    def test_blocks_have_equally_many_buffers(self):
        self.refuse("block 1 has 1 buffers and block 0 has 2", self.space.put, [b"k", b"l"], [[b"a", b"b"], b"c"])
        self.refuse("block 0 has 0 buffers", self.space.put, [b"k"], [[]])

    def test_what_has_no_bytes(self):
        for what in (7, None, "text", {1: 2}, object()):
            self.refuse("block 1: a buffer is bytes-like, a tensor", self.space.put, [b"k", b"l"], [b"a", what])

    def test_read_only_is_refused_by_a_get(self):
        self.put(b"k", b"abc")
        for what in (b"...", memoryview(bytearray(3)).toreadonly()):
            self.refuse("read-only", self.space.get, [b"k"], [what])

    def test_gaps_are_refused(self):
        view = memoryview(bytearray(20))[::2]
        self.refuse("not C-contiguous", self.space.put, [b"k"], [view])
        self.refuse("not C-contiguous", self.space.get, [b"k"], [view])
        with self.assertRaises(kvpool.Invalid):
            self.pool.register(view)

    def test_buffers_are_free_again_afterwards(self):
        buffer = bytearray(b"abc")
        self.put(b"k", buffer)
        with self.assertRaises(kvpool.Invalid):
            self.space.put([b"k", b"l"], [buffer, 7])
        buffer.append(1)  # BufferError while somebody holds it


class Tensors(BufferTest):
    def test_a_tensor_goes_both_ways(self):
        for version in (None, 1):
            tensor = FakeTensor((3, 5), version=version, offset=6)
            tensor.fill(bytes(range(30)))
            key = b"of version %d" % (version or 0)
            self.put(key, tensor)
            self.assertEqual(self.get(key, 30), bytes(range(30)))
            into = FakeTensor((30 // 2,), version=version)
            self.assertEqual(self.space.get([key], [into]), [Status.OK])
            self.assertEqual(into.bytes(), bytes(range(30)))
            self.assertEqual(into.asked[0], {"max_version": (1, 0)})
            gc.collect()
            self.assertEqual((tensor.exported, into.exported), (0, 0), "every capsule came back")

    def test_strides_that_leave_no_gap(self):
        self.put(b"k", FakeTensor((1, 3, 5), strides=(999, 5, 1)))
        self.put(b"l", FakeTensor((0, 3), strides=(1, 7)), b"x")

    def test_strides_that_do_are_refused(self):
        for tensor in (FakeTensor((3, 5), strides=(1, 3)), FakeTensor((2, 2), strides=(4, 1))):
            self.refuse("not contiguous", self.space.put, [b"k"], [tensor])
            self.assertEqual(tensor.exported, 0)

    def test_those_of_other_devices_are_refused(self):
        tensor = FakeTensor((3,), device=ROCM)
        self.refuse(r"kind 10.*tensor.cpu\(\)", self.space.put, [b"k"], [tensor], error=kvpool.Unsupported)
        self.assertEqual(tensor.asked, [], "it is not even exported")

    def test_pinned_memory_is_taken(self):
        self.put(b"k", FakeTensor((3,), device=CUDA_HOST))

    def test_one_that_may_not_be_written_to(self):
        tensor = FakeTensor((3,), version=1, read_only=True)
        self.put(b"k", tensor)
        self.refuse("read-only tensor", self.space.get, [b"k"], [tensor])

    def test_what_is_no_tensor_of_whole_bytes(self):
        self.refuse("within a byte", self.space.put, [b"k"], [FakeTensor((3,), bits=4)])

    def test_a_version_to_come(self):
        self.refuse("DLPack 2", self.space.put, [b"k"], [FakeTensor((3,), version=2)], error=kvpool.Unsupported)

    def test_a_library_that_says_no(self):
        class Refuses(FakeTensor):
            def __dlpack__(self, **options):
                raise BufferError("it requires a gradient")

        class Nonsense(FakeTensor):
            def __dlpack__(self, **options):
                return 7

        self.refuse("it requires a gradient", self.space.put, [b"k"], [Refuses((3,))])
        self.refuse("no DLPack capsule", self.space.put, [b"k"], [Nonsense((3,))])


@unittest.skipIf(numpy is None, "numpy is not here: its arrays are not tested")
class Arrays(BufferTest):
    def test_an_array_goes_both_ways(self):
        stored = numpy.arange(60, dtype=numpy.float16).reshape(3, 20)
        self.put(b"k", *stored)
        into = numpy.zeros_like(stored)
        self.assertEqual(self.space.get([b"k"], [into]), [Status.OK])
        self.assertTrue((stored == into).all())

    def test_memory_of_the_pool_is_an_array(self):
        memory = self.pool.allocate(2 << 20)
        view = numpy.frombuffer(memory, dtype=numpy.float32)
        view[:] = 1.5
        del memory
        self.put(b"k", view)
        self.assertEqual(self.get(b"k", 2 << 20), view.tobytes())

    def test_transposed_and_read_only_ones_are_refused(self):
        stored = numpy.zeros((3, 4))
        self.refuse("not C-contiguous", self.space.put, [b"k"], [stored.T])
        stored.flags.writeable = False
        self.refuse("read-only", self.space.get, [b"k"], [stored])


class References(BufferTest):
    def references(self, objects):
        gc.collect()
        return [sys.getrefcount(one) for one in objects]

    def test_ten_thousand_requests_leave_none(self):
        key, parent, buffer, into, user = b"key" * 9, b"parent" * 9, bytearray(64), bytearray(64), object()
        tensor = FakeTensor((32,))
        segment = Segment(ctypes.addressof(tensor.memory), 64, tensor)
        keys, blocks, scattered = [key], [buffer], [[into, segment]]
        watched = [key, parent, buffer, into, user, tensor, segment, keys, blocks, scattered, self.space]
        channel = self.pool.channel()

        def rounds(count):
            for _ in range(count):
                channel.submit_put(self.space, keys, blocks, parent=parent, ordinal=1, user=user)
                channel.submit_get(self.space, keys, scattered, user=user)
                channel.submit_put(self.space, keys, [tensor])
                harness.finish(channel, 3)
                self.space.get(keys, [segment])

        rounds(10)
        before, statuses = self.references(watched), sys.getrefcount(Status.OK) + sys.getrefcount(Status.EXISTS)
        rounds(2500)
        self.assertEqual(self.references(watched), before)
        self.assertLess(abs(sys.getrefcount(Status.OK) + sys.getrefcount(Status.EXISTS) - statuses), 100)
        self.assertEqual(tensor.exported, 0)

    def test_a_reference_too_many_would_be_seen(self):
        buffer = bytearray(64)
        before = self.references([buffer])
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(buffer))
        self.assertNotEqual(self.references([buffer]), before)
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(buffer))

    def test_a_buffer_lives_until_its_completion_is_polled(self):
        class Owner:
            pass

        owner, memory = Owner(), (ctypes.c_char * 4096)()
        gone = weakref.ref(owner)
        channel = self.pool.channel()
        channel.submit_put(self.space, [b"k"], [Segment(ctypes.addressof(memory), 4096, owner)])
        del owner
        self.assertTrue(channel.wait(harness.PATIENCE_S))
        self.assertIsNotNone(gone())
        channel.poll()
        self.assertIsNone(gone())


if __name__ == "__main__":
    harness.main()
