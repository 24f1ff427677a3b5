"""Stand-ins for the parts of vLLM that the tier and the direct path touch, of three generations of its interface.

They let the tier's contract be tested on a real pool where vLLM is not installed. What they say of vLLM is what its
releases 0.28, 0.32 and 0.33 say; tests/engines/vllm/run tests the same tier in the real ones.
"""
import enum
import importlib
import logging
import sys
import types
from dataclasses import dataclass, field
from typing import Any

GENERATIONS = ("0.28.0", "0.32.0", "0.33.0")


class Medium(enum.Enum):
    CPU = "CPU"
    STORAGE = "STORAGE"


class Locality(enum.Enum):
    LOCAL = "LOCAL"
    REMOTE = "REMOTE"


class LookupResult(enum.Enum):
    MISS = 1
    HIT = 2
    HIT_PENDING = 3
    RETRY = 4


@dataclass
class RequestOffloadingContext:
    policy: str = "chunk_level"


@dataclass
class OffloadingEvent:
    keys: list
    medium: Medium
    removed: bool
    locality: Any = None


@dataclass
class PrepareStoreOutput:
    keys_to_store: list
    store_spec: Any
    evicted_keys: list


class BlockIDsLoadStoreSpec:
    def __init__(self, block_ids):
        self.block_ids = list(block_ids)


class GPULoadStoreSpec(BlockIDsLoadStoreSpec):
    def __init__(self, block_ids, group_sizes, block_indices):
        super().__init__(block_ids)
        self.group_sizes, self.block_indices = group_sizes, block_indices


@dataclass
class TransferResult:
    job_id: int
    success: bool
    transfer_size: Any = None
    transfer_time: Any = None


class OffloadingManager:
    """Every method that a manager may leave out, as vLLM's class has it."""

    def get_load_source(self, key, req_context):
        return "external_unspecified"

    def config_info(self):
        return [{}]

    def on_reset_flushed(self):
        return


class OffloadingWorker:
    def shutdown(self):
        return


class OffloadingSpec:
    def __init__(self, config):
        self.config, self.extra_config, self.replicated_layout = config, config.extra_config, False


@dataclass(frozen=True)
class OffloadingCounterMetadata:
    documentation: str
    labelnames: tuple = ()


@dataclass(frozen=True)
class OffloadingGaugeMetadata(OffloadingCounterMetadata):
    pass


@dataclass
class OldReqContext:
    req_id: str


@dataclass
class ReqContext:
    req_id: str
    positions: dict = field(default_factory=dict)

    def get_offload_key_position(self, key):
        return self.positions.get(key)


@dataclass
class OldTransferJob:
    job_id: int
    keys: list
    block_ids: list
    is_promotion: bool
    req_context: Any


@dataclass
class TransferJob:
    job_id: int
    keys: list
    chunk_ids: list
    is_promotion: bool
    req_context: Any


@dataclass
class OldJobResult:
    job_id: int
    success: bool
    successful_keys: Any = None
    transfer_time: Any = None


@dataclass
class JobResult(OldJobResult):
    transfer_bytes: Any = None


class OldSecondaryTierManager:
    medium = None

    def __init__(self, offloading_spec, primary_kv_view, tier_type):
        self._offloading_spec = offloading_spec
        self._primary_kv_view = primary_kv_view
        self.tier_type = tier_type
        self.locality = None


class SecondaryTierManager(OldSecondaryTierManager):
    def __init__(self, offloading_spec, primary_kv_view, tier_type, backpressure_detector=None):
        super().__init__(offloading_spec, primary_kv_view, tier_type)
        self.bp_detector = backpressure_detector


class OffloadingConnectorStats:
    """Counters, gauges and their labels, as vLLM's class takes them."""

    def __init__(self):
        self.counters, self.gauges = {}, {}

    def increase_counter(self, name, by=1, labelvalues=()):
        self.counters[name, labelvalues] = self.counters.get((name, labelvalues), 0) + by

    def set_gauge(self, name, value, labelvalues=()):
        self.gauges[name, labelvalues] = value

    def is_empty(self):
        return not self.counters and not self.gauges


