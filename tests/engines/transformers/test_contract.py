"""What kvpool.transformers promises, on a real pool with stand-ins for models and caches."""
import logging
import subprocess
import sys
import unittest

import kvpool
import pools
import standin
from kvpool._transformers import chain
from kvpool.transformers import PrefixStore
from standin import DynamicCache, Ids, Model, OlderModel

BLOCK = 8
FULL, HYBRID, WINDOW = (None, None), (20, None, 20), 20


class StoreTest(pools.FolderTest):
    def setUp(self):
        super().setUp()
        logging.getLogger("kvpool.transformers").setLevel(logging.CRITICAL)
        standin.install()

    def open(self, options=pools.WITH_CATALOG, capacity="64MiB"):
        file = pools.write(self.folder, pools.disk(capacity), settings=f'unit = "32KiB"\n{options}')
        self.pool = kvpool.Pool.open(file, create=True)
        self.addCleanup(self.pool.close)
        return self.pool

    def filled(self, store, model, tokens, cache=None):
        cache = store.new_cache() if cache is None else cache
        model(Ids(tokens), **{store.keyword: cache})
        return cache

    def assert_computed(self, cache, tokens):
        """The cache is what the model would have made of these tokens."""
        for number, layer in enumerate(cache.layers):
            self.assertEqual(layer.get_seq_length(), len(tokens))
            window = getattr(layer, "sliding_window", None)
            first = 0 if window is None else max(0, len(tokens) - window + 1)
            for name, tensor in (("k", layer.keys), ("v", layer.values)):
                expected = [standin.key_value(tuple(tokens[:end + 1]), number, name)
                            for end in range(first, len(tokens))]
                self.assertEqual(tensor.tokens(), expected, f"layer {number}, {name}")

    def damage(self, model_tokens, layer=0):
        """Turns one bit of the stored key of the last of these tokens."""
        stored = standin.key_value(tuple(model_tokens), layer, "k")[0]
        pools.turn_bit(self.path(pools.DISK), stored)


class Prefixes(StoreTest):
    def test_the_longest_stored_prefix_comes_back(self):
        pool = self.open()
        for windows in (FULL, HYBRID, (20, 20), (17, None, 5), (2, None), (200, None)):
            model = Model(windows)
            store = PrefixStore(pool, model, block_tokens=BLOCK)
            tokens = list(range(61))
            self.assertEqual(store.save(Ids(tokens), self.filled(store, model, tokens)), 56)
            for length, restored in ((61, 56), (57, 56), (56, 48), (33, 32), (9, 8), (8, 0), (1, 0), (0, 0)):
                cache = store.new_cache()
                self.assertEqual(store.match(Ids(tokens[:length])), restored)
                self.assertEqual(store.restore(Ids(tokens[:length]), cache), restored, (windows, length))
                if restored:
                    self.assert_computed(cache, tokens[:restored])
                else:
                    self.assertFalse(any(layer.is_initialized for layer in cache.layers))
            other = tokens[:20] + [7] + tokens[21:]
            cache = store.new_cache()
            self.assertEqual(store.restore(other, cache), 16, "block 2 is of other tokens")
            self.assert_computed(cache, tokens[:16])

    def test_a_restored_cache_goes_on_and_is_saved_again(self):
        pool, model, tokens = self.open(), Model(HYBRID), list(range(90))
        store = PrefixStore(pool, model, block_tokens=BLOCK)
        store.save(tokens[:40], self.filled(store, model, tokens[:40]))
        cache = store.new_cache()
        self.assertEqual(store.restore(tokens, cache), 40)
        cache.seen = tokens[:40]
        self.filled(store, model, tokens[40:], cache)
        self.assertEqual(store.save(tokens, cache), 88)
        self.assert_computed(cache, tokens)
        again = store.new_cache()
        self.assertEqual(store.restore(tokens, again), 88)
        self.assert_computed(again, tokens[:88])

    def test_a_cache_that_keeps_windows_alone_is_stored_where_a_block_ends(self):
        pool, model, tokens = self.open(), Model(HYBRID), list(range(61))
        store = PrefixStore(pool, model, block_tokens=BLOCK)
        plain = self.filled(store, model, tokens, DynamicCache(model.config))
        self.assertEqual(store.save(tokens, plain), 0, "token 36 is gone, and a prefix of 56 tokens needs it")
        plain = self.filled(store, model, tokens[:48], DynamicCache(model.config))
        self.assertEqual(store.save(tokens[:48], plain), 48)
        for length, restored in ((49, 48), (61, 56)):  # 56: the two together hold tokens 37 to 55
            cache = DynamicCache(model.config)
            self.assertEqual(store.restore(tokens[:length], cache), restored)
            self.assert_computed(cache, tokens[:restored])
        self.assertEqual(store.restore(tokens[:48], DynamicCache(model.config)), 0, "the window before 40 is not there")

    def test_a_new_pool_handle_finds_it(self):
        model, tokens = Model(HYBRID), list(range(61))
        pool = self.open()
        store = PrefixStore(pool, model, block_tokens=BLOCK)
        store.save(tokens, self.filled(store, model, tokens))
        pool.close()
        store, cache = PrefixStore(self.open(), model, block_tokens=BLOCK), DynamicCache(model.config)
        self.assertEqual(store.restore(tokens, cache), 56)
        self.assert_computed(cache, tokens[:56])

    def test_sliding_needs_by_hand(self):
        self.assertEqual(chain.Tail.of(7, 8, 19), chain.Tail(4, 3))  # tokens 37 to 55: three of block 4, 5 and 6
        self.assertEqual(chain.Tail.of(7, 8, 16), chain.Tail(5, 8))
        self.assertEqual(chain.Tail.of(2, 8, 19), chain.Tail(0, 8))
        self.assertEqual(chain.Tail.of(7, 8, 1), chain.Tail(6, 1))


