"""kvpool as second level of LMCache, by its `native_plugin` adapter (LMCache 0.5.6, multiprocess mode):

    lmcache server --l1-size-gb 16 --eviction-policy LRU --l2-adapter '{
      "type": "native_plugin", "module_path": "kvpool.lmcache", "class_name": "PoolConnector",
      "adapter_params": {"pool": "/srv/kv/pool.toml", "create": true, "namespace": {"dtype": "bf16"}}}'

LMCache constructs one PoolConnector in its server process, submits batches from several threads and drains
completions from another. Importing this module opens nothing, and does not import LMCache.
"""
import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import kvpool
from kvpool._releases import Releases, installed

_RELEASES = Releases("kvpool.lmcache", "LMCache", "lmcache", "0.5.6", "0.5.6", RuntimeError)
LONGEST_KEY = 512
NAMESPACE = ("model", "dtype", "layout", "layer_group", "rank", "tenant_salt")
STORED = (kvpool.Status.OK, kvpool.Status.EXISTS, kvpool.Status.DECLINED)

_log = logging.getLogger(__name__)

# (id, ok, error, one result a key): what LMCache expects of drain_completions.
CompletionTuple = tuple[int, bool, str, list[bool] | None]


def _key(text: str) -> bytes:
    """The pool's key of LMCache's: its bytes, or their digest where the pool takes no key that long."""
    name = text.encode()
    return name if len(name) <= LONGEST_KEY else b"sha256:" + sha256(name).digest()


class _Batch:
    """One submitted batch, from its submit to its completion."""

    def __init__(self, number: int, kind: str, keys: Sequence[str], views: Sequence[Any]) -> None:
        self.number = number
        self.kind = kind
        self.keys = [_key(key) for key in keys]
        self.views = views
        if kind in ("set", "get") and len(keys) != len(views):
            raise ValueError(f"a batch of {len(keys)} keys came with {len(views)} buffers: give one buffer a key")


