"""What the extension has: the pool, its spaces, channels and memory. The rest of the package is typed where it stands."""
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from kvpool._types import Block, Buffer, Status

class Segment:
    """Raw memory by address, for engines that hand out pointers. `owner` is kept alive with it. `gpu`: the address is
    of a GPU's memory, and nobody waits for what is under way there: what a put reads is final, and what a get writes
    is not in use, when the request is submitted. Immutable."""
    @property
    def address(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def owner(self) -> object: ...
    @property
    def gpu(self) -> bool: ...
    def __init__(self, address: int, nbytes: int, owner: object = None, gpu: bool = False) -> None: ...

class Pool:
    """Threads: any."""
    @staticmethod
    def open(config: str | os.PathLike[str], *, create: bool = False) -> "Pool":
        """Opens the pool of a pool file (its path). In one process, a second open of the same file gives the
        same pool: it closes with its last handle. `create`: make it first where nothing is there."""
    @staticmethod
    def create(config: str | os.PathLike[str]) -> None:
        """Makes the files and the catalog that a pool file names. Raises Exists where something is there."""
    def space(self, *, model: str, dtype: str = "", layout: str = "", layer_group: str = "", rank: str = "",
              engine: str = "", tenant_salt: str = "", owner: str = "", layers: int = 1) -> "Space":
        """Opens the space of blocks that agree in all of this. A block is `layers` equal runs of bytes, layer 0
        first; 1 where that is unknown. `owner`: a tenant of the daemon's; empty: the client's own."""
    def channel(self) -> "Channel": ...
    def allocate(self, nbytes: int, *, numa_node: int = -1, shareable: bool = False) -> "Memory":
        """2 MiB-aligned memory for transfers without a copy (buffer protocol, DLPack via memoryview). `shareable`: a
        memfd, which other processes can map by Memory.fileno(); a daemon's client gets nothing else."""
    def register(self, buffer: Buffer) -> "Registration":
        """Prepares the caller's memory; keep the result for as long as it is used."""
    def info(self) -> dict[str, Any]:
        """What the pool and its devices hold, do and did, by name: the fields of PoolInfo in kvpool/pool.h."""
    def close(self) -> None:
        """Idempotent. Channels and spaces of this handle raise Cancelled afterwards."""
    def __enter__(self) -> "Pool": ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None: ...

class Memory:
    """Writable bytes: memoryview(memory), numpy.frombuffer(memory), torch.frombuffer(memory, dtype=...). It may
    outlive its pool: then it is memory like any other."""
    @property
    def description(self) -> str:
        """What it is made of, such as "hugepages, locked"."""
    @property
    def nbytes(self) -> int: ...
    def fileno(self) -> int:
        """Of shareable memory: its memfd, sealed at nbytes, for other processes to map; closed with the memory.
        Raises Unsupported where it is private."""
    def __buffer__(self, flags: int) -> memoryview: ...

class Registration:
    """The caller's memory, prepared until it is released or collected; keeps the buffer alive."""
    def release(self) -> None:
        """Lets go of the memory, when no request uses it any more. Idempotent."""

class Space:
    """A namespace: bytes put under another spec are never found. Threads: any; the blocking calls release the GIL
    and run side by side. They give a Status for each key, and raise for the request as a whole."""
    def match(self, keys: Sequence[bytes | str]) -> int:
        """How many leading keys are present; in memory, no side effect, never blocks."""
    def contains(self, keys: Sequence[bytes | str]) -> list[bool]: ...
    def put(self, keys: Sequence[bytes | str], blocks: Sequence[Block], *, ordinal: int | None = None,
            parent: bytes | str = b"", durable: bool = False, background: bool = False,
            deadline: float | None = None) -> list[Status]:
        """`background`: behind all that others ask for, in the time that they leave; for prefetching and warming up."""
    def get(self, keys: Sequence[bytes | str], into: Sequence[Block], *, background: bool = False,
            deadline: float | None = None) -> list[Status]: ...
    def drop(self, keys: Sequence[bytes | str], *, deadline: float | None = None) -> list[Status]: ...
    def flush(self, keys: Sequence[bytes | str] = (), *, deadline: float | None = None) -> list[Status]: ...

class Completion:
    """One finished request."""
    @property
    def id(self) -> int: ...
    @property
    def results(self) -> list[Status]:
        """One a key; of a flush without keys, one."""
    @property
    def user(self) -> object: ...
    @property
    def block_bytes(self) -> list[int]:
        """Gets: the stored length of each key that is OK, else 0. Other requests: empty."""
    @property
    def layers_ready(self) -> int:
        """Gets: the space's layers. Other requests: 0."""

class Channel:
    """Asynchronous requests. Buffers and keys are kept alive until the completion is polled; leave the buffers
    alone until then. Every request completes exactly once. Threads: any, one call at a time; wait() may go on
    meanwhile."""
    def submit_put(self, space: Space, keys: Sequence[bytes | str], blocks: Sequence[Block], *,
                   ordinal: int | None = None,
                   parent: bytes | str = b"", durable: bool = False, background: bool = False,
                   deadline: float | None = None, user: object = None) -> int: ...
    def submit_get(self, space: Space, keys: Sequence[bytes | str], into: Sequence[Block], *, background: bool = False,
                   deadline: float | None = None, user: object = None) -> int: ...
    def submit_drop(self, space: Space, keys: Sequence[bytes | str], *, deadline: float | None = None,
                    user: object = None) -> int: ...
    def submit_flush(self, space: Space, keys: Sequence[bytes | str] = (), *, deadline: float | None = None,
                     user: object = None) -> int: ...
    def poll(self, limit: int = 256) -> list[Completion]:
        """Does not wait."""
    def wait(self, timeout: float | None = None) -> bool:
        """True when poll() has something, False after `timeout` seconds. Releases the GIL."""
    def layers_ready(self, request: int) -> int:
        """Of a get that is in flight: how many leading layers of all its keys are in place."""
    def fileno(self) -> int:
        """An eventfd, readable when poll() has something."""
    @property
    def in_flight(self) -> int:
        """Requests that were submitted and not polled yet."""
    def close(self) -> None:
        """Waits for what is in flight, and forgets it. Idempotent."""
    def __enter__(self) -> "Channel": ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None: ...