class FromTheBeginning:
    """A space in which sliding blocks are chained as full ones are."""

    def __init__(self, space):
        self._space = space

    def __getattr__(self, name):
        return getattr(self._space, name)

    def put(self, keys, blocks, **options):
        return self._space.put(keys[::-1], blocks[::-1], **options)


class Eviction(StoreTest):
    """A pool of 128 slots, filled over its brim by other prompts."""

    BLOCKS = 40

    def survivors(self, windows, wrap=lambda space: space):
        """The blocks of a prompt that are left, and how many of its tokens come back."""
        pool, model, tokens = self.open(capacity="4MiB"), Model(windows), list(range(self.BLOCKS * BLOCK + 1))
        store, keys = PrefixStore(pool, model, block_tokens=BLOCK), chain.block_keys(tokens, BLOCK)
        space = store._spaces[0]
        store._spaces[0] = wrap(space)
        self.assertEqual(store.save(tokens, self.filled(store, model, tokens)), self.BLOCKS * BLOCK)
        for number in range(130):
            other = [1000 + number] * BLOCK
            store.save(other, self.filled(store, model, other))
        kept = [index for index, found in enumerate(space.contains(keys)) if found]
        self.assertGreater(len(kept), 0)
        self.assertLess(len(kept), self.BLOCKS, "nothing was evicted: this test shows nothing")
        return kept, store.restore(tokens, store.new_cache())

    def test_full_attention_keeps_its_beginning(self):
        kept, restored = self.survivors(FULL)
        self.assertEqual(kept, list(range(len(kept))))
        self.assertEqual(restored, len(kept) * BLOCK)

    def test_a_sliding_window_keeps_its_end(self):
        kept, restored = self.survivors((WINDOW,))
        self.assertEqual(kept, list(range(self.BLOCKS - len(kept), self.BLOCKS)))
        self.assertEqual(restored, self.BLOCKS * BLOCK, "what lies behind the window is not needed")

    def test_and_would_not_if_it_were_chained_from_its_beginning(self):
        kept, restored = self.survivors((WINDOW,), FromTheBeginning)
        self.assertEqual(kept, list(range(len(kept))))
        self.assertLess(restored, self.BLOCKS * BLOCK)


