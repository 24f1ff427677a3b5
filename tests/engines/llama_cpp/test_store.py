"""PrefixStore on a real pool and a toy libllama: what is restored is what was computed, and what is not is missing."""
import unittest
from unittest import mock

import kvpool.llama_cpp
from kvpool._llama_cpp import names
from kvpool.llama_cpp import PrefixStore

import pools
from standin import CHUNK, FakeLlama, StoreTest

PROMPT = [(7 * i) % 1000 for i in range(5 * CHUNK + 3)]


class Prefixes(StoreTest):
    def test_a_prompt_comes_back(self):
        pool = self.open()
        self.assertEqual(self.saved(pool, PROMPT), 5 * CHUNK)
        self.check(pool, PROMPT, 5 * CHUNK)

    def test_without_what_was_restored_the_model_says_something_else(self):
        self.assertNotEqual(FakeLlama().decode(PROMPT[5 * CHUNK:]), FakeLlama().decode(PROMPT))

    def test_one_token_is_left_to_compute(self):
        pool = self.open()
        self.saved(pool, PROMPT)
        self.check(pool, PROMPT[:2 * CHUNK], CHUNK)
        self.check(pool, PROMPT[:2 * CHUNK + 1], 2 * CHUNK)

    def test_a_shared_prefix_is_found(self):
        pool = self.open()
        self.saved(pool, PROMPT)
        self.check(pool, PROMPT[:3 * CHUNK + 5] + [1001] * 40, 3 * CHUNK)
        self.check(pool, [1001] + PROMPT[1:], 0)

    def test_a_prompt_grows_chunk_by_chunk(self):
        pool, llama = self.open(), FakeLlama()
        store = self.store(pool, llama)
        llama.decode(PROMPT[:2 * CHUNK])
        self.assertEqual(store.save(PROMPT[:2 * CHUNK]), 2 * CHUNK)
        llama.decode(PROMPT[2 * CHUNK:])
        self.assertEqual(store.save(PROMPT), 3 * CHUNK)
        self.assertEqual(store.save(PROMPT), 0)
        self.check(pool, PROMPT, 5 * CHUNK)

    def test_what_the_sequence_does_not_hold_is_not_saved(self):
        pool, llama = self.open(), FakeLlama()
        llama.decode(PROMPT[:CHUNK + 1])
        self.assertEqual(self.store(pool, llama).save(PROMPT), CHUNK)

    def test_other_sequences_are_left_alone(self):
        pool, llama = self.open(), FakeLlama(n_seq_max=4)
        store = self.store(pool, llama)
        llama.decode(PROMPT, seq=0)
        llama.decode(PROMPT[::-1], seq=1)
        self.assertEqual(store.save(PROMPT[::-1], seq=1), 5 * CHUNK)
        self.assertEqual(store.restore(PROMPT[::-1], seq=2), 5 * CHUNK)
        self.assertEqual(llama.decode([1, 2], seq=1), FakeLlama().decode(PROMPT[::-1] + [1, 2]))
        self.assertEqual(llama.decode([1, 2], seq=0), FakeLlama().decode(PROMPT + [1, 2]))
        self.assertEqual(llama.decode(PROMPT[::-1][5 * CHUNK:], seq=2), FakeLlama().decode(PROMPT[::-1]))

    def test_more_chunks_than_staging_has_slots(self):
        pool, tokens = self.open(), list(range(900))
        self.assertEqual(self.saved(pool, tokens), 896)
        self.check(pool, tokens, 896)

    def test_chunks_larger_than_a_slot(self):
        pool, tokens, settings = self.open(), list(range(2101)), {"n_ctx": 3000}
        size = {"chunk_tokens": 2100}  # somewhat more than 1 MiB
        self.assertEqual(self.saved(pool, tokens, FakeLlama(**settings), **size), 2100)
        self.check(pool, tokens, 2100, settings, **size)


