"""What SGLang 0.5.23 has of the names that kvpool.sglang uses, and host pools in plain memory."""
import ctypes
import enum
import importlib.metadata
import sys
import types
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from unittest import mock

VERSION = "0.5.23"


class HiCacheStorage(ABC):
    def register_mem_pool_host(self, mem_pool_host):
        self.mem_pool_host = mem_pool_host

    def register_mem_host_pool_v2(self, host_pool, host_pool_name):
        self.registered_pools = {**getattr(self, "registered_pools", {}), host_pool_name: host_pool}

    @abstractmethod
    def get(self, key, target_location=None, target_sizes=None): ...

    @abstractmethod
    def batch_get(self, keys, target_locations=None, target_sizes=None): ...

    @abstractmethod
    def set(self, key, value=None, target_location=None, target_sizes=None): ...

    @abstractmethod
    def batch_set(self, keys, values=None, target_locations=None, target_sizes=None): ...

    @abstractmethod
    def exists(self, key): ...


class PoolName(str, enum.Enum):
    KV, SWA, MAMBA, INDEXER = "kv", "swa", "mamba", "indexer"

    def __str__(self):
        return self.value


class PoolHitPolicy(str, enum.Enum):
    ALL_PAGES, TRAILING_PAGES, BLOCK_GROUPS = "all_pages", "trailing_pages", "block_groups"


@dataclass
class PoolTransfer:
    name: PoolName
    host_indices: object = None
    keys: list = None
    hit_policy: PoolHitPolicy = PoolHitPolicy.ALL_PAGES


@dataclass
class PoolTransferResult:
    kv_hit_pages: int
    extra_pool_hit_pages: dict
    restorable_prefix_pages: list = None

    @classmethod
    def empty(cls):
        return cls(0, {})


@dataclass
class ExtraInfo:
    prefix_keys: list = None


@dataclass
class Config:
    tp_rank: int = 0
    tp_size: int = 1
    pp_rank: int = 0
    pp_size: int = 1
    attn_cp_rank: int = 0
    attn_cp_size: int = 1
    is_mla_model: bool = False
    model_name: str = "model"
    dp_rank: int = 0
    dcp_size: int = 1
    dcp_rank: int = 0
    extra_config: dict = field(default_factory=dict)


class Indices:
    """Of torch.Tensor what a host pool's indices need."""

    def __init__(self, values):
        self.values = list(values)

    def __len__(self):
        return len(self.values)

    def tolist(self):
        return list(self.values)


class Page:
    """Of torch.Tensor what a page needs: bytes at an address."""

    def __init__(self, nbytes, contiguous=True):
        self.memory, self.whole = (ctypes.c_ubyte * nbytes)(), contiguous

    def is_contiguous(self):
        return self.whole

    def contiguous(self):
        return self

    def data_ptr(self):
        return ctypes.addressof(self.memory)

    def numel(self):
        return len(self.memory)

    def element_size(self):
        return 1


class HostPool:
    """[keys and values, ...] in one buffer, in the order of `layout`; a token's KV of a layer is `width` bytes."""
    dtype = "torch.bfloat16"

    def __init__(self, layout="page_first_direct", pages=16, page_size=4, layers=3, width=64, addresses=True):
        self.layout, self.page_size, self.addresses = layout, page_size, addresses
        self.layers, self.width = layers, width
        self.tokens = pages * page_size
        self.kv_buffer = Page(2 * layers * self.tokens * width)

    def pieces(self, slot):
        """(offset, bytes) of each run of the page that begins with this slot."""
        half, page = self.layers * self.tokens * self.width, self.page_size * self.width
        if self.layout == "layer_first":
            return [(kv * half + (layer * self.tokens + slot) * self.width, page)
                    for layer in range(self.layers) for kv in (0, 1)]
        return [(kv * half + slot * self.layers * self.width, page * self.layers) for kv in (0, 1)]

    def get_page_buffer_meta(self, indices):
        if not self.addresses:
            raise ValueError("this layout has no addresses")
        pieces = [one for slot in indices.tolist()[::self.page_size] for one in self.pieces(slot)]
        base = self.kv_buffer.data_ptr()
        return [base + offset for offset, _ in pieces], [size for _, size in pieces]

    def get_data_page(self, slot, flat=True):
        page = self.get_dummy_flat_data_page()
        page.memory[:] = self.read(slot)
        return page

    def get_dummy_flat_data_page(self):
        return Page(2 * self.layers * self.page_size * self.width)

    def set_from_flat_data_page(self, slot, page):
        self.write(slot, bytes(page.memory))

    def read(self, slot):
        return b"".join(bytes(self.kv_buffer.memory[at:at + size]) for at, size in self.pieces(slot))

    def write(self, slot, data):
        for at, size in self.pieces(slot):
            self.kv_buffer.memory[at:at + size], data = data[:size], data[size:]


def module(version=VERSION):
    """kvpool.sglang on these stand-ins, imported anew."""
    names = ("sglang", "sglang.srt", "sglang.srt.mem_cache", "sglang.srt.mem_cache.hicache_storage")
    modules = {name: types.ModuleType(name) for name in names}
    for one in (HiCacheStorage, PoolName, PoolHitPolicy, PoolTransfer, PoolTransferResult):
        setattr(modules[names[-1]], one.__name__, one)
    sys.modules.pop("kvpool.sglang", None)
    with mock.patch.dict(sys.modules, modules), mock.patch.object(importlib.metadata, "version", lambda name: version):
        import kvpool.sglang  # pylint: disable=import-outside-toplevel
        return sys.modules["kvpool.sglang"]
