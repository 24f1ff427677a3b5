"""A toy libllama (src/llama/fake_llama.cpp) by ctypes, and a pool in a folder of its own, for every test."""
import ctypes
import os

import kvpool
import pools
from kvpool.llama_cpp import PrefixStore

LIBRARY = os.environ.get("KVPOOL_FAKE_LLAMA", "libfake_llama.so")
CHUNK = 16


class Options(ctypes.Structure):
    _fields_ = [("n_ctx", ctypes.c_uint32), ("n_seq_max", ctypes.c_uint32), ("is_unified", ctypes.c_uint32),
                ("window", ctypes.c_int32), ("keeps_all", ctypes.c_uint32), ("state_version", ctypes.c_uint32),
                ("is_recurrent", ctypes.c_uint32), ("has_memory", ctypes.c_uint32), ("seed", ctypes.c_uint64)]


class FakeLlama:
    """A context of the toy model. It says of every token what all that the token sees makes of it."""

    def __init__(self, **options):
        self.library = ctypes.CDLL(LIBRARY)
        self._new = self.library.fake_llama_new
        self._new.restype = ctypes.c_void_p
        self._decode = self.library.fake_llama_decode
        self._decode.restype = ctypes.c_uint64
        options = {"n_ctx": 1024, "n_seq_max": 2, "is_unified": 1, "state_version": 3, "has_memory": 1,
                   "seed": 1} | options
        self.context = self._new(ctypes.byref(Options(**options)))

    def __del__(self):
        self.library.fake_llama_free(ctypes.c_void_p(self.context))

    def decode(self, tokens, seq=0):
        """What the model says behind the last of them."""
        said = 0
        for token in tokens:
            said = self._decode(ctypes.c_void_p(self.context), seq, token)
        return said


class StoreTest(pools.FolderTest):
    def pool_file(self, pool=pools.WITH_CATALOG):
        return pools.write(self.folder, settings=f'unit = "32KiB"\n{pool}')

    def open(self, *options):
        pool = kvpool.Pool.open(self.pool_file(*options), create=True)
        self.addCleanup(pool.close)
        return pool

    def store(self, pool, llama, **options):
        options = {"chunk_tokens": CHUNK, "model": "toy", "kv": "u64", "staging_bytes": 1 << 21} | options
        store = PrefixStore(pool, (llama.library, llama.context), **options)
        self.addCleanup(store.close)
        return store

    def saved(self, pool, tokens, llama=None, **options):
        """A context that computed `tokens` and saved them; how many it stored."""
        llama = llama or FakeLlama()
        llama.decode(tokens)
        return self.store(pool, llama, **options).save(tokens)

    def check(self, pool, tokens, restored, settings=None, **options):
        """A new context restores so many, and says behind all of `tokens` what one says that computed them."""
        llama = FakeLlama(**settings or {})
        self.assertEqual(self.store(pool, llama, **options).restore(tokens), restored)
        self.assertEqual(llama.decode(tokens[restored:]), FakeLlama(**settings or {}).decode(tokens))