class Sliding(StoreTest):
    """A window of two and a half chunks."""

    WINDOW = 5 * CHUNK // 2

    def test_a_context_that_keeps_all_gives_every_prefix(self):
        pool, settings = self.open(), {"window": self.WINDOW, "keeps_all": 1}
        self.assertEqual(self.saved(pool, PROMPT, FakeLlama(**settings)), 5 * CHUNK)
        for end in range(1, 6):
            self.check(pool, PROMPT[:end * CHUNK] + [5], end * CHUNK, settings)

    def test_one_that_keeps_a_window_gives_the_prompt_and_no_shorter_prefix(self):
        pool, settings = self.open(), {"window": self.WINDOW}
        tokens = PROMPT[:5 * CHUNK]
        self.assertEqual(self.saved(pool, tokens, FakeLlama(**settings)), 5 * CHUNK)
        self.check(pool, tokens + [5], 5 * CHUNK, settings)
        self.check(pool, tokens[:4 * CHUNK] + [5], 0, settings)
        self.assertEqual(self.saved(pool, tokens, FakeLlama(**settings)), 0)

    def test_nothing_is_moved_in_vain(self):
        """Neither what is there, nor what no prefix can be made of."""
        pool, llama = self.open(), FakeLlama(window=self.WINDOW)
        tokens = PROMPT[:5 * CHUNK]
        self.saved(pool, tokens, llama)
        store, keys = self.store(pool, llama), names.keys(tokens, CHUNK)
        self.assertEqual(store._unsaved(keys, 0), [])
        self.assertEqual(store._find(keys[:4]), [])
        self.assertEqual(len(store._find(keys)), 5)

    def test_a_window_that_is_there_in_part_is_a_miss(self):
        """Three tokens more, and the first that a token behind the last chunk sees is gone."""
        pool, settings = self.open(), {"window": self.WINDOW}
        self.assertEqual(self.saved(pool, PROMPT, FakeLlama(**settings)), 5 * CHUNK)
        self.check(pool, PROMPT, 0, settings)

    def test_a_chunk_without_its_window_is_never_the_end_of_a_prefix(self):
        """The same keys taken for whole: the model says something else, which this test has to see."""
        pool, settings = self.open(), {"window": self.WINDOW}
        tokens, llama = PROMPT[:5 * CHUNK], FakeLlama(**settings)
        llama.decode(tokens)
        store = self.store(pool, llama)
        store._is_whole = lambda index: True  # here, and where it is restored
        self.assertEqual(store.save(tokens), 5 * CHUNK)
        llama, short = FakeLlama(**settings), tokens[:4 * CHUNK] + [5]
        store = self.store(pool, llama)
        self.assertEqual(store.restore(short), 0)
        store._usable = len
        self.assertEqual(store.restore(short), 4 * CHUNK)
        self.assertNotEqual(llama.decode([5]), FakeLlama(**settings).decode(short))

    def test_saving_at_each_chunk_gives_every_prefix(self):
        pool, settings = self.open(), {"window": self.WINDOW}
        llama = FakeLlama(**settings)
        store = self.store(pool, llama)
        for end in range(CHUNK, 5 * CHUNK + 1, CHUNK):
            llama.decode(PROMPT[end - CHUNK:end])
            self.assertEqual(store.save(PROMPT[:end]), CHUNK)
        for end in range(1, 6):
            self.check(pool, PROMPT[:end * CHUNK] + [5], end * CHUNK, settings)

    def test_restored_chunks_that_lack_their_window_are_not_saved_as_whole(self):
        pool, settings = self.open(), {"window": self.WINDOW}
        tokens = PROMPT[:5 * CHUNK]
        self.saved(pool, tokens, FakeLlama(**settings))
        llama = FakeLlama(window=self.WINDOW, keeps_all=1)
        store = self.store(pool, llama)
        self.assertEqual(store.restore(tokens + [5]), 5 * CHUNK)
        store._space.drop([key + end for key in names.keys(tokens, CHUNK) for end in (b"", names.LACKING)])
        store.save(tokens)
        self.check(pool, tokens[:2 * CHUNK] + [5], 0, settings)
        self.check(pool, tokens + [5], 5 * CHUNK, settings)