class Wrong(StoreTest):
    def stored(self, windows, options=pools.WITH_CATALOG):
        model, tokens = Model(windows), list(range(61))
        store = PrefixStore(self.open(options), model, block_tokens=BLOCK)
        store.save(tokens, self.filled(store, model, tokens))
        return store, tokens

    def test_a_wrong_byte_costs_the_blocks_behind_it(self):
        store, tokens = self.stored(FULL)
        self.damage(tokens[:30])  # in block 3
        cache = store.new_cache()
        self.assertEqual(store.restore(tokens, cache), 24)
        self.assert_computed(cache, tokens[:24])

    def test_a_wrong_byte_of_a_sliding_layer_costs_the_windows_it_is_in(self):
        store, tokens = self.stored(HYBRID)
        self.damage(tokens[:50])  # in block 6, of windows at 56 and later
        cache = store.new_cache()
        self.assertEqual(store.restore(tokens, cache), 48)
        self.assert_computed(cache, tokens[:48])

    def test_unverified_the_wrong_byte_comes_through(self):
        store, tokens = self.stored(FULL, pools.UNVERIFIED)
        self.damage(tokens[:30])
        cache = store.new_cache()
        self.assertEqual(store.restore(tokens, cache), 56)
        with self.assertRaises(AssertionError):
            self.assert_computed(cache, tokens[:56])

    def test_a_pool_that_is_gone_restores_nothing(self):
        store, tokens = self.stored(HYBRID)
        full = self.filled(store, Model(HYBRID), tokens)
        self.assertEqual(store.match(tokens), 56)
        self.pool.close()
        self.assertEqual((store.match(tokens), store.restore(tokens, store.new_cache()), store.save(tokens, full)),
                         (0, 0, 0))
        self.assert_computed(full, tokens)


class Namespaces(StoreTest):
    def test_what_differs_misses(self):
        pool, model, tokens = self.open(), Model(FULL), list(range(61))
        store = PrefixStore(pool, model, block_tokens=BLOCK, weights="w@1")
        store.save(tokens, self.filled(store, model, tokens))
        for changed in ({"weights": "w@2"}, {"weights": None}, {"rank": "1"}, {"tenant_salt": "t"},
                        {"block_tokens": 4}):
            other = PrefixStore(pool, model, **{"block_tokens": BLOCK, "weights": "w@1", **changed})
            self.assertEqual(other.match(tokens), 0, changed)
        self.assertEqual(PrefixStore(pool, Model((None,) * 3), block_tokens=BLOCK, weights="w@1").match(tokens), 0)
        self.assertEqual(PrefixStore(pool, Model(FULL), block_tokens=BLOCK, weights="w@1").match(tokens), 56)


class BadInput(StoreTest):
    def test_one_sentence_each(self):
        pool, model = self.open(), Model(HYBRID)
        store = PrefixStore(pool, model, block_tokens=BLOCK)
        filled, foreign = self.filled(store, model, range(9)), DynamicCache(standin.Config((None, 20)))
        for error, words, call in (
                (ValueError, "block_tokens is 0", lambda: PrefixStore(pool, model, block_tokens=0)),
                (ValueError, "restore into an empty one", lambda: store.restore([1, 2], filled)),
                (ValueError, "layer 0 of the cache is not", lambda: store.restore([1, 2], foreign)),
                (ValueError, "2 sequences", lambda: store.restore([[1, 2], [3, 4]], store.new_cache())),
                (TypeError, "pass the cache once", lambda: store.save([1])),
                (TypeError, "pass the cache once", lambda: store.restore([1], filled, past_key_values=filled)),
                (kvpool.Unsupported, "StaticLayer",
                 lambda: PrefixStore(pool, Model((None,), full_layer=standin.StaticLayer)))):
            with self.assertRaisesRegex(error, words):
                call()

    def test_both_names_of_the_cache(self):
        pool = self.open()
        for model, keyword in ((Model(FULL), "cache"), (OlderModel(FULL), "past_key_values")):
            store, tokens = PrefixStore(pool, model, block_tokens=BLOCK), list(range(20))
            self.assertEqual(store.keyword, keyword)
            store.save(tokens, past_key_values=self.filled(store, model, tokens))
            self.assertEqual(store.restore(tokens, past_key_values=store.new_cache()), 16)

    def test_releases_outside_the_tested_range(self):
        pool = self.open()
        for version in ("4.57.0", "5.18.2", "5.25.0", "6.0.0"):
            standin.install(version)
            with self.assertRaisesRegex(ImportError, f"tested with transformers .* this is {version}: install"):
                PrefixStore(pool, Model(FULL))
        for version in ("5.19.0", "5.24.1.dev0"):
            standin.install(version)
            PrefixStore(pool, Model(FULL))

    def test_importing_imports_no_engine(self):
        code = "import sys, kvpool.transformers; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", code], check=False).returncode, 0)


if __name__ == "__main__":
    unittest.main()
