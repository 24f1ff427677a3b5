"""What transformers 5.24 has of the names that kvpool.transformers uses, in plain memory: a model whose keys and values
are functions of the tokens before, and the cache that it fills."""
import ctypes
import hashlib
import sys
import types

HEADS, DIM = 2, 16


class Device:
    type = "cpu"


class Tensor:
    """[1, heads, tokens, dim] of two-byte values at an address: of torch.Tensor what the store needs."""

    def __init__(self, shape, dtype="torch.bfloat16", memory=None, begin=0, stride=None):
        self.shape, self.dtype, self.device, self._begin = tuple(shape), dtype, Device, begin
        size = 2
        for one in shape:
            size *= one
        self._memory = memory if memory is not None else (ctypes.c_ubyte * size)()
        if stride is None and len(shape) == 4:
            stride = (shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1)
        self._stride = stride

    def element_size(self):
        return 2

    def data_ptr(self):
        return ctypes.addressof(self._memory) + self._begin

    def stride(self):
        return self._stride

    def new_empty(self, shape, device=None):
        del device
        return Tensor(shape, self.dtype)

    def contiguous(self):
        copy = Tensor(self.shape, self.dtype)
        for token in range(self.shape[2]):
            copy.set(token, self.token(token))
        return copy

    def __getitem__(self, index):
        begin, end, _ = index[2].indices(self.shape[2])
        shape = (*self.shape[:2], max(0, end - begin), self.shape[3])
        return Tensor(shape, self.dtype, self._memory, self._begin + 2 * begin * self._stride[2], self._stride)

    def _at(self, token, head):
        return self._begin + 2 * (head * self._stride[1] + token * self._stride[2])

    def token(self, token):
        return [bytes(self._memory[self._at(token, h):self._at(token, h) + 2 * self.shape[3]])
                for h in range(self.shape[1])]

    def set(self, token, heads):
        for head, data in enumerate(heads):
            self._memory[self._at(token, head):self._at(token, head) + len(data)] = data

    def tokens(self):
        return [self.token(token) for token in range(self.shape[2])]


class DynamicLayer:
    def __init__(self):
        self.is_initialized, self.keys, self.values = False, None, None

    def lazy_initialization(self, keys, values):
        del values
        self.dtype, self.is_initialized = keys.dtype, True

    def get_seq_length(self):
        return self.keys.shape[2] if self.is_initialized else 0

    def append(self, keys, values):
        """Lists of tokens, each a list of heads."""
        for name, new in (("keys", keys), ("values", values)):
            old = getattr(self, name).tokens() if self.is_initialized else []
            tensor = Tensor((1, HEADS, len(old) + len(new), DIM))
            for number, token in enumerate(old + new):
                tensor.set(number, token)
            setattr(self, name, tensor)
        if not self.is_initialized:
            self.lazy_initialization(self.keys, self.values)


class DynamicSlidingWindowLayer(DynamicLayer):
    def __init__(self, sliding_window):
        super().__init__()
        self.sliding_window, self.cumulative_length, self.record_past = sliding_window, 0, False

    def get_seq_length(self):
        return self.cumulative_length

    def append(self, keys, values):
        super().append(keys, values)
        self.cumulative_length += len(keys)
        if not self.record_past:
            begin = max(0, self.keys.shape[2] - self.sliding_window + 1)
            self.keys, self.values = self.keys[:, :, begin:, :], self.values[:, :, begin:, :]


class StaticLayer(DynamicLayer):
    pass


class DynamicCache:
    def __init__(self, config):
        self.layers = [DynamicSlidingWindowLayer(window) if window else config.full_layer()
                       for window in config.windows]

    def get_seq_length(self):
        return self.layers[0].get_seq_length()

    def activate_past_recording(self):
        for layer in self.layers:
            if isinstance(layer, DynamicSlidingWindowLayer):
                layer.record_past = True


class Config:
    model_type = "standin"

    def __init__(self, windows, full_layer=DynamicLayer):
        self.windows, self.full_layer = windows, full_layer

    def to_dict(self):
        return {"windows": self.windows, "transformers_version": "any"}


def key_value(tokens, layer, what):
    """What a model computes for the last of these tokens."""
    seed = repr((tokens, layer, what)).encode()
    return [hashlib.shake_256(seed + bytes([head])).digest(2 * DIM) for head in range(HEADS)]


class Ids:
    """Of a tensor of token ids, [1, n]."""

    def __init__(self, tokens):
        self.values = list(tokens)

    def tolist(self):
        return [list(self.values)]

    def __getitem__(self, index):
        return Ids(self.values[index[1]])


class Model:
    def __init__(self, windows, **options):
        self.config = Config(windows, **options)
        self.dummy_inputs = {"input_ids": Ids([0, 1])}

    def named_parameters(self):
        return iter(())

    def forward(self, input_ids=None, cache=None, use_cache=None):
        del use_cache
        seen = getattr(cache, "seen", [])
        new = input_ids.tolist()[0]
        for number, layer in enumerate(cache.layers):
            upto = [tuple(seen + new[:index + 1]) for index in range(len(new))]
            layer.append([key_value(one, number, "k") for one in upto], [key_value(one, number, "v") for one in upto])
        cache.seen = seen + new

    __call__ = forward


class OlderModel(Model):
    def forward(self, input_ids=None, past_key_values=None, use_cache=None):  # pylint: disable=arguments-differ
        Model.forward(self, input_ids, past_key_values, use_cache)

    __call__ = forward


def install(version="5.24.0"):
    module = types.ModuleType("transformers")
    module.__version__, module.DynamicCache = version, DynamicCache
    sys.modules["transformers"] = module