class Damage(StoreTest):
    def block(self, pool, llama, index):
        """The bytes that are stored of a chunk."""
        store = self.store(pool, llama)
        store._share(index, 0)
        size = store._context.size(store._context.scratch)
        address = store._staging._address
        store._context.read(store._context.scratch, address, size)
        store._context.remove(store._context.scratch)
        return bytes(store._staging._view[:size])

    def damage(self, block):
        """Turns one bit in the middle of a stored chunk's bytes on the drive."""
        pools.turn_bit(self.path(pools.DISK), block[len(block) // 2:][:64], at=5, mask=4)

    def test_a_wrong_bit_is_refused_and_computed_again(self):
        pool, llama = self.open(), FakeLlama()
        self.saved(pool, PROMPT, llama)
        block = self.block(pool, llama, 3)
        pool.close()
        self.damage(block)
        pool = self.open()
        self.check(pool, PROMPT, 3 * CHUNK)
        self.assertEqual(self.saved(pool, PROMPT), CHUNK)
        self.check(pool, PROMPT, 5 * CHUNK)

    def test_where_nothing_is_verified_it_shows(self):
        pool, llama = self.open("verify = false"), FakeLlama()
        self.saved(pool, PROMPT, llama)
        self.damage(self.block(pool, llama, 3))
        llama = FakeLlama()
        self.assertEqual(self.store(pool, llama).restore(PROMPT), 5 * CHUNK)
        self.assertNotEqual(llama.decode(PROMPT[5 * CHUNK:]), FakeLlama().decode(PROMPT))


class Keys(unittest.TestCase):
    def test_they_are_those_of_the_cpp_library(self):
        """The same number is in src/llama/chunks_test.cpp."""
        self.assertEqual(names.keys([1, 2, 3, 70_000], 2)[1].hex(),
                         "15a3730b45d565068daad20594e78d98ca68f0733412eb583cd88f7bea4e22e2")

    def test_all_parts_of_a_split_model_count(self):
        self.assertEqual(names.model_files("m-00002-of-00003.gguf"), [f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3)])
        self.assertEqual(names.model_files("m.gguf"), ["m.gguf"])


class Misses(StoreTest):
    def test_another_space_finds_nothing(self):
        pool = self.open()
        self.saved(pool, PROMPT)
        for other in ({"model": "other"}, {"kv": "u32"}, {"namespace": "tenant"}, {"chunk_tokens": 2 * CHUNK}):
            self.check(pool, PROMPT, 0, **other)
        self.check(pool, PROMPT, 5 * CHUNK)

    def test_a_context_without_room_restores_what_fits(self):
        pool = self.open()
        self.saved(pool, PROMPT)
        llama = FakeLlama(n_ctx=3 * CHUNK)
        self.assertEqual(self.store(pool, llama).restore(PROMPT), 3 * CHUNK)
        llama = FakeLlama(n_seq_max=3, n_ctx=5 * CHUNK)
        llama.decode(range(CHUNK), seq=1)
        with self.assertLogs("kvpool.llama_cpp", "WARNING"):
            self.assertEqual(self.store(pool, llama).restore(PROMPT), 4 * CHUNK)

    def test_a_closed_pool_costs_the_hits_and_no_more(self):
        pool, llama = self.open(), FakeLlama()
        self.saved(pool, PROMPT)
        store = self.store(pool, llama)
        pool.close()
        with self.assertLogs("kvpool.llama_cpp", "WARNING") as logs:
            self.assertEqual(store.restore(PROMPT), 0)
            self.assertEqual(llama.decode(PROMPT), FakeLlama().decode(PROMPT))
            self.assertEqual(store.save(PROMPT), 0)
            self.assertEqual(store.save(PROMPT), 0)
        self.assertLessEqual(len(logs.output), 2)

    def test_a_chunk_that_is_evicted_under_way_ends_the_prefix(self):
        pool = self.open()
        self.saved(pool, PROMPT)
        llama = FakeLlama()
        store = self.store(pool, llama)
        find = store._find

        def lose(keys):
            found = find(keys)
            store._space.drop([found[2]])
            return found

        store._find = lose
        self.assertEqual(store.restore(PROMPT), 2 * CHUNK)
        self.assertEqual(llama.decode(PROMPT[2 * CHUNK:]), FakeLlama().decode(PROMPT))


class BadInput(StoreTest):
    def refused(self, sentence, llama=None, error=ValueError, **options):
        with self.assertRaisesRegex(error, sentence):
            self.store(self.open(), llama or FakeLlama(), **options)

    def test_contexts_that_will_not_do(self):
        self.refused("n_seq_max to 2 or more", FakeLlama(n_seq_max=1))
        self.refused("kv_unified to true", FakeLlama(is_unified=0))
        self.refused("version 2, tested is 3", FakeLlama(state_version=2))
        self.refused("no KV cache|with a KV cache", FakeLlama(has_memory=0))
        self.refused("recurrent model", FakeLlama(is_recurrent=1))

    def test_a_library_that_is_no_libllama(self):
        with self.assertRaisesRegex(ValueError, "has no llama_get_memory"):
            PrefixStore(self.open(), ("libc.so.6", 1), model="m", kv="k")

    def test_releases_outside_the_tested_range(self):
        pool = self.open()
        for version, sentence in (("0.3.35", "this is 0.3.35: install"), ("0.3.37", "this is 0.3.37: install"),
                                  ("0.4.0", "this is 0.4.0: install"), (None, "none is installed: install")):
            with mock.patch.object(kvpool.llama_cpp, "installed", lambda package, found=version: found):
                for call in (lambda: kvpool.llama_cpp.load("model.gguf"), lambda: PrefixStore(pool, object())):
                    with self.assertRaisesRegex(RuntimeError, f"tested with llama-cpp-python 0.3.36, and {sentence}"):
                        call()
        with mock.patch.object(kvpool.llama_cpp, "installed", lambda package: "0.3.36.post1"), \
                mock.patch.object(kvpool.llama_cpp, "_llama_class", lambda: str):
            self.assertEqual(kvpool.llama_cpp.load("model.gguf"), "model.gguf")

    def test_a_bare_context_needs_names(self):
        self.refused("give model", model="")
        self.refused("give model", kv="")

    def test_arguments(self):
        self.refused("chunks of 0 tokens", chunk_tokens=0)
        store = self.store(self.open(), FakeLlama())
        for seq in (-1, 1, 2):
            with self.assertRaisesRegex(ValueError, f"no sequence {seq} "):
                store.restore(PROMPT, seq=seq)
        with self.assertRaisesRegex(ValueError, "only a Llama knows its tokens"):
            store.save()

    def test_a_chunk_that_is_too_large_for_the_pool(self):
        pool, llama = self.open(), FakeLlama(n_ctx=40_000)
        tokens = [1] * 64
        llama.decode(tokens)
        store = self.store(pool, llama, chunk_tokens=64)
        store._context.size = lambda sequence: 5 << 30
        with self.assertRaisesRegex(ValueError, "give a smaller"):
            store.save(tokens)


if __name__ == "__main__":
    unittest.main()
