"""Buffers on a GPU, which host memory plays: the null GPU's every address is, and the toy libcuda has memory that the
processor cannot touch."""
import ctypes
import os
import subprocess
import sys
import unittest
from unittest import mock

import kvpool
import pools
from kvpool import Segment, Status

import harness
from fake_gpu import FakeArray, NullMemory
from fake_tensor import CUDA, FakeTensor
from harness import PoolTest
from pools import device

DATA = bytes(range(30))


class GpuTest(PoolTest):
    devices = (device("ram"), device("ssd", "file"), pools.gpu())

    def setUp(self):
        super().setUp()
        self.kept = []
        self.pool = self.open(*self.devices)
        self.space = self.pool.space(model="m", layers=2)

    def address(self):
        """Of 2 MiB on the GPU, until the test ends."""
        self.kept.append(NullMemory())
        return self.kept[-1].address

    def tensor(self, shape, **options):
        return FakeTensor(shape, device=CUDA, address=self.address(), **options)

    def array(self, nbytes, **fields):
        return FakeArray(nbytes, self.address(), **fields)

    def put(self, key, *buffers):
        self.assertEqual(self.space.put([key], [buffers]), [Status.OK])

    def get(self, key, *buffers):
        self.assertEqual(self.space.get([key], [buffers]), [Status.OK])

    def stored(self, key, nbytes):
        into = bytearray(nbytes)
        self.get(key, into)
        return bytes(into)

    def refuse(self, words, call, *arguments, error=kvpool.Invalid):
        with self.assertRaisesRegex(error, words):
            call(*arguments)


class OnTheNullGpu(GpuTest):
    def test_it_is_shown(self):
        self.assertEqual([(one["name"], one["kind"], one["failure"]) for one in self.pool.info()["gpus"]],
                         [("gpu0", "null", "")])

    def test_a_tensor_goes_both_ways(self):
        for version in (None, 1):
            tensor = self.tensor((3, 5), version=version, offset=6)
            tensor.fill(DATA)
            key = b"of version %d" % (version or 0)
            self.put(key, tensor)
            self.assertEqual(self.stored(key, 30), DATA)
            into = self.tensor((15,), version=version)
            self.get(key, into)
            self.assertEqual(into.bytes(), DATA)
            self.assertEqual(set(tensor.streams + into.streams), {1}, "the default stream waits for the tensor's")
            self.assertEqual((tensor.exported, into.exported), (0, 0))

    def test_an_array_goes_both_ways(self):
        for fields in ({}, {"strides": (1,)}, {"shape": (3, 5), "typestr": "<f2", "strides": (10, 2)}, {"stream": 1}):
            array = self.array(30, **fields)
            array.memory[:] = DATA
            key = repr(fields)
            self.put(key, array)
            into = self.array(30)
            self.get(key, into)
            self.assertEqual(bytes(into.memory), DATA)

    def test_a_block_may_lie_on_both_sides(self):
        tensor, array = self.tensor((5,)), self.array(10)
        tensor.fill(DATA[:10])
        array.memory[:] = DATA[10:20]
        self.put(b"k", tensor, array, DATA[20:])
        host, into = bytearray(15), self.tensor((15,))
        self.get(b"k", host, into)
        self.assertEqual(bytes(host) + into.bytes()[:15], DATA)

    def test_addresses(self):
        address = self.address()
        ctypes.memmove(address, DATA, 30)
        segment = Segment(address, 30, gpu=True)
        self.assertTrue(segment.gpu)
        self.assertFalse(Segment(address, 30).gpu)
        self.put(b"k", segment)
        self.assertEqual(self.stored(b"k", 30), DATA)

    def test_a_channels_requests(self):
        stored, into = self.tensor((2048,)), self.tensor((2048,))
        stored.fill(pools.content(4096, "k"))
        channel = self.pool.channel()
        channel.submit_put(self.space, [b"k"], [stored])
        harness.finish(channel)
        channel.submit_get(self.space, [b"k"], [into])
        self.assertEqual(into.exported, 1, "it is kept until it is polled")
        done = harness.finish(channel)[0]
        self.assertEqual((done.results, done.layers_ready, into.bytes()), ([Status.OK], 2, stored.bytes()))
        self.assertEqual(into.exported, 0)

    def test_gaps_are_refused(self):
        for buffer in (self.tensor((3, 5), strides=(1, 3)), self.array(30, strides=(2,)),
                       self.array(30, shape=(3, 10), strides=(10,))):
            self.refuse("block 0: a buffer is not contiguous", self.space.put, [b"k"], [buffer])

    def test_what_may_not_be_written_to(self):
        tensor = self.tensor((3,), version=1, read_only=True)
        array = self.array(6)
        array.__cuda_array_interface__["data"] = (ctypes.addressof(array.memory), True)
        for buffer in (tensor, array):
            self.put(repr(buffer), buffer)
            self.refuse("read-only", self.space.get, [repr(buffer)], [buffer])

    def test_what_makes_no_sense(self):
        for fields in ({"shape": 3}, {"typestr": "<"}, {"data": None}, {"strides": "no"}):
            self.refuse("makes no sense", self.space.put, [b"k"], [self.array(30, **fields)])
        self.refuse("impossible shape", self.space.put, [b"k"], [self.array(30, shape=(-1,))])
        self.refuse("masked", self.space.put, [b"k"], [self.array(30, mask=self.array(30))])

        class Moves(FakeTensor):
            def __dlpack_device__(self):
                return (CUDA, 0)

        self.refuse("is not the one", self.space.put, [b"k"], [Moves((3,))])

    def test_a_lease_and_a_registration_are_of_the_host(self):
        self.refuse("is not registered", self.pool.register, self.array(30), error=kvpool.Unsupported)