class PoolConnector:
    """What LMCache calls a native connector, on a kvpool pool.

    Every submit returns an id at once and never blocks on a device; drain_completions hands back exactly one
    completion an id, also where the pool fails (then `ok` is False and the keys are misses). A set stores what is
    absent; a get fills each buffer whose key is stored with exactly its length, and reports key by key.

    Buffers: any length, any alignment; the caller keeps them unchanged until the completion is drained. Nothing
    is copied in Python. Where address and length are multiples of 4096 (LMCache's L1 slots begin so), drives
    read and write the buffer itself; what is left at the end of a length that is none goes through staging memory.

    Processes: a pool has one owner, so every LMCache server needs a pool file of its own.
    Threads: any.
    """

    def __init__(self, pool: str | os.PathLike[str] = "", *, create: bool = False,
                 namespace: Mapping[str, str] | None = None, **unknown: Any) -> None:
        """`pool`: path of the pool file. `create`: make the pool first where nothing is there yet. `namespace`:
        what must match for stored bytes to be used beyond what LMCache's keys hold (model, ranks, object group,
        chunk hash, salt): any of model, dtype, layout, layer_group, rank, tenant_salt. Raises ValueError for parameters
        that are wrong, RuntimeError outside the tested versions, kvpool.Error where the pool does not open."""
        version = installed("lmcache")
        if version is not None:  # or it is driven by something else than LMCache
            _RELEASES.require(version)
        if unknown:
            raise ValueError(f"kvpool.lmcache: adapter_params has no '{next(iter(unknown))}': "
                             "it takes pool, create and namespace")
        if not pool:
            raise ValueError('kvpool.lmcache: adapter_params names no pool file: add "pool": "/path/of/pool.toml"')
        spec = _space_spec(namespace or {})
        self._pool = _open(pool, create)
        self._lock = threading.Lock()
        self._closed = False
        self._numbers = itertools.count(1)
        self._pending: dict[int, _Batch] = {}   # submitted, without a completion yet
        self._backlog: deque[_Batch] = deque()  # of those, the ones that the channel has no room for
        self._done: list[CompletionTuple] = []
        self._last_complaint = ""
        try:
            self._space = self._pool.space(**spec)
            self._channel = self._pool.channel()
        except BaseException:
            self._pool.close()
            raise
        self._event_fd = self._channel.fileno()

    def event_fd(self) -> int:
        """An eventfd, readable when drain_completions has something. It lives until close."""
        return self._event_fd

    def submit_batch_set(self, keys: Sequence[str], memoryviews: Sequence[Any]) -> int:
        """Stores each buffer under its key unless that is there. ok: all are stored (or were declined by the pool
        file's admission policy); results: None."""
        return self._submit("set", keys, memoryviews)

    def submit_batch_get(self, keys: Sequence[str], memoryviews: Sequence[Any]) -> int:
        """Fills writable buffers. ok: all of them; results: which. The bytes of a buffer that failed are undefined."""
        return self._submit("get", keys, memoryviews)

    def submit_batch_exists(self, keys: Sequence[str]) -> int:
        """results: which keys are stored, looked up in memory. They may be evicted before a get."""
        return self._submit("exists", keys)

    def submit_batch_delete(self, keys: Sequence[str]) -> int:
        """results: which keys were stored and are gone."""
        return self._submit("delete", keys)

    def drain_completions(self) -> list[CompletionTuple]:
        """(id, ok, error, results or None) of everything that is done; clears the eventfd. Empty after close."""
        with self._lock:
            if self._closed:
                return []
            try:
                os.eventfd_read(self._event_fd)
            except BlockingIOError:
                pass  # drained before
            try:
                self._collect()
            except Exception as error:  # the channel is of no use any more
                self._abandon(error)
            done, self._done = self._done, []
            return done

    def close(self) -> None:
        """Waits for what is in flight; makes no completions. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._backlog.clear()
            try:
                self._channel.close()
            finally:
                self._pool.close()
                self._pending.clear()

    def _submit(self, kind: str, keys: Sequence[str], views: Sequence[Any] = ()) -> int:
        with self._lock:
            if self._closed:
                raise RuntimeError("this PoolConnector is closed: make another one")
            number = next(self._numbers)
            try:
                batch = _Batch(number, kind, keys, views)
            except Exception as error:
                self._finish(number, False, _sentence(error))
                return number
            self._pending[number] = batch
            if self._backlog:
                self._backlog.append(batch)
            else:
                self._start(batch)
            return number

    def _start(self, batch: _Batch) -> bool:
        """False: the channel has no room, and the batch waits."""
        try:
            self._ask(batch)
        except kvpool.Busy:
            self._backlog.appendleft(batch)
            return False
        except Exception as error:
            self._finish(batch.number, False, _sentence(error))
        return True

    def _ask(self, batch: _Batch) -> None:
        if batch.kind == "exists":
            self._finish(batch.number, True, "", self._space.contains(batch.keys))
        elif not batch.keys:
            self._finish(batch.number, True, "", None if batch.kind == "set" else [])
        elif batch.kind == "set":
            self._channel.submit_put(self._space, batch.keys, batch.views, user=batch)
        elif batch.kind == "get":
            self._channel.submit_get(self._space, batch.keys, batch.views, user=batch)
        else:
            self._channel.submit_drop(self._space, batch.keys, user=batch)

    def _collect(self) -> None:
        while completions := self._channel.poll():
            for completion in completions:
                if completion.user is not None:
                    self._settle(completion.user, completion)
        while self._backlog and self._start(self._backlog.popleft()):
            pass

    def _settle(self, batch: _Batch, completion: kvpool.Completion) -> None:
        statuses = completion.results
        if batch.kind == "set":
            failed = next((status for status in statuses if status not in STORED), None)
            self._finish(batch.number, failed is None, _why(failed))
        elif batch.kind == "delete":
            self._finish(batch.number, True, "", [status == kvpool.Status.OK for status in statuses])
        else:
            lengths = [memoryview(view).nbytes for view in batch.views]
            loaded = [status == kvpool.Status.OK and stored == wanted
                      for status, stored, wanted in zip(statuses, completion.block_bytes, lengths)]
            failed = next((status for status, whole in zip(statuses, loaded) if not whole), None)
            error = self._drop_other_lengths(batch, completion, lengths) or _why(failed)
            self._finish(batch.number, failed is None, error, loaded)

    def _drop_other_lengths(self, batch: _Batch, completion: kvpool.Completion, lengths: Sequence[int]) -> str:
        """A block of another length than the one asked for would be found and fail to load for ever, since a set leaves
        what exists: it goes, so that the next set stores it anew. Returns what to say of that."""
        keys = [key for key, status, stored, wanted
                in zip(batch.keys, completion.results, completion.block_bytes, lengths)
                if status == kvpool.Status.INVALID or (status == kvpool.Status.OK and stored != wanted)]
        if not keys:
            return ""
        try:
            self._channel.submit_drop(self._space, keys)
        except kvpool.Busy:
            pass  # the next get tries again
        return (f"{len(keys)} blocks had another length than LMCache's buffers and were dropped: "
                "give each dtype and layout a namespace of its own")

    def _finish(self, number: int, ok: bool, error: str = "", results: list[bool] | None = None) -> None:
        self._pending.pop(number, None)
        self._done.append((number, ok, error, results))
        if error:
            self._complain(error)
        os.eventfd_write(self._event_fd, 1)

    def _abandon(self, error: Exception) -> None:
        self._backlog.clear()
        for number in list(self._pending):
            self._finish(number, False, _sentence(error))

    def _complain(self, sentence: str) -> None:
        """LMCache keeps a completion's error to itself, so it is logged here; repetitions are not."""
        if sentence != self._last_complaint:
            self._last_complaint = sentence
            _log.warning("kvpool.lmcache: %s", sentence)


def _space_spec(namespace: Mapping[str, str]) -> dict[str, str]:
    for field, value in namespace.items():
        if field not in NAMESPACE:
            raise ValueError(f"kvpool.lmcache: namespace has no '{field}': it takes {', '.join(NAMESPACE)}")
        if not isinstance(value, str):
            raise ValueError(f"kvpool.lmcache: namespace's {field} is {value!r}: write it as text")
    return {"model": "any", **namespace, "engine": "lmcache-0.5"}


def _open(pool: str | os.PathLike[str], create: bool) -> kvpool.Pool:
    try:
        return kvpool.Pool.open(pool, create=create)
    except kvpool.Busy as error:
        raise kvpool.Busy(f"{error} (a pool has one owner: give each LMCache server a pool file of its own)") from error


def _why(status: kvpool.Status | None) -> str:
    """Why a batch is not whole. A miss is no error: LMCache computes what it does not find."""
    if status in (None, kvpool.Status.OK, kvpool.Status.NOT_FOUND):
        return ""
    try:
        kvpool.check([status])
    except kvpool.Error as error:
        return str(error)
    return ""


def _sentence(error: Exception) -> str:
    return str(error) or type(error).__name__
