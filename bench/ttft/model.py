"""Writes the benchmark's model, with random weights: python model.py FOLDER. Nothing is downloaded.

The shape of LLaMA with as much KV as LLaMA-3.1-8B has in bfloat16, 128 KiB a token, and a small part of its
computation: 4 narrow layers with 32 KV heads each, in float32, which processors multiply as fast as bfloat16 or
faster. So a hit is bound by its loading as far as that can be had.
"""
import sys

import models

LAYERS, KV_HEADS, HEAD_DIM = 4, 32, 128

if __name__ == "__main__":
    models.COMMON |= {"num_hidden_layers": LAYERS, "num_attention_heads": KV_HEADS, "num_key_value_heads": KV_HEADS,
                      "head_dim": HEAD_DIM, "max_position_embeddings": 16384}
    models.write("llama", sys.argv[1])
