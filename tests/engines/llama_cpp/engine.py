"""usage: engine.py SETTINGS STEPS, both JSON: one process of llama.cpp, with a pool where settings name one.

Prints one line of JSON: a dictionary for each step. A prompt is {"seed", "tokens"}, with "shared" leading ones of
seed 0's.
"""
import ctypes
import hashlib
import json
import os
import random
import sys

import llama_cpp
import numpy

import kvpool
import kvpool.llama_cpp
import pools
from kvpool._llama_cpp import names


def prompt_tokens(prompt):
    def draw(seed):
        numbers = random.Random(seed)
        return [numbers.randrange(512) for _ in range(prompt["tokens"])]
    shared = prompt.get("shared", 0)
    return draw(0)[:shared] + draw(prompt["seed"])[shared:]


class Bridge:
    """C++'s kvpool::LlamaStore (bridge.cpp), with the methods of PrefixStore."""

    def __init__(self, pool_file, llama, chunk, model, kv):
        self.llama = llama
        self.library = ctypes.CDLL(os.environ["KVPOOL_LLAMA_BRIDGE"])
        self.library.bridge_open.restype = ctypes.c_void_p
        self.store = self.library.bridge_open(
            pool_file.encode(), ctypes.c_void_p(llama_cpp.llama_cpp._lib._handle),
            ctypes.c_void_p(getattr(llama.ctx, "value", llama.ctx)), model.encode(), kv.encode(), chunk)
        if not self.store:
            sys.exit("the bridge does not open")

    def call(self, name, tokens):
        function = self.library[name]
        function.restype = ctypes.c_int64
        numbers = (ctypes.c_int32 * len(tokens))(*tokens)
        return function(ctypes.c_void_p(self.store), numbers, ctypes.c_size_t(len(tokens)))

    def save(self):
        return self.call("bridge_save", self.llama.input_ids[:self.llama.n_tokens].tolist())

    def restore(self, tokens):
        restored = self.call("bridge_restore", tokens)
        self.llama.input_ids[:restored] = tokens[:restored]
        self.llama.n_tokens = restored
        return restored

    def close(self):
        self.library.bridge_close(ctypes.c_void_p(self.store))


class Engine:
    def __init__(self, settings):
        options = {"n_ctx": 2048, "n_batch": settings["batch"], "n_ubatch": settings["batch"], "n_threads": 1,
                   "n_threads_batch": 1, "verbose": False} | settings.get("options", {})
        self.llama = kvpool.llama_cpp.load(settings["model"], **options)
        self.pool = self.store = None
        if settings.get("bare") == "c++":
            self.store = Bridge(settings["pool"], self.llama, settings["chunk"], "random", "f16/f16")
        elif settings.get("pool"):
            self.pool = kvpool.Pool.open(settings["pool"], create=True)
            bare = llama_cpp.llama_cpp._lib, self.llama.ctx
            options = {"model": "random", "kv": "f16/f16"} if settings.get("bare") else settings.get("store", {})
            self.store = kvpool.llama_cpp.PrefixStore(self.pool, bare if settings.get("bare") else self.llama,
                                                      chunk_tokens=settings["chunk"], **options)

    def logits(self, file):
        """Of the last token. llama_cpp has them as float32."""
        address = llama_cpp.llama_get_logits_ith(self.llama.ctx, -1)
        logits = numpy.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), (512,)).copy()
        numpy.save(file, logits)
        return {"digest": hashlib.sha256(logits.tobytes()).hexdigest(), "best": int(logits.argmax())}

    def compute(self, prompt, file):
        """From the first token on, or from `begin` on with nothing in front of it."""
        self.llama.reset()
        self.llama.eval(prompt_tokens(prompt)[prompt.get("begin", 0):])
        return self.logits(file)

    def save(self, prompt, _file):
        return {"saved": self.store.save(prompt_tokens(prompt)) if prompt else self.store.save()}

    def restore(self, prompt, file):
        tokens = prompt_tokens(prompt)
        self.llama.reset()
        restored = self.store.restore(tokens)
        self.llama.n_tokens = restored  # what a bare context's owner does
        self.llama.eval(tokens[restored:])
        return {"restored": restored, **self.logits(file)}

    def generate(self, prompt, _file):
        """By llama_cpp's own loop, which has to see what was restored as its own."""
        tokens = prompt_tokens(prompt)
        restored = self.store.restore(tokens) if self.store else 0
        made = self.llama.generate(tokens, temp=0)
        return {"restored": restored, "tokens": [next(made) for _ in range(8)]}

    def whole(self, prompt, file):
        """llama.cpp's own way, without chunks: the whole sequence out and in again, then the rest of the prompt."""
        tokens, context = prompt_tokens(prompt), self.llama.ctx
        self.llama.reset()
        self.llama.eval(tokens[:prompt["split"]])
        size = llama_cpp.llama_state_seq_get_size(context, 0)
        data = (ctypes.c_uint8 * size)()
        llama_cpp.llama_state_seq_get_data(context, data, size, 0)
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        llama_cpp.llama_state_seq_set_data(context, data, size, 0)
        self.llama.eval(tokens[prompt["split"]:])
        return self.logits(file)

    def damage(self, prompt, file):
        """Turns one bit of a number in the middle of the values of a chunk that is stored in `file`, a drive."""
        key = names.keys(prompt_tokens(prompt), self.store._chunk)[prompt["index"]]
        for address, nbytes in self.store._staging.blocks([key]):
            values = ctypes.string_at(address + nbytes * 3 // 4 // 2 * 2, 256)
        return {"at": pools.turn_bit(file, values, at=1, mask=0x40)}  # of a float16's exponent

    def close_pool(self, _prompt, _file):
        self.pool.close()
        return {}


def main():
    settings, steps = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    engine = Engine(settings)
    results = [getattr(engine, step["do"])(step.get("prompt"), step.get("file")) for step in steps]
    if engine.store:
        engine.store.close()
        if engine.pool:
            engine.pool.close()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
