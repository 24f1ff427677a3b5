"""The layers of a cache as groups of equal geometry, and their tokens as segments of the pool's blocks."""
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import kvpool

_FULL, _SLIDING = "DynamicLayer", "DynamicSlidingWindowLayer"


@dataclass
class Group:
    """Layers that keep tensors of one shape. Their keys and values are [1, heads, tokens, dim]."""
    name: str           # of the space: "full-0", "sliding128-1"
    window: int | None  # tokens that a layer sees, its own included; None: all
    heads: int
    dims: tuple[int, int]  # of keys, of values
    dtype: str
    layers: list[int] = field(default_factory=list)
    like: list[Any] = field(default_factory=list)  # of each layer: an empty tensor of its dtype and device

    @property
    def kept(self) -> int | None:
        """Tokens that a layer keeps for the next one."""
        return None if self.window is None else self.window - 1


def _kind(layer: Any) -> int | None:
    """The window of a layer, None where it sees everything."""
    kind = type(layer).__name__
    if kind == _FULL:
        return None
    if kind == _SLIDING and layer.sliding_window > 1:
        return layer.sliding_window
    raise kvpool.Unsupported(f"a cache layer is a {kind}: kvpool.transformers stores {_FULL} and {_SLIDING}, which "
                             "DynamicCache(config=model.config) is made of")


def groups_of(cache: Any) -> list[Group]:
    """The groups of a cache that has seen a token. Layers that share another's keys keep nothing: they are in none."""
    groups: dict[tuple[Any, ...], Group] = {}
    for number, layer in enumerate(cache.layers):
        if not layer.is_initialized:
            continue
        window, keys, values = _kind(layer), layer.keys, layer.values
        heads, dims = keys.shape[1], (keys.shape[3], values.shape[3])
        if heads != values.shape[1] or keys.dtype != values.dtype:
            raise kvpool.Unsupported(f"layer {number} has keys of {heads} heads and {keys.dtype}, and values of "
                                     f"{values.shape[1]} and {values.dtype}: such layers cannot be stored")
        dtype = str(keys.dtype).removeprefix("torch.")
        what = (window, heads, dims, dtype)
        if what not in groups:
            kind = "full" if window is None else f"sliding{window}"
            groups[what] = Group(f"{kind}-{len(groups)}", window, heads, dims, dtype)
        groups[what].layers.append(number)
        groups[what].like.append(keys.new_empty((0,)))
    return list(groups.values())


def in_memory(tensor: Any) -> Any:
    """The tensor itself if the pool can read it where it lies: on the host, a token's values side by side."""
    if tensor.device.type != "cpu":
        tensor = tensor.to("cpu")
    stride = tensor.stride()
    if stride[3] != 1 or stride[2] != tensor.shape[3]:
        tensor = tensor.contiguous()
    return tensor


def segments(tensor: Any, begin: int, end: int) -> Iterator[kvpool.Segment]:
    """The bytes of tokens begin to end, head by head. Nothing is copied; the tensor stays alive with them."""
    item, stride = tensor.element_size(), tensor.stride()
    address, step = tensor.data_ptr() + begin * stride[2] * item, stride[1] * item
    nbytes = (end - begin) * tensor.shape[3] * item
    return (kvpool.Segment(address + head * step, nbytes, tensor) for head in range(tensor.shape[1]))


def block(tensors: list[tuple[Any, Any]], begin: int, end: int) -> list[kvpool.Segment]:
    """One block of a group: for each layer its keys, then its values."""
    return [one for pair in tensors for tensor in pair for one in segments(tensor, begin, end)]


def allocate(group: Group, tokens: int) -> list[tuple[Any, Any]]:
    """Keys and values on the host for each layer of a group, not filled."""
    shape = (1, group.heads, tokens)
    return [tuple(like.new_empty((*shape, dim), device="cpu") for dim in group.dims) for like in group.like]


def fill(cache: Any, group: Group, tensors: list[tuple[Any, Any]], tokens: int) -> None:
    """Makes a group's layers what they are after `tokens` tokens, of which `tensors` hold the last ones."""
    for number, like, pair in zip(group.layers, group.like, tensors):
        keys, values = (tensor.to(like.device) if like.device.type != "cpu" else tensor for tensor in pair)
        layer = cache.layers[number]
        layer.lazy_initialization(keys, values)
        if group.kept is not None:
            keys, values = keys[:, :, -group.kept:, :], values[:, :, -group.kept:, :]
            layer.cumulative_length = tokens
        layer.keys, layer.values = keys, values
