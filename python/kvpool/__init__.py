"""kvpool: all memory and drives of a server as one place for KV caches."""
import atexit

from kvpool._native import (Channel, Completion, Memory, Pool, Registration, Segment, Space, _close_everything)
from kvpool._types import (Block, Buffer, Busy, Cancelled, Corrupt, Declined, Error, Exists, Forbidden, Invalid,
                           IoError, NoSpace, NotFound, Status, SupportsDLPack, TimedOut, Unsupported, check)

__all__ = [
    "Block", "Buffer", "Busy", "Cancelled", "Channel", "Completion", "Corrupt", "Declined", "Error", "Exists",
    "Forbidden", "Invalid", "IoError", "Memory", "NoSpace", "NotFound", "Pool", "Registration", "Segment", "Space",
    "Status", "SupportsDLPack", "TimedOut", "Unsupported", "check"]

# Before Python takes its threads down: the pool's threads and requests in flight use its memory.
atexit.register(_close_everything)
