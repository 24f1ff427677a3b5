"""One vLLM engine that answers prompts: python engine.py SETTINGS, JSON; a JSON line in, a JSON line out.

SETTINGS: {"model", "max_tokens", "transfer": what LLM takes as kv_transfer_config, or none, "paths": to be found by
Python behind its own}. A line in: {"context", "tokens", "hit", "tail", "generate"}: a prompt of `tokens` tokens whose
first `hit` are those of the context, and the rest those of `tail`. The engine's own caches are emptied before, a tier's
are not; and of a prompt with a tail vLLM's own tiers store nothing (LMCache cannot be told so).
An empty line ends the engine.
"""
import json
import os
import random
import resource
import sys
import time

VOCABULARY = 1024
PATIENCE_S = 600
TIER_READS = tuple((f"vllm:kv_offload_tiering_read_{tier}_total", f"vllm:kvpool_fetch{direct}_total")
                   for tier, direct in (("bytes", "ed_bytes"), ("time", "_seconds")))


def prompt(context, tokens, hit, tail):
    """Token ids. Without a tail all of them are the context's."""
    own, other = random.Random(f"context {context}"), random.Random(f"tail {tail}")
    ids = [own.randrange(3, VOCABULARY) for _ in range(tokens)]
    return ids if tail is None else ids[:hit] + [other.randrange(3, VOCABULARY) for _ in range(tokens - hit)]


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def hide_llvmlite():
    """LMCache imports numba, numba llvmlite, whose library object says that it has any attribute, `__dict__` as well:
    there vLLM's search for Triton kernels in all modules stops with an AttributeError (0.32.0)."""
    from llvmlite.binding import ffi
    find = ffi._lib_wrapper.__getattr__

    def find_but_special(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return find(self, name)
    ffi._lib_wrapper.__getattr__ = find_but_special


class Engine:
    def __init__(self, settings):
        from vllm import LLM
        self.llm = LLM(model=settings["model"], skip_tokenizer_init=True, enforce_eager=True, dtype="float32", seed=0,
                       enable_prefix_caching=True, max_model_len=settings["max_tokens"], disable_log_stats=False,
                       max_num_batched_tokens=settings["max_tokens"], kv_transfer_config=settings.get("transfer"))

    def empty_caches(self):
        """Of the engine, not of a tier; waits for stores that are under way."""
        until = time.monotonic() + PATIENCE_S
        while not self.llm.reset_prefix_cache(reset_connector=True):
            if time.monotonic() > until:
                raise SystemExit("the engine's caches cannot be emptied")
            self.llm.llm_engine.step()
            time.sleep(0.01)

    @staticmethod
    def tier_reads():
        """(bytes, seconds) of loads from a secondary tier, or into the direct path's rows, since the engine began."""
        from prometheus_client import REGISTRY
        samples = [sample for family in REGISTRY.collect() for sample in family.samples]
        return [sum(sample.value for sample in samples if sample.name in names) for names in TIER_READS]

    def answer(self, context, tokens, hit, tail, generate):
        from vllm import SamplingParams
        more = {} if tail is None else {"kv_transfer_params": {"max_offload_tokens": 0}}
        sampling = SamplingParams(max_tokens=generate, temperature=0.0, logprobs=1, detokenize=False, ignore_eos=True,
                                  extra_args=more)
        self.empty_caches()
        given = {"prompt_token_ids": prompt(context, tokens, hit, tail)}
        before, cpu, begin = self.tier_reads(), cpu_s(), time.perf_counter()
        (request,) = self.llm.generate([given], sampling, use_tqdm=False)
        wall, cpu, after = time.perf_counter() - begin, cpu_s() - cpu, self.tier_reads()
        (output,) = request.outputs
        token = output.token_ids[0]
        return {"ttft_s": request.metrics.first_token_latency, "wall_s": wall, "cpu_s": cpu,
                "cached": request.num_cached_tokens, "token": token, "logprob": output.logprobs[0][token].logprob,
                "tier_bytes": after[0] - before[0], "tier_s": after[1] - before[1]}

    def close(self):
        self.llm.llm_engine.engine_core.shutdown()


def main():
    settings = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # vLLM prints, too
    if settings.get("paths"):
        sys.path += settings["paths"]
        hide_llvmlite()
    engine = Engine(settings)
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        if not line.strip():
            break
        print(json.dumps(engine.answer(**json.loads(line))), file=out, flush=True)
    engine.close()


if __name__ == "__main__":
    main()