class WithoutAGpu(GpuTest):
    devices = (device("ram"), device("ssd", "file"))

    def test_it_says_what_to_do(self):
        for buffer in (self.tensor((15,)), self.array(30), Segment(self.address(), 30, gpu=True)):
            for call in (self.space.put, self.space.get):
                self.refuse(r"has none: name it in the pool file \(\[\[gpu\]\]\).*tensor.cpu\(\)", call, [b"k"],
                            [buffer], error=kvpool.Unsupported)
            self.refuse("has none", self.pool.channel().submit_put, self.space, [b"k"], [buffer],
                        error=kvpool.Unsupported)
        self.assertEqual(self.pool.info()["gpus"], [])


TOY = os.environ.get("KVPOOL_FAKE_CUDA")


@unittest.skipUnless(TOY, "KVPOOL_FAKE_CUDA does not name the toy libcuda")
class OnTheToyCuda(PoolTest):
    """In a process of its own, which finds the toy where others find NVIDIA's driver."""
    devices = (device("ram"), device("ssd", "file"), pools.gpu(kind="cuda"))
    head = """
import sys
sys.path.insert(0, sys.argv[2])
import kvpool
from fake_gpu import FakeArray, FakeCuda
from fake_tensor import CUDA, FakeTensor
toy = FakeCuda()
pool = kvpool.Pool.open(sys.argv[1], create=True)
space = pool.space(model="m")
def tensor(fill):
    address, behind = toy.allocate(8192)
    behind[:] = [fill] * 8192
    return FakeTensor((4096,), device=CUDA, address=address), address, behind
"""

    def run_with_toy(self, body):
        os.symlink(TOY, self.path("libcuda.so.1"))
        here = os.path.dirname(os.path.abspath(__file__))
        with mock.patch.dict(os.environ, LD_LIBRARY_PATH=self.folder):  # of a daemon, too
            done = subprocess.run([sys.executable, "-c", self.head + body, self.pool_file(*self.devices), here],
                                  capture_output=True, text=True, timeout=harness.PATIENCE_S, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout.split()

    def test_bytes_go_both_ways_after_the_work_of_others(self):
        printed = self.run_with_toy("""
stored, more = tensor(7)[0], tensor(9)[0]
into, address, back = tensor(0)
print(space.put([b"k"], [[stored, more]])[0].name, toy.state.synchronized)
print(space.get([b"k"], [[FakeTensor((4096,)), into]])[0].name, toy.state.synchronized, set(back))
array = FakeArray(8192, address, stream=1)
print(space.put([b"l"], [array])[0].name, toy.state.synchronized)
print(space.put([b"m"], [kvpool.Segment(address, 8192, gpu=True)])[0].name, toy.state.synchronized)
pool.close()
print(toy.state.broken, toy.state.retained)
""")
        self.assertEqual(printed, ["OK", "1", "OK", "2", "{9}", "OK", "3", "OK", "3", "None", "0"])

    def test_memory_that_is_none_of_its_is_refused(self):
        printed = self.run_with_toy("""
for buffer in (FakeTensor((4096,), device=CUDA), kvpool.Segment(id(space), 8, gpu=True)):
    try:
        space.put([b"k"], [buffer])
    except kvpool.Invalid as error:
        print(str(error).replace(" ", "_"))
toy.state.lost = 1
try:
    space.put([b"k"], [tensor(1)[0]])
except kvpool.IoError as error:
    print(str(error).replace(" ", "_"))
toy.state.lost = 0
""")
        self.assertRegex(printed[0], "CUDA_does_not_know_the_address")
        self.assertRegex(printed[1], "do_not_all_lie_in_the_memory_of_one")
        self.assertRegex(printed[2], "cuStreamSynchronize_failed")

    @unittest.skipUnless(pools.DAEMON, "by a daemon: only it needs memory that can be shared")
    def test_memory_that_cannot_be_shared_is_said(self):
        printed = self.run_with_toy("""
toy.state.private_memory = 1
try:
    space.put([b"k"], [tensor(1)[0]])
except kvpool.Unsupported as error:
    print(str(error) == pool.info()["gpus"][0]["failure"], str(error).replace(" ", "_"))
""")
        self.assertEqual(printed[0], "True")
        self.assertRegex(printed[1], "expandable_segments")


if __name__ == "__main__":
    harness.main()
