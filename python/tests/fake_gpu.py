"""Arrays on a GPU: an object with __cuda_array_interface__ and nothing else; and the memory of the toy libcuda
(src/gpu/fake_cuda.cpp), which the processor cannot touch where it seems to lie."""
import ctypes
import fcntl
import mmap
import os

F_ADD_SEALS, SHRINK_AND_GROW = 1033, 6
ROOM = 2 << 20


class NullMemory:
    """2 MiB of the null GPU's: a memfd, so that a daemon can have it, too."""

    def __init__(self):
        fd = os.memfd_create("null-gpu", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, ROOM)
        fcntl.fcntl(fd, F_ADD_SEALS, SHRINK_AND_GROW)
        self._mapped = mmap.mmap(fd, ROOM)
        os.close(fd)
        self.address = ctypes.addressof((ctypes.c_ubyte * ROOM).from_buffer(self._mapped))


class FakeArray:
    """Bytes at `address`. `fields`: what is other in its interface."""

    def __init__(self, nbytes, address, **fields):
        self.memory = (ctypes.c_ubyte * nbytes).from_address(address)
        self.__cuda_array_interface__ = {
            "shape": (nbytes,), "typestr": "|u1", "strides": None, "version": 3, "stream": None,
            "data": (address, False), **fields}


class _State(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in (
        "devices", "lag", "fail_copy", "lost", "fail_streams", "retained", "streams", "events", "registered",
        "synchronized", "imported", "private_memory")] + [(name, ctypes.c_long) for name in ("copies", "batches", "unpinned")] + [
            ("registered_bytes", ctypes.c_size_t), ("broken", ctypes.c_char_p)]


class FakeCuda:
    """The toy that this process loads as libcuda.so.1, by LD_LIBRARY_PATH."""

    def __init__(self):
        self._library = ctypes.CDLL("libcuda.so.1")
        self._library.fake_cuda.restype = ctypes.POINTER(_State)
        self._library.fake_cuda_allocate.restype = ctypes.c_void_p
        self._library.fake_cuda_allocate.argtypes = [ctypes.c_size_t]
        self._library.fake_cuda_behind.restype = ctypes.c_void_p
        self._library.fake_cuda_behind.argtypes = [ctypes.c_void_p]
        self._library.fake_cuda_reset()
        self.state = self._library.fake_cuda().contents

    def allocate(self, nbytes):
        """An address on the GPU, and the bytes behind it as the test may touch them."""
        address = self._library.fake_cuda_allocate(nbytes)
        return address, (ctypes.c_ubyte * nbytes).from_address(self._library.fake_cuda_behind(address))
