"""What names a chunk: its space, and a chain of hashes over its tokens and all in front of it."""
import array
import hashlib
import json
import os
import re
import sys

LACKING = b"-"  # behind a key: the chunk lacks some of its sliding layers, so no prefix can end here

# What of the context's parameters changes the KV of the same tokens, or the order of its bytes.
_PARAMETERS = ("rope_scaling_type", "rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor",
               "yarn_beta_fast", "yarn_beta_slow", "yarn_orig_ctx", "attention_type", "flash_attn_type")
_TYPES = {0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 20: "iq4_nl", 30: "bf16"}
_READ_BYTES = 4 << 20


def keys(tokens, chunk_tokens):
    """One key for each full chunk; the k-th covers every token up to the chunk's end."""
    key, result = b"", []
    for begin in range(0, len(tokens) - chunk_tokens + 1, chunk_tokens):
        numbers = array.array("i", tokens[begin:begin + chunk_tokens])
        if sys.byteorder == "big":
            numbers.byteswap()
        key = hashlib.sha256(key + numbers.tobytes()).digest()
        result.append(key)
    return result


def model_files(path):
    """The files of a model: one, or all parts of a split one."""
    split = re.fullmatch(r"(.*)-\d{5}-of-(\d{5})\.gguf", path)
    if not split:
        return [path]
    return [f"{split[1]}-{part:05d}-of-{split[2]}.gguf" for part in range(1, int(split[2]) + 1)]


def digest(paths):
    """SHA-256 over the files' bytes, about a second for each gigabyte."""
    result = hashlib.sha256()
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while part := file.read(_READ_BYTES):
                result.update(part)
    return result.hexdigest()


def kv_type(params):
    return "/".join(_TYPES.get(number, f"type {number}") for number in (params.type_k, params.type_v))


def of_llama(llama):
    """What a llama_cpp.Llama tells of itself that changes its KV."""
    params = llama.context_params
    told = {name: getattr(params, name) for name in _PARAMETERS if hasattr(params, name)}
    if any(key.endswith(".rope.scaling.original_context_length") for key in llama.metadata):
        told["n_ctx"] = params.n_ctx  # longer contexts are computed with other factors
    if llama.kv_overrides:
        told["kv_overrides"] = llama.kv_overrides
    if llama.lora_path:
        told["lora"] = [digest([llama.lora_path]), llama.lora_scale]
    return json.dumps(told, sort_keys=True, default=str)


def space(context, chunk_tokens, *, model, kv, parameters, namespace):
    """Arguments of Pool.space."""
    return {"model": model, "dtype": kv, "layout": f"{chunk_tokens} tokens; {parameters}",
            "engine": f"llama.cpp, sequence state {context.state_version}", "tenant_salt": namespace}


def of_model(llama):
    return "sha256:" + digest(model_files(os.path.realpath(llama.model_path)))
