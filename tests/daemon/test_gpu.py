"""Clients' memory on a GPU, which memfds play: what is forged is refused, and who dies in the middle harms nobody."""
import mmap
import os
import signal
import struct
import unittest

from harness import Raw, WatchedTest, wait_for
from test_hostile import GET, INVALID, MIB, PUT, REMOVE_REGION, Liar, region

ADD_GPU_REGION = 10
NOT_FOUND = 1


def question(bytes_=2 * MIB, gpu=b"null"):
    return struct.pack("<Q72s64x", bytes_, gpu)


class GpuLiar(Liar):
    """With memory on the GPU beside."""

    def __init__(self, path):
        super().__init__(path)
        self.fd = region()
        status, answer, _ = self.ask(ADD_GPU_REGION, question(), [self.fd])
        assert status == 0, status
        self.gpu, self.gpu_memory = struct.unpack("<II", answer)[0], mmap.mmap(self.fd, 2 * MIB)

    def __exit__(self, *_):
        os.close(self.fd)
        super().__exit__()


class GpuTest(WatchedTest):
    more = '[[gpu]]\nname = "toy"\nkind = "null"\nbandwidth = "20MB/s"\n'

    def put(self, liar, bytes_=65536):
        """A block, out of the GPU's memory."""
        stored = os.urandom(bytes_)
        liar.gpu_memory[0:bytes_] = stored
        liar.arguments(segment_region=liar.gpu, bytes_=bytes_)
        liar.submit(0, id_=0, kind=PUT)
        self.assertEqual(liar.status(0), 0)
        liar.gpu_memory[0:bytes_] = bytes(bytes_)
        liar.set_counter(256, 1)
        return stored

    def test_an_honest_one_is_served(self):  # the control of all others here
        with GpuLiar(self.daemon.socket) as liar:
            stored = self.put(liar)
            liar.arguments(segment_region=liar.gpu, offset=2 * MIB - 65536)
            liar.submit(1, id_=1 << 32, kind=GET)
            self.assertEqual(liar.status(1), 0)
            self.assertEqual(liar.gpu_memory[2 * MIB - 65536:], stored)

    def test_bad_offsets_and_regions_are_invalid(self):
        with GpuLiar(self.daemon.socket) as liar:
            lies = [({"segment_region": liar.gpu, **one}, {}) for one in (
                dict(offset=2 * MIB), dict(offset=2 * MIB - 65535), dict(offset=2**64 - 1), dict(bytes_=2**64 - 1))]
            # Arguments in the GPU's memory, where the daemon's processor must not look.
            lies.append((dict(segment_region=liar.gpu), dict(region_=liar.gpu)))
            self.assertEqual(liar.ask(REMOVE_REGION, struct.pack("<II", liar.gpu, 0))[0], 0)
            lies.append((dict(segment_region=liar.gpu), {}))
            for position, (arguments, record) in enumerate(lies):
                liar.arguments(**arguments)
                liar.submit(position, id_=position << 32, kind=PUT, **record)
                self.assertEqual(liar.status(position), INVALID, (arguments, record))
                liar.set_counter(256, position + 1)

    def test_arguments_there_are_invalid_while_it_is_open(self):
        with GpuLiar(self.daemon.socket) as liar:
            liar.arguments(segment_region=liar.gpu)
            liar.gpu_memory[0:64] = liar.regions[0][1][0:64]
            liar.submit(0, id_=0, kind=PUT, region_=liar.gpu)
            self.assertEqual(liar.status(0), INVALID)

    def test_what_is_forged_is_refused(self):
        with Raw(self.daemon.socket) as raw:
            raw.hello()
            lies = [(region(sealed=False), question()), (region(), question(4 * MIB)), (region(MIB), question(MIB)),
                    (region(), question(0)), (region(), question(2**64 - 2 * MIB)), (region(), question()[:-1]),
                    (os.open("/dev/zero", os.O_RDWR), question()), (os.open("/dev/null", os.O_RDWR), question())]
            for fd, asked in lies:
                self.assertNotEqual(raw.ask(ADD_GPU_REGION, asked, [fd])[0], 0)
                os.close(fd)
            fd = region()
            for name in (b"", b"toy", b"GPU-0", b"x" * 72):
                self.assertEqual(raw.ask(ADD_GPU_REGION, question(gpu=name), [fd])[0], NOT_FOUND)
            self.assertEqual(raw.ask(ADD_GPU_REGION, question())[0], INVALID)  # no descriptor
            self.assertIsNone(raw.ask(ADD_GPU_REGION, question(), [fd, fd]))
            os.close(fd)

    def test_one_that_is_killed_in_the_middle_of_a_copy(self):
        memory = region()
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                with GpuLiar(self.daemon.socket) as liar:
                    self.put(liar, MIB)
                    liar.ask(ADD_GPU_REGION, question(), [memory])
                    liar.arguments(segment_region=liar.gpu + 1, bytes_=MIB)
                    liar.submit(1, id_=1 << 32, kind=GET)
                    while struct.unpack("<I", liar.memory[64:68])[0] < 2:
                        pass  # it is taken; the copy takes 50 ms
                    os.write(tell, b"x")
                    signal.pause()
            finally:
                os._exit(1)
        os.close(tell)
        self.assertEqual(os.read(ready, 1), b"x")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        # What was under way ends; only then is the memory let go of.
        self.assert_leaves_nothing(self.before)
        with mmap.mmap(memory, 2 * MIB) as mapped:
            wait_for("the last byte", lambda: mapped[MIB - 64:MIB] != bytes(64))
        os.close(memory)
        os.close(ready)


if __name__ == "__main__":
    unittest.main()