@dataclass(frozen=True)
class Named:
    """Any of vLLM's configuration objects: fields by name."""
    fields: tuple

    def __getattr__(self, name):
        for key, value in object.__getattribute__(self, "fields"):
            if key == name:
                return value
        raise AttributeError(name)


def named(**fields):
    return Named(tuple(fields.items()))


def config(*, generation="0.32.0", model="llama", dtype="float16", groups=1, layout="NHD", tokens_per_block=16,
           blocks_per_chunk=1, world_size=1, sliding=(), bytes_per_block=8192, layers=2, rank=0, replicated=False,
           canonical=False, events=True, extra=()):
    """vLLM's OffloadingConfig. `sliding`: the groups that slide, which only 0.33 says."""
    made = []
    for group in range(groups):
        more = {} if generation == "0.28.0" else {"group_id": group}
        if generation == "0.33.0":
            more["sliding_window_size_in_chunks"] = 2 if group in sliding else None
        names = tuple(f"layers.{group * layers + layer}" for layer in range(layers))
        made.append(named(tokens_per_block=tokens_per_block, layer_names=names, **more))
    return named(
        groups=tuple(made), worker_kv_bytes_per_block=bytes_per_block, enable_kv_cache_events=events,
        model=named(name=model, dtype=dtype), kv_cache_layout=layout, replicated_layout=replicated,
        canonical_layout=canonical, extra_config=dict(extra),
        cache=named(tokens_per_hash=tokens_per_block, blocks_per_chunk=blocks_per_chunk),
        parallel=named(rank=rank, world_size=world_size, tp_size=world_size, pp_size=1, pcp_size=1, dcp_size=1))


def spec(events=True, **settings):
    return named(config=config(**settings), kv_events_config=named(enable_kv_cache_events=events))


def module(name, **attributes):
    made = types.ModuleType(name)
    made.__path__ = []
    for key, value in attributes.items():
        setattr(made, key, value)
    sys.modules[name] = made
    return made


def install(generation="0.32.0"):
    """Puts the stand-ins into sys.modules and gives kvpool.vllm anew, as that release of vLLM would import it."""
    for name in [n for n in sys.modules if n.split(".")[0] == "vllm" or n.startswith(("kvpool.vllm", "kvpool._vllm"))]:
        del sys.modules[name]
    old = generation == "0.28.0"
    for name in ("vllm.v1", "vllm.v1.kv_offload", "vllm.v1.kv_offload.tiering", "vllm.distributed",
                 "vllm.distributed.kv_transfer", "vllm.distributed.kv_transfer.kv_connector",
                 "vllm.distributed.kv_transfer.kv_connector.v1",
                 "vllm.distributed.kv_transfer.kv_connector.v1.offloading"):
        module(name)
    module("vllm", __version__=generation)
    module("vllm.logger", init_logger=logging.getLogger)
    module("vllm.platforms", current_platform=named(device_type="cpu"))
    base = module("vllm.v1.kv_offload.base", Medium=Medium, Locality=Locality, LookupResult=LookupResult,
                  RequestOffloadingContext=RequestOffloadingContext, OffloadingEvent=OffloadingEvent,
                  OffloadingCounterMetadata=OffloadingCounterMetadata, OffloadingGaugeMetadata=OffloadingGaugeMetadata,
                  PrepareStoreOutput=PrepareStoreOutput, BlockIDsLoadStoreSpec=BlockIDsLoadStoreSpec,
                  TransferResult=TransferResult, OffloadingManager=OffloadingManager, OffloadingWorker=OffloadingWorker,
                  OffloadingSpec=OffloadingSpec)
    sys.modules["vllm.v1.kv_offload"].base = base
    module("vllm.v1.kv_offload.tiering.base", JobResult=OldJobResult if old else JobResult,
           SecondaryTierManager=OldSecondaryTierManager if old else SecondaryTierManager)
    module("vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics",
           OffloadingConnectorStats=OffloadingConnectorStats)
    return importlib.import_module("kvpool.vllm")
