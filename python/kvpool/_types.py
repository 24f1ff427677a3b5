"""What became of a key, as a number and as an exception."""
import enum
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias


class Status(enum.IntEnum):
    """What became of one key of a request. The numbers are those of the library."""
    OK = 0
    NOT_FOUND = 1
    EXISTS = 2
    NO_SPACE = 3
    INVALID = 4
    BUSY = 5
    TIMED_OUT = 6
    CANCELLED = 7
    IO_ERROR = 8
    CORRUPT = 9
    UNSUPPORTED = 10
    DECLINED = 11
    FORBIDDEN = 12


class Error(Exception):
    """Base of one exception a Status: NotFound, Exists, NoSpace, ... str() is one sentence that says what to do."""
    status: Status


class NotFound(Error):
    """Absent or evicted, or stored bytes that could not be brought back intact."""
    status = Status.NOT_FOUND


class Exists(Error):
    """It is stored already, and stays as it is."""
    status = Status.EXISTS


class NoSpace(Error):
    """No room, even after evicting what may go."""
    status = Status.NO_SPACE


class Invalid(Error, ValueError):
    """An argument or a pool file breaks a rule; nothing was done."""
    status = Status.INVALID


class Busy(Error):
    """Too much in flight, or in use by another process."""
    status = Status.BUSY


class TimedOut(Error, TimeoutError):
    """The deadline passed."""
    status = Status.TIMED_OUT


class Cancelled(Error):
    """The pool or the channel is closed."""
    status = Status.CANCELLED


class IoError(Error, OSError):
    """A device failed. `errno` has the system's number where there is one."""
    status = Status.IO_ERROR


class Corrupt(Error):
    """Bytes are not the ones that were stored."""
    status = Status.CORRUPT


class Unsupported(Error):
    """This machine, kernel, build or process cannot do it."""
    status = Status.UNSUPPORTED


class Declined(Error):
    """Not stored, by the pool's admission policy; a later put may be taken."""
    status = Status.DECLINED


class Forbidden(Error):
    """The space is another tenant's: it may be read and not changed."""
    status = Status.FORBIDDEN


class SupportsDLPack(Protocol):
    """A tensor of any library that speaks DLPack."""

    def __dlpack__(self, *, stream: Any = ...) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...


# One run of bytes: C-contiguous; writable where a get delivers. A tensor goes through DLPack, without a copy; an array on
# a GPU without DLPack through __cuda_array_interface__.
Buffer: TypeAlias = Any  # bytes-like | SupportsDLPack | Segment
# A block is the concatenation of its segments; every key of a request has the same number of them.
Block: TypeAlias = Buffer | Sequence[Buffer]

EXCEPTIONS = {error.status: error for error in (
    NotFound, Exists, NoSpace, Invalid, Busy, TimedOut, Cancelled, IoError, Corrupt, Unsupported, Declined,
    Forbidden)}

_SENTENCES = {
    Status.NOT_FOUND: "is not in the pool: compute it, or ask match() first",
    Status.EXISTS: "is stored already and was left as it is: drop it first to put other bytes",
    Status.NO_SPACE: "found no room: add a device to the pool file, or drop blocks",
    Status.INVALID: "breaks a limit: keys have 1 to 512 bytes, and a get needs buffers as long as the block",
    Status.BUSY: "came while too much was in flight: poll, then submit again",
    Status.TIMED_OUT: "was not done by its deadline: give it a longer one, or see Pool.info() for a slow device",
    Status.CANCELLED: "was cancelled because the pool is closing: open it again",
    Status.IO_ERROR: "met a device that failed: Pool.info() says which",
    Status.CORRUPT: "is not what was stored: `kvpool check` says where",
    Status.UNSUPPORTED: "asks for what this pool cannot do: durable puts and flushes need a catalog in the pool file",
    Status.DECLINED: "was not admitted by the pool's policy: put it again when it is seen again",
    Status.FORBIDDEN: "is in another tenant's space: put it into one of your own",
}


def check(results: Iterable[Status]) -> None:
    """Raises the first result that is not OK as its exception."""
    for index, result in enumerate(results):
        if result != Status.OK:
            raise EXCEPTIONS[Status(result)](f"key {index} of the request {_SENTENCES[result]}")
