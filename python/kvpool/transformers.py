"""kvpool for transformers: the caches of prompts in a pool, by prefix.

    store = PrefixStore(pool, model)
    cache = store.new_cache()
    n = store.restore(input_ids, cache)             # leading tokens that need not be computed
    out = model(input_ids[:, n:], **{store.keyword: cache})
    store.save(input_ids, cache)

docs/engines.md says more. Importing this module imports neither transformers nor torch.
"""
import inspect
import logging
import weakref
from typing import Any

import kvpool
from kvpool._releases import Releases
from kvpool._transformers import chain, layers, names

__all__ = ["PrefixStore"]

_RELEASES = Releases("kvpool.transformers", "transformers", "transformers", "5.19", "5.24")
_log = logging.getLogger(__name__)
_ATTEMPTS = 3  # a block may go between match and get, and so may another one of the shorter prefix
_ENGINE = "transformers-1"  # grows when other bytes are stored under the same keys


class PrefixStore:
    """Saves and restores the caches of one model, `block_tokens` tokens at a time.

    Layers of one shape form a group with a space of its own; a prefix is restored when all its blocks of full
    attention are there, and of sliding layers those of the last window. Blocks are found again by models of the same
    configuration and weights, dtype, `rank` (of tensor parallelism) and `tenant_salt`, and by no other.

    Threads: any, each with caches of its own. What concerns the pool is never raised: it is logged, and nothing is
    restored or saved; `deadline` (seconds, of each request; None: the pool's) bounds how long that takes.
    """

    def __init__(self, pool: kvpool.Pool, model: Any, *, block_tokens: int = 64, weights: str | None = None,
                 rank: str = "", tenant_salt: str = "", deadline: float | None = None) -> None:
        """Runs the model once, on one token, to see the shapes of its cache.

        `weights` names the weights, such as "repository@revision", instead of a fingerprint of them. Raises
        ImportError outside the tested releases, Unsupported for layers that are neither full nor sliding attention.
        """
        import transformers  # pylint: disable=import-outside-toplevel
        _RELEASES.require(transformers.__version__)  # what a layer keeps changes between releases
        if block_tokens < 1:
            raise ValueError(f"block_tokens is {block_tokens}: a block has 1 token or more, 64 is a good start")
        self.block_tokens, self._model, self._deadline = block_tokens, model, deadline
        self._new_cache = lambda: transformers.DynamicCache(config=model.config)
        parameters = inspect.signature(model.forward).parameters
        #: The name under which the model takes a cache: "cache", or "past_key_values" in older releases.
        self.keyword: str = "cache" if "cache" in parameters else "past_key_values"
        self._groups = self._look()
        model_name = names.model_name(model, weights)
        self._spaces = [
            pool.space(model=model_name, dtype=group.dtype, rank=rank, engine=_ENGINE, tenant_salt=tenant_salt,
                       layout=f"heads{group.heads}-dims{group.dims[0]}.{group.dims[1]}-tokens{block_tokens}",
                       layer_group=group.name, layers=len(group.layers))
            for group in self._groups]
        self._recording: weakref.WeakSet[Any] = weakref.WeakSet()

    def new_cache(self) -> Any:
        """An empty DynamicCache for the model. Sliding layers keep every token until it is saved: so any prefix of
        it can be stored, not only the one that ends where the prompt does."""
        cache = self._new_cache()
        if any(group.kept is not None for group in self._groups):
            cache.activate_past_recording()
            self._recording.add(cache)
        return cache

    def match(self, input_ids: Any) -> int:
        """How many leading tokens restore() would bring back now, at least one less than there are. Looks into
        memory only."""
        try:
            return self._match(self._keys(input_ids)) * self.block_tokens
        except kvpool.Error as error:
            return self._gave_up("looked up", error)

    def restore(self, input_ids: Any, cache: Any = None, *, past_key_values: Any = None) -> int:
        """Fills an empty cache with the longest stored prefix of `input_ids` ([n] or [1, n]); the number of its
        tokens. At least one token is left to compute. 0 leaves the cache as it was."""
        cache = self._one_of(cache, past_key_values)
        if cache.get_seq_length():
            raise ValueError(f"the cache holds {cache.get_seq_length()} tokens: restore into an empty one, such as "
                             "PrefixStore.new_cache()")
        self._expect_layers(cache)
        keys = self._keys(input_ids)
        try:
            for _ in range(_ATTEMPTS):
                blocks = self._match(keys)
                if not blocks:
                    break
                tensors = [self._get(number, keys[:blocks]) for number in range(len(self._groups))]
                if all(tensors):
                    for group, one in zip(self._groups, tensors):
                        layers.fill(cache, group, one, blocks * self.block_tokens)
                    return blocks * self.block_tokens
        except kvpool.Error as error:
            return self._gave_up("restored", error)
        return 0

    def save(self, input_ids: Any, cache: Any = None, *, past_key_values: Any = None) -> int:
        """Stores the whole blocks of `input_ids` ([n] or [1, n]) that the cache holds and the pool does not. Returns
        for how many leading tokens a restore finds everything now.

        The cache stays usable; the sliding layers of one that new_cache() made are cut to their window."""
        cache = self._one_of(cache, past_key_values)
        self._expect_layers(cache)
        tokens = chain.token_list(input_ids)[:cache.get_seq_length()]
        keys = chain.block_keys(tokens, self.block_tokens)
        try:
            for number, group in enumerate(self._groups):
                self._put(number, keys, self._tensors(cache, group), cache.get_seq_length())
            blocks = self._match(keys)
        except kvpool.Error as error:
            return self._gave_up("saved", error)
        finally:
            self._cut(cache)
        if keys and not blocks and any(group.kept is not None for group in self._groups):
            _log.info("no prefix of %d tokens can be restored: sliding layers no longer hold the window before a "
                      "block's end; use PrefixStore.new_cache(), which keeps it until it is saved", len(tokens))
        return blocks * self.block_tokens

    def _look(self) -> list[layers.Group]:
        cache = self._new_cache()
        ids = self._model.dummy_inputs["input_ids"][:1, :1]
        if hasattr(ids, "to"):
            ids = ids.to(self._model.device)
        self._model(input_ids=ids, use_cache=True, **{self.keyword: cache})
        groups = layers.groups_of(cache)
        if not groups:
            raise kvpool.Unsupported("the model put nothing into its cache: kvpool.transformers needs a decoder that "
                                     "uses one")
        return groups

    @staticmethod
    def _one_of(cache: Any, past_key_values: Any) -> Any:
        if (cache is None) == (past_key_values is None):
            raise TypeError("pass the cache once, as cache= or, with older releases' name, as past_key_values=")
        return past_key_values if cache is None else cache

    def _expect_layers(self, cache: Any) -> None:
        for group in self._groups:
            for number in group.layers:
                layer = cache.layers[number] if number < len(cache.layers) else None
                if layer is None or getattr(layer, "sliding_window", None) != group.window:
                    raise ValueError(f"layer {number} of the cache is not the model's {group.name}: make the cache by "
                                     "PrefixStore.new_cache() or DynamicCache(config=model.config)")
                if layer.is_initialized and (layer.keys.shape[0] != 1 or layer.keys.dtype != group.like[0].dtype):
                    raise ValueError(f"layer {number} of the cache holds {layer.keys.shape[0]} sequences of "
                                     f"{layer.keys.dtype}: one of {group.like[0].dtype} can be stored")

    def _keys(self, input_ids: Any) -> list[bytes]:
        """Of the blocks that leave a token to compute."""
        return chain.block_keys(chain.token_list(input_ids)[:-1], self.block_tokens)

    def _match(self, keys: list[bytes]) -> int:
        hit, sliding = len(keys), []
        for space, group in zip(self._spaces, self._groups):
            if group.kept is None:
                hit = min(hit, space.match(keys))
        for space, group in zip(self._spaces, self._groups):
            if group.kept is not None and hit:
                found = space.contains([*keys[:hit], *map(chain.tail_key, keys[:hit])])
                sliding.append(chain.Stored(group.kept, found[:hit], found[hit:]))
        return chain.longest(hit, self.block_tokens, sliding)

    def _get(self, number: int, keys: list[bytes]) -> list[tuple[Any, Any]] | None:
        """The tensors of a group for the prefix of `keys`, or of its last window; None if a block is not to be had."""
        space, group, size = self._spaces[number], self._groups[number], self.block_tokens
        first, skipped = 0, 0
        if group.kept is not None:
            need = chain.Tail.of(len(keys), size, group.kept)
            first = need.first
            if not space.contains([keys[first]])[0]:
                skipped = size - need.tokens
        wanted = keys[first:]
        tensors = layers.allocate(group, len(wanted) * size)
        blocks = [layers.block(tensors, index * size + (0 if index else skipped), (index + 1) * size)
                  for index in range(len(wanted))]
        if skipped:
            wanted = [chain.tail_key(wanted[0]), *wanted[1:]]
        results = space.get(wanted, blocks, deadline=self._deadline)
        return tensors if all(result == kvpool.Status.OK for result in results) else None

    def _tensors(self, cache: Any, group: layers.Group) -> list[tuple[Any, Any]]:
        chosen = [cache.layers[number] for number in group.layers]
        if not all(layer.is_initialized for layer in chosen):
            return []
        return [(layers.in_memory(layer.keys), layers.in_memory(layer.values)) for layer in chosen]

    def _put(self, number: int, keys: list[bytes], tensors: list[tuple[Any, Any]], cached: int) -> None:
        """Stores what a group holds of the blocks of `keys`; `cached`: the tokens that went through the cache."""
        space, group, size = self._spaces[number], self._groups[number], self.block_tokens
        if not tensors or not keys:
            return
        start = cached - tensors[0][0].shape[2]  # the token that the tensors begin with
        if group.kept is None:
            stored = space.match(keys)
            blocks = [layers.block(tensors, index * size, (index + 1) * size) for index in range(stored, len(keys))]
            if blocks:
                space.put(keys[stored:], blocks, ordinal=stored, parent=keys[stored - 1] if stored else b"",
                          deadline=self._deadline)
            return
        # Last block first: what lies behind the window is then the end of its chain, which is evicted first.
        names_, blocks = [], []
        for index in range(len(keys) - 1, -1, -1):
            if index * size < start:
                break
            names_.append(keys[index])
            blocks.append(layers.block(tensors, index * size - start, (index + 1) * size - start))
        need = chain.Tail.of(len(keys), size, group.kept)
        begin = (need.first + 1) * size - need.tokens
        if need.first * size < start <= begin and need.tokens < size:
            names_.append(chain.tail_key(keys[need.first]))
            blocks.append(layers.block(tensors, begin - start, begin - start + need.tokens))
        if blocks:
            space.put(names_, blocks, ordinal=0, deadline=self._deadline)

    def _cut(self, cache: Any) -> None:
        if cache not in self._recording:
            return
        self._recording.discard(cache)
        for group in self._groups:
            for number in group.layers if group.kept is not None else ():
                layer = cache.layers[number]
                layer.record_past = False
                if layer.is_initialized:
                    layer.keys, layer.values = layer.keys[:, :, -group.kept:, :], layer.values[:, :, -group.kept:, :]

    @staticmethod
    def _gave_up(what: str, error: kvpool.Error) -> int:
        _log.warning("nothing was %s: %s", what, error)
        return 0
