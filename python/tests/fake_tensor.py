"""A tensor that has DLPack and nothing else, as torch's bfloat16 has; and what may be wrong with one."""
import ctypes

CPU, CUDA, CUDA_HOST, ROCM = 1, 2, 3, 10
BFLOAT = 4


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
                ("dimensions", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
                ("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


class Managed(ctypes.Structure):
    _fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Versioned(ctypes.Structure):
    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
                ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", Tensor)]


_DESTRUCTOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class FakeTensor:
    """bfloat16 of `shape`, in memory of its own or at `address`. Counts capsules that are out."""

    def __init__(self, shape, *, strides=None, device=CPU, offset=0, version=None, read_only=False, bits=16,
                 address=None):
        self.shape, self.strides, self.device, self.version = shape, strides, device, version
        self.offset, self.read_only, self.bits = offset, read_only, bits
        count = 1
        for size in shape:
            count *= size
        room = ctypes.c_ubyte * (count * 2 + offset)
        self.memory = room() if address is None else room.from_address(address)
        self.exported = 0
        self.asked = []
        self.streams = []
        self._kept = {}

    def bytes(self):
        return bytes(self.memory)[self.offset:]

    def fill(self, data):
        self.memory[self.offset:] = data

    def __dlpack_device__(self):
        return (self.device, 0)

    def __dlpack__(self, *, stream=None, **options):
        self.asked.append(options)
        self.streams.append(stream)
        if self.version is None and "max_version" in options:
            raise TypeError("__dlpack__() got an unexpected keyword argument 'max_version'")
        ints = ctypes.c_int64 * max(1, len(self.shape))
        shape = ints(*self.shape)
        strides = ints(*self.strides) if self.strides is not None else None
        tensor = Tensor(ctypes.addressof(self.memory), self.device, 0, len(self.shape), BFLOAT, self.bits, 1, shape,
                        strides, self.offset)
        if self.version is None:
            managed, name = Managed(tensor), b"dltensor"
        else:
            managed, name = Versioned(self.version, 0, None, None, int(self.read_only), tensor), b"dltensor_versioned"
        number = len(self.asked)
        self.exported += 1

        def gone(_capsule):
            self.exported -= 1
            del self._kept[number]

        destructor = _DESTRUCTOR(gone)
        self._kept[number] = (managed, shape, strides, destructor, name)
        return _new_capsule(ctypes.addressof(managed), name, ctypes.cast(destructor, ctypes.c_void_p))
