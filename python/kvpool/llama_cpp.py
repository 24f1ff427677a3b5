"""Prefixes of llama.cpp sequences in a pool, chunk by chunk, by llama.cpp's public C API (llama-cpp-python 0.3.36):

    llama = kvpool.llama_cpp.load("model.gguf", n_ctx=32768)
    store = kvpool.llama_cpp.PrefixStore(kvpool.Pool.open("pool.toml", create=True), llama)
    store.restore(tokens)      # the leading chunks of the prompt that are in the pool
    llama.create_completion(tokens)
    store.save()               # the chunks that are not

Importing this module imports neither llama_cpp nor libllama.
"""
import functools
import logging
import os
from collections.abc import Sequence
from typing import Any

import kvpool
from kvpool._llama_cpp import names
from kvpool._llama_cpp.library import Context
from kvpool._llama_cpp.staging import Staging
from kvpool._releases import Releases, installed

_RELEASES = Releases("kvpool.llama_cpp", "llama-cpp-python", "llama-cpp-python", "0.3.36", "0.3.36", RuntimeError)

_log = logging.getLogger(__name__)


def load(model_path: str | os.PathLike[str], **options: Any) -> Any:
    """A llama_cpp.Llama(model_path, **options) whose context has a second sequence in the same KV cache: chunks pass
    through it. It takes no memory of its own. For a model with sliding layers leave swa_full True, so that every
    chunk still has them when it is saved."""
    _RELEASES.require(installed("llama-cpp-python"))
    return _llama_class()(os.fspath(model_path), **options)


@functools.cache
def _llama_class() -> type:
    import llama_cpp

    class Llama(llama_cpp.Llama):
        """llama_cpp.Llama has no argument for these two parameters, and sets them in its constructor."""

        @property
        def context_params(self) -> Any:
            return self._context_params

        @context_params.setter
        def context_params(self, params: Any) -> None:
            params.n_seq_max = 2
            params.kv_unified = True
            self._context_params = params

    return Llama


