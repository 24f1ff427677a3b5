"""usage: models.py KIND SEED FILE: a GGUF model with random weights. KIND: llama, or gptoss (sliding and full layers in
turns, experts, attention sinks)."""
import struct
import sys

import numpy

LAYERS, WIDTH, HEADS, KV_HEADS, HEAD = 4, 128, 4, 2, 32
VOCABULARY, FEED_FORWARD, EXPERTS = 512, 256, 4
WINDOW = 64  # of gptoss's sliding layers
CONTEXT = 4096
ALIGNMENT = 32
UINT32, FLOAT32, STRING = 4, 6, 8  # GGUF's value types


def metadata(arch):
    common = {"context_length": CONTEXT, "embedding_length": WIDTH, "block_count": LAYERS,
              "feed_forward_length": FEED_FORWARD, "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS,
              "attention.key_length": HEAD, "attention.value_length": HEAD, "rope.dimension_count": HEAD,
              "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0, "vocab_size": VOCABULARY}
    if arch == "gpt-oss":
        common |= {"attention.sliding_window": WINDOW, "expert_count": EXPERTS, "expert_used_count": 2,
                   "expert_feed_forward_length": FEED_FORWARD}
    return {"general.architecture": arch, "general.name": "random", "tokenizer.ggml.model": "no_vocab",
            **{f"{arch}.{name}": value for name, value in common.items()}}


def shapes(arch):
    """Rows by columns, as NumPy has them; GGUF names the columns first."""
    yield "token_embd.weight", (VOCABULARY, WIDTH)
    yield "output_norm.weight", (WIDTH,)
    yield "output.weight", (VOCABULARY, WIDTH)
    queries, keys = HEADS * HEAD, KV_HEADS * HEAD
    attention = (("q", queries, WIDTH), ("k", keys, WIDTH), ("v", keys, WIDTH), ("output", WIDTH, queries))
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", (WIDTH,)
        for name, rows, columns in attention:
            yield f"{block}attn_{name}.weight", (rows, columns)
            if arch == "gpt-oss":
                yield f"{block}attn_{name}.bias", (rows,)
        if arch == "gpt-oss":
            yield from experts(block)
        else:
            yield block + "ffn_norm.weight", (WIDTH,)
            yield block + "ffn_gate.weight", (FEED_FORWARD, WIDTH)
            yield block + "ffn_up.weight", (FEED_FORWARD, WIDTH)
            yield block + "ffn_down.weight", (WIDTH, FEED_FORWARD)


def experts(block):
    yield block + "attn_sinks.weight", (HEADS,)
    yield block + "post_attention_norm.weight", (WIDTH,)
    yield block + "ffn_gate_inp.weight", (EXPERTS, WIDTH)
    yield block + "ffn_gate_inp.bias", (EXPERTS,)
    for name, rows, columns in (("gate", FEED_FORWARD, WIDTH), ("up", FEED_FORWARD, WIDTH),
                                ("down", WIDTH, FEED_FORWARD)):
        yield f"{block}ffn_{name}_exps.weight", (EXPERTS, rows, columns)
        yield f"{block}ffn_{name}_exps.bias", (EXPERTS, rows)


def weights(name, shape, random):
    if "norm" in name:
        return numpy.ones(shape, numpy.float32)
    scale = 1 if name == "token_embd.weight" else shape[-1] ** -0.5
    return (random.standard_normal(shape) * scale).astype(numpy.float32)


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value_bytes(value):
    if isinstance(value, str):
        return struct.pack("<I", STRING) + text(value)
    return struct.pack("<If", FLOAT32, value) if isinstance(value, float) else struct.pack("<II", UINT32, value)


def write(kind, seed, path):
    arch = {"llama": "llama", "gptoss": "gpt-oss"}[kind]
    random = numpy.random.default_rng(seed)
    told = metadata(arch)
    tensors = [(name, weights(name, shape, random)) for name, shape in shapes(arch)]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(told))
    head += b"".join(text(name) + value_bytes(value) for name, value in told.items())
    at = 0
    for name, data in tensors:
        head += text(name) + struct.pack(f"<I{data.ndim}QIQ", data.ndim, *reversed(data.shape), 0, at)  # 0: float32
        at += -(-data.nbytes // ALIGNMENT) * ALIGNMENT
    with open(path, "wb") as out:
        out.write(head + bytes(-len(head) % ALIGNMENT))
        for _, data in tensors:
            out.write(data.tobytes() + bytes(-data.nbytes % ALIGNMENT))


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), sys.argv[3])
