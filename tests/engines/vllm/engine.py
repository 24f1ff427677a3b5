"""One vLLM engine that follows steps: python engine.py SETTINGS STEPS, both JSON; a JSON line for each step.

Steps: ["generate", {"seed": S, "tokens": N, "shared": M}] gives tokens, logprobs and how many tokens were cached;
["reset"] forgets the engine's own caches, not the pool; ["damage", FILE] turns one bit of a chunk that was loaded
on a device file; ["sleep", S]; ["kill", PID] ends a pool's daemon; ["wait"] until the process is killed.

Settings: "direct": true takes the direct path, and otherwise the tier.
"""
import json
import os
import random
import signal
import sys
import time

import pools

HERE = os.path.dirname(os.path.abspath(__file__))
VOCABULARY = 1024


def prompt(seed, tokens, shared=0):
    """The first `shared` tokens are the same for every seed."""
    same, own = random.Random(4711), random.Random(seed)
    return {"prompt_token_ids": [(same if i < shared else own).randrange(3, VOCABULARY) for i in range(tokens)]}


def tier(pool):
    return {"spec_name": "CpuTieringSpec", "spec_module_path": "cpu_spec", "cpu_bytes_to_use": 256 << 20,
            "secondary_tiers": [{"type": "KVPoolTier", "module_path": "kvpool.vllm", "pool": pool}]}


def direct(pool):
    return {"spec_name": "KVPoolOffloadingSpec", "spec_module_path": "kvpool.vllm", "pool": pool,
            "staging_bytes": 256 << 20}


def open_engine(settings):
    from vllm import LLM
    extra = {**(direct if settings.get("direct") else tier)(settings["pool"]), **settings.get("extra", {})}
    transfer = {"engine_id": settings["engine_id"], "kv_connector": "OffloadingConnector", "kv_role": "kv_both",
                "kv_connector_extra_config": extra}
    return LLM(model=settings["model"], skip_tokenizer_init=True, enforce_eager=True, enable_prefix_caching=True,
               max_model_len=4096, max_num_batched_tokens=4096, disable_log_stats=False, seed=0,
               **{"dtype": "float32", **settings.get("llm", {})}, kv_transfer_config=transfer)


def generate(engine, seed, tokens, shared=0):
    from vllm import SamplingParams
    sampling = SamplingParams(max_tokens=16, temperature=0.0, logprobs=1, detokenize=False, ignore_eos=True)
    (request,) = engine.generate([prompt(seed, tokens, shared)], sampling, use_tqdm=False)
    (output,) = request.outputs
    return {"tokens": list(output.token_ids), "cached": request.num_cached_tokens,
            "logprobs": [entry[token].logprob.hex() for entry, token in zip(output.logprobs, output.token_ids)]}


def first_row(engine):
    """Of the tier's primary rows, or of the direct path's, where the engine runs in this process: the first chunk that
    was loaded or stored since they were empty."""
    scheduler = engine.llm_engine.engine_core.engine_core.scheduler
    manager = scheduler.connector.connector_scheduler.manager
    if hasattr(manager, "secondary_tiers"):
        return manager.secondary_tiers[0]._primary_kv_view, 0
    rows = manager._rows._by_key.values()
    return manager._staging.view, min(rows, key=lambda row: row.since).number


def damage(engine, path):
    view, row = first_row(engine)
    begin = row * view.shape[1]
    chunk = bytes(view.cast("B")[begin:begin + 4096])
    return pools.turn_bit(path, chunk, at=4 * 250 + 3, mask=0x40)  # the exponent of a float32


def follow(engine, step, arguments):
    if step == "generate":
        return generate(engine, **arguments[0])
    if step == "reset":
        return engine.reset_prefix_cache(reset_connector=True)
    if step == "damage":
        return damage(engine, arguments[0])
    if step == "sleep":
        return time.sleep(arguments[0])
    if step == "kill":
        return os.kill(arguments[0], signal.SIGKILL)
    while True:
        time.sleep(60)


def main():
    settings, steps = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    engine = open_engine(settings)
    for step, *arguments in steps:
        if step == "wait":
            print("WAITS", flush=True)
        print("STEP " + json.dumps({"step": step, "result": follow(engine, step, arguments)}), flush=True)
    metrics = {metric.name: metric.value for metric in engine.get_metrics()
               if metric.name.startswith("vllm:kvpool") and hasattr(metric, "value")}
    print("METRICS " + json.dumps(metrics), flush=True)


if __name__ == "__main__":
    main()
