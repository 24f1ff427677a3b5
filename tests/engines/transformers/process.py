"""One process with one model and one pool: runs the steps it is given as JSON and prints a line of JSON for each.

Bit-equal on a processor: one thread, deterministic algorithms, eager attention, and the same split of the prompt
everywhere, PREFIX tokens and then the rest: another split multiplies matrices of other shapes, which rounds otherwise.
"""
import hashlib
import json
import sys

import torch
import transformers

import kvpool
import models
import pools
from kvpool.transformers import PrefixStore

TOKENS, PREFIX, BLOCK = 300, 256, 32


class Process:
    def __init__(self, kind, pool, dtype="float32", seed=1, weights=None, keyword=None):
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(1)
        self.model = models.make(kind, dtype, seed)
        self.pool = kvpool.Pool.open(pool)
        self.store = PrefixStore(self.pool, self.model, block_tokens=BLOCK, weights=weights)
        self.keyword = keyword or self.store.keyword
        self.ids = torch.randint(0, 512, (1, TOKENS), generator=torch.Generator().manual_seed(7))

    def prefill(self, cache, begin, end=PREFIX):
        self.model(self.ids[:, begin:end], use_cache=True, **{self.keyword: cache})

    def finish(self, cache):
        """Eight tokens behind the whole prompt, and the logits of each."""
        out = self.model.generate(self.ids, max_new_tokens=8, do_sample=False, output_logits=True,
                                  return_dict_in_generate=True, **{self.keyword: cache})
        logits = torch.stack(out.logits).contiguous()
        return {"tokens": out.sequences[0, TOKENS:].tolist(),
                "logits": hashlib.sha256(logits.view(torch.uint8).numpy().tobytes()).hexdigest()}

    def save(self, recording=True):
        """Computes the prompt, and stores its prefix on the way."""
        cache = self.store.new_cache() if recording else transformers.DynamicCache(config=self.model.config)
        self.prefill(cache, 0)
        saved = self.store.save(self.ids[:, :PREFIX], cache)
        return {"saved": saved, **self.finish(cache)}

    def save_late(self):
        """Stores the prompt when all of it has been computed."""
        cache = self.store.new_cache()
        self.prefill(cache, 0, TOKENS)
        return {"saved": self.store.save(self.ids, cache), "kept": [layer.keys.shape[2] for layer in cache.layers]}

    def restore(self, tokens=TOKENS):
        """What the pool does not have is computed."""
        cache = transformers.DynamicCache(config=self.model.config)
        restored = self.store.restore(self.ids[:, :tokens], **{self.keyword: cache})
        if restored < PREFIX:
            self.prefill(cache, restored)
        return {"restored": restored, **self.finish(cache)}

    def damage(self, disk):
        """Turns one bit of the first block's stored keys: the exponent's highest, of the last full layer's first."""
        cache = transformers.DynamicCache(config=self.model.config)
        self.prefill(cache, 0)
        layer = [one for one in cache.layers if not one.is_sliding][-1]
        needle = layer.keys[0, 0, :BLOCK].contiguous().view(torch.uint8).numpy().tobytes()
        return {"at": pools.turn_bit(disk, needle, at=layer.keys.element_size() - 1, mask=0x40)}

    def info(self):
        return {"checksum_failures": sum(device["checksum_failures"] for device in self.pool.info()["devices"])}


def main():
    settings, steps = map(json.loads, sys.argv[1:])
    process = Process(**settings)
    with torch.no_grad():
        for name, options in steps:
            print(json.dumps(getattr(process, name)(**options)), flush=True)
    process.pool.close()


if __name__ == "__main__":
    main()
