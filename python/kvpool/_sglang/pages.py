"""The pages of one of SGLang's host pools as blocks of a space."""
import array
import hashlib
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

import kvpool

STORED = (kvpool.Status.OK, kvpool.Status.EXISTS, kvpool.Status.DECLINED)

_log = logging.getLogger("kvpool.sglang")


def page_bytes(tensor: Any) -> kvpool.Segment:
    """A page that SGLang hands over as a tensor, of whatever dtype, by its address."""
    if not tensor.is_contiguous():
        raise kvpool.Invalid("a page is not contiguous: kvpool.sglang cannot read or fill it in place")
    return kvpool.Segment(tensor.data_ptr(), tensor.numel() * tensor.element_size(), tensor)


class Pages:
    """Moves pages between a host pool and the device. Two ways, each with a space of its own, since they order bytes
    otherwise: `direct`, by the addresses that get_page_buffer_meta gives, and through flat copies of pages where a
    pool or layout has no addresses, or SGLang itself copies.

    Threads: any; the calls wait for the pool with the GIL released.
    """

    def __init__(self, host_pool: Any, direct: bool, open_space: Callable[[str, str], kvpool.Space],
                 deadline: float | None) -> None:
        """`open_space` takes dtype and layout."""
        self.host_pool, self._deadline = host_pool, deadline
        self.page_size = getattr(host_pool, "page_size", 1) or 1
        #: SGLang allocates slots by it and keeps no bytes in it (DeepSeek V4): there is nothing to store.
        self.logical = (getattr(host_pool, "kv_buffer", self) is None
                        and not hasattr(host_pool, "get_hybrid_pool_buffer"))
        sizes = self._first_page() if direct and not self.logical else None
        self.direct = sizes is not None
        layout = f"{getattr(host_pool, 'layout', 'flat')}-{self.page_size}"
        if sizes is not None:
            layout += f"-{len(sizes)}-{hashlib.sha256(repr(sizes).encode()).hexdigest()[:16]}"
        else:
            layout += "-flat"
        self.space = open_space(str(getattr(host_pool, "dtype", "")).removeprefix("torch."), layout)

    def get(self, keys: Sequence[str], host_indices: Any) -> list[bool]:
        if self.logical or not keys:
            return [True] * len(keys)
        if self.direct:
            results = self.space.get(keys, self._blocks(keys, host_indices), deadline=self._deadline)
            return [result == kvpool.Status.OK for result in results]
        starts = self._starts(keys, host_indices)
        pages = [self.host_pool.get_dummy_flat_data_page() for _ in keys]
        results = self.space.get(keys, [page_bytes(page) for page in pages], deadline=self._deadline)
        for start, page, result in zip(starts, pages, results):
            if result == kvpool.Status.OK:
                self.host_pool.set_from_flat_data_page(start, page)
        return [result == kvpool.Status.OK for result in results]

    def put(self, keys: Sequence[str], host_indices: Any, prefix: Sequence[str] | None = None) -> list[bool]:
        """`prefix`: the keys before these, from the sequence's start; None if these are no chain."""
        if self.logical or not keys:
            return [True] * len(keys)
        if self.direct:
            blocks: list[Any] = self._blocks(keys, host_indices)
        else:
            blocks = [page_bytes(self.host_pool.get_data_page(start, flat=True).contiguous())
                      for start in self._starts(keys, host_indices)]
        chain = {} if prefix is None else {"ordinal": len(prefix), "parent": prefix[-1] if prefix else b""}
        results = self.space.put(keys, blocks, deadline=self._deadline, **chain)
        return [result in STORED for result in results]

    def _first_page(self) -> list[int] | None:
        """The sizes of a page's pieces; None where the pool gives no addresses."""
        torch = sys.modules.get("torch")
        indices = torch.arange(self.page_size) if torch else array.array("q", range(self.page_size))
        try:
            meta = self.host_pool.get_page_buffer_meta(indices)
        except (AttributeError, NotImplementedError, ValueError) as error:
            _log.info("%s gives no addresses of pages (%s): they are copied", type(self.host_pool).__name__, error)
            return None
        return None if not meta else [int(size) for size in meta[1]]

    def _blocks(self, keys: Sequence[str], host_indices: Any) -> list[list[kvpool.Segment]]:
        self._starts(keys, host_indices)
        addresses, sizes = self.host_pool.get_page_buffer_meta(host_indices)
        pieces = [kvpool.Segment(address, size, self.host_pool) for address, size in zip(addresses, sizes)]
        if len(sizes) != len(addresses) or len(pieces) % len(keys):
            raise kvpool.Invalid(f"{len(addresses)} addresses and {len(sizes)} sizes for {len(keys)} pages")
        each = len(pieces) // len(keys)
        return [pieces[at:at + each] for at in range(0, len(pieces), each)]

    def _starts(self, keys: Sequence[str], host_indices: Any) -> list[int]:
        """The first token slot of each page."""
        slots = [] if host_indices is None else host_indices.tolist()
        if len(slots) != len(keys) * self.page_size:
            raise kvpool.Invalid(f"{len(slots)} host slots for {len(keys)} pages of {self.page_size} tokens")
        return slots[::self.page_size]
