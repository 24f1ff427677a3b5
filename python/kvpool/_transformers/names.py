"""What tells the caches of two models apart."""
import hashlib
import json
import struct
from typing import Any

# They say where a model came from or how it is run, not what its keys and values are.
_INCIDENTAL = ("transformers_version", "_name_or_path", "name_or_path", "dtype", "torch_dtype", "use_cache",
               "architectures")
_SAMPLES = 16


def _sample(parameter: Any) -> bytes:
    flat = parameter.detach().reshape(-1)
    values = flat[::max(1, flat.shape[0] // _SAMPLES)][:_SAMPLES].float().tolist()
    return struct.pack(f"<{len(values)}d", *values)


def model_name(model: Any, weights: str | None) -> str:
    """`llama-0123456789abcdef`: the kind of model and a digest of its configuration and weights. Without `weights`,
    their name, a sample of every parameter is taken, adapters' as well."""
    config = {key: value for key, value in model.config.to_dict().items() if key not in _INCIDENTAL}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    if weights is not None:
        digest.update(f"weights {weights}".encode())
    else:
        for name, parameter in model.named_parameters():
            if parameter.device.type == "meta":
                raise ValueError(f"the weights of {name} are not in memory to tell the model by: name them, as in "
                                 "PrefixStore(pool, model, weights=\"repository@revision\")")
            digest.update(name.encode() + str(tuple(parameter.shape)).encode() + _sample(parameter))
    return f"{model.config.model_type}-{digest.hexdigest()[:16]}"