class PrefixStore:
    """Saves and restores what leads a sequence, in chunks of `chunk_tokens` tokens.

    A chunk is found again where all tokens up to its end are the same, and the space is: model, types of K and V,
    flash attention, RoPE parameters, chunk size, version of llama.cpp's sequence state. What the pool cannot bring
    back intact is missing, and computed again by llama.cpp. A pool that fails or is closed costs the hits, no more.

    Threads: the llama's, one at a time. Ownership: pool and llama stay the caller's, and have to outlive it."""

    def __init__(self, pool: kvpool.Pool, llama: Any, *, chunk_tokens: int = 256, model: str = "", kv: str = "",
                 namespace: str = "", staging_bytes: int = 64 << 20) -> None:
        """`llama`: a llama_cpp.Llama as load() makes it, or (library, context): a ctypes.CDLL or path of libllama, and
        the address of a llama_context with n_seq_max >= 2 and kv_unified. Its last sequence is taken for transfers.

        `model`: name and revision. Of a Llama the default is the SHA-256 of the model's files, which reads them.
        `kv`: with a pair only: types of K and V, flash attention, and whatever else changes the KV.
        `namespace`: keeps apart what must not be shared and would be, such as tenants.
        `staging_bytes`: pool memory between llama.cpp and the pool; at least two chunks.

        Raises ValueError where llama or an argument will not do, RuntimeError outside the tested versions."""
        if chunk_tokens < 1:
            raise ValueError(f"kvpool.llama_cpp: chunks of {chunk_tokens} tokens: give 1 or more, such as 256")
        self._llama = None if isinstance(llama, tuple) else llama
        if self._llama is not None:
            _RELEASES.require(installed("llama-cpp-python"))
            import llama_cpp
            self._context = Context(llama_cpp.llama_cpp._lib, llama.ctx)
            model, kv = model or names.of_model(llama), names.kv_type(llama.context_params) + kv
            parameters = names.of_llama(llama)
        else:
            if not model or not kv:
                raise ValueError("kvpool.llama_cpp: a bare context does not tell what it computes: give model (name "
                                 "and revision) and kv (types of K and V, flash attention), or a llama_cpp.Llama")
            self._context, parameters = Context(*llama), ""
        self._chunk = chunk_tokens
        self._space = pool.space(**names.space(self._context, chunk_tokens, model=model, kv=kv, parameters=parameters,
                                               namespace=namespace))
        self._staging = Staging(pool, self._space, staging_bytes)
        self._last_complaint = ""

    def restore(self, tokens: Sequence[int], seq: int = 0) -> int:
        """Makes the sequence what the pool has of `tokens`: the longest run of leading chunks that leaves at least one
        token to compute. Returns how many tokens; go on with tokens[that:]. What the sequence held before is gone;
        but a Llama that holds as much of `tokens` already is left as it is. A Llama's own record of its tokens (seq 0)
        is kept in step. 0: nothing was found."""
        tokens = self._checked(tokens, seq)
        held = len(self._held(tokens)) if seq == 0 else 0
        keys = names.keys(tokens[:self._context.tokens_max], self._chunk)
        found = self._find(keys[:(len(tokens) - 1) // self._chunk])
        if len(found) * self._chunk <= held:
            if held == 0:
                self._clear(seq)
            return min(held, len(tokens) - 1)
        self._clear(seq)
        restored = self._usable(self._load(found, seq)) * self._chunk
        self._context.remove(seq, restored, -1)
        if self._llama is not None and seq == 0:
            self._llama.input_ids[:restored] = tokens[:restored]
            self._llama.n_tokens = restored
        return restored

    def save(self, tokens: Sequence[int] | None = None, seq: int = 0) -> int:
        """Stores the full chunks of what the sequence holds and the pool does not. `tokens`: what the sequence was
        computed from; a Llama knows it. Returns how many tokens were stored now. Raises ValueError where a chunk is
        too large for the pool."""
        if tokens is None:
            if self._llama is None or seq != 0:
                raise ValueError("kvpool.llama_cpp: only a Llama knows its tokens: give save() those of the sequence")
            tokens = self._llama.input_ids[:self._llama.n_tokens].tolist()
        tokens = self._checked(tokens, seq)
        if self._llama is not None and seq == 0:
            tokens = self._held(tokens)
        keys = names.keys(tokens[:self._context.last(seq) + 1], self._chunk)
        try:
            chunks = self._unsaved(keys, seq)
            results = self._staging.store(len(chunks), functools.partial(self._take, chunks, keys, seq))
        except kvpool.Error as error:
            self._complain(f"chunks could not be saved: {error}")
            return 0
        finally:
            self._context.remove(self._context.scratch)
        if kvpool.Status.INVALID in results:
            raise ValueError(f"kvpool.llama_cpp: a chunk of {self._chunk} tokens is larger than a block of the pool "
                             "can be: give a smaller chunk_tokens, or the pool file a larger unit")
        return self._chunk * sum(result == kvpool.Status.OK for result in results)

    def close(self) -> None:
        """Lets go of the pool. Idempotent."""
        self._staging.close()

    def __enter__(self) -> "PrefixStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _checked(self, tokens: Sequence[int], seq: int) -> list[int]:
        if not 0 <= seq < self._context.sequences or seq == self._context.scratch:
            raise ValueError(f"kvpool.llama_cpp: no sequence {seq} to save or restore: there are "
                             f"{self._context.sequences}, and the last one is used for transfers")
        return [int(token) for token in tokens]

    def _held(self, tokens: list[int]) -> list[int]:
        """The leading tokens that a Llama has computed already."""
        if self._llama is None:
            return []
        own = self._llama.input_ids[:min(len(tokens), self._llama.n_tokens)].tolist()
        return tokens[:next((at for at, (a, b) in enumerate(zip(own, tokens)) if a != b), len(own))]

    def _clear(self, seq: int) -> None:
        self._context.remove(seq)
        if self._llama is not None and seq == 0:
            self._llama.n_tokens = 0

    # --- chunks with and without their sliding layers ---

    def _find(self, keys: list[bytes]) -> list[bytes]:
        """What the pool has of the longest prefix that may be restored: one key a chunk. A token behind it sees all of
        the full layers, and of the sliding ones the last window only; the first chunk in it may be there in part."""
        lacking = [key + names.LACKING for key in keys] if self._context.window else []
        try:
            has_whole, has_lacking = self._space.contains(keys), self._space.contains(lacking)
        except kvpool.Error as error:
            self._complain(f"chunks could not be looked up: {error}")
            return []
        found, usable, run = [], 0, 0  # `run`: where the run of whole chunks begins
        for count, key in enumerate(keys, 1):
            if not has_whole[count - 1] and not (lacking and has_lacking[count - 1]):
                break
            found.append(key if has_whole[count - 1] else lacking[count - 1])
            run = run if has_whole[count - 1] else count
            seen = max(0, count * self._chunk - self._context.window + 1) // self._chunk
            usable = count if run <= min(seen + 1, count - 1) else usable
        return found[:usable]

    def _usable(self, firsts: list[int]) -> int:
        """Of loaded chunks, by the first position of each that sliding layers have: how many leading ones hold all that
        a token behind them sees."""
        usable = begin = 0  # `begin`: from there on the sliding layers have no gap
        for at, first in enumerate(firsts, 1):
            end = at * self._chunk
            begin = begin if first == end - self._chunk else first
            seen = max(0, end - self._context.window + 1) if self._context.window else 0
            if begin <= seen and begin < end:
                usable = at
        return usable

    def _is_whole(self, index: int) -> bool:
        """Whether the chunk in the scratch sequence has all that sliding layers keep of one that ends with it."""
        begin, end, scratch = index * self._chunk, (index + 1) * self._chunk, self._context.scratch
        needed = max(begin, end - self._context.window) if self._context.window else begin
        return self._context.last(scratch) == end - 1 and 0 <= self._context.first(scratch) <= needed

    # --- transfers ---

    def _load(self, found: list[bytes], seq: int) -> list[int]:
        """Appends chunks to the sequence. Of each that came: its first position, with sliding layers theirs, or its end
        where they have none of it."""
        scratch, firsts = self._context.scratch, []
        try:
            for address, nbytes in self._staging.blocks(found):
                end = (len(firsts) + 1) * self._chunk
                if not self._context.write(scratch, address, nbytes):
                    self._complain("llama.cpp did not take a chunk: its KV cache has no room, or the chunk is foreign")
                    break
                first, last = self._context.first(scratch), self._context.last(scratch)
                if (first, last) != (-1, -1) and not (end - self._chunk <= first and last == end - 1):
                    self._complain("a chunk has other positions than its own: give model and kv that tell models apart")
                    break
                self._context.share(scratch, seq)
                self._context.remove(scratch)
                firsts.append(end if first < 0 else first)
        except kvpool.Error as error:
            self._complain(f"chunks could not be restored: {error}")
        self._context.remove(scratch)
        return firsts

    def _unsaved(self, keys: list[bytes], seq: int) -> list[tuple[int, bytes]]:
        """(index, key) of what the sequence holds and the pool does not."""
        has_whole = self._space.contains(keys)
        has_lacking = self._space.contains([key + names.LACKING for key in keys])
        chunks = []
        for index, key in enumerate(keys):
            if has_whole[index]:
                continue
            self._share(index, seq)
            if self._is_whole(index):
                chunks.append((index, key))
            elif not self._context.window:
                break  # the sequence does not hold what the caller says
            elif not has_lacking[index]:
                chunks.append((index, key + names.LACKING))
        return chunks

    def _take(self, chunks: list[tuple[int, bytes]], keys: list[bytes], seq: int, at: int, room: Any) -> Any:
        """For Staging.store: one chunk, from the sequence to the slot."""
        index, key = chunks[at]
        self._share(index, seq)
        nbytes = self._context.size(self._context.scratch)
        address = room(nbytes)
        if address is None:
            raise ValueError(f"kvpool.llama_cpp: a chunk of {self._chunk} tokens has {nbytes} bytes: give a smaller "
                             "chunk_tokens")
        if self._context.read(self._context.scratch, address, nbytes) != nbytes:
            return None
        return key, index, keys[index - 1] if index else b"", nbytes

    def _share(self, index: int, seq: int) -> None:
        """Makes the scratch sequence one chunk of the sequence."""
        self._context.remove(self._context.scratch)
        self._context.share(seq, self._context.scratch, index * self._chunk, (index + 1) * self._chunk)

    def _complain(self, sentence: str) -> None:
        """Once, until something else is wrong."""
        if sentence != self._last_complaint:
            self._last_complaint = sentence
            _log.warning("kvpool: %s", sentence)
