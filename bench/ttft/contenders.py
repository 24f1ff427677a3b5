"""What is compared: live vLLM engines, one for each method, that the benchmark asks in turns."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import uuid

import bed as lmcache

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = pathlib.Path(os.environ.get("KVPOOL_BUILD", ROOT / "build"))
TOKEN_BYTES = 128 << 10  # of model.py
CHUNK_TOKENS = 128
LMCACHE = {"lmcache": {"type": "fs_native"}, "lmcache-direct": {"type": "fs_native", "use_odirect": True},
           "lmcache-kvpool": None}
NAMES = ("recompute", "fs", "kvpool", "kvpool-direct", *LMCACHE)
PATIENCE_S = 3600  # the machine may be busy, or stopped for a while


class Failed(Exception):
    """An engine that ended, with the last that it said."""


class Place:
    """Where a bed's methods keep what they store: `fs` and LMCache's backends on the fastest drive, pools on all."""

    def __init__(self, bed, pools, model):
        self.folder, self.join, self.pools, self.model = bed.folders[0][0], bed.join, pools, model


class Engine:
    """A process with vLLM that answers one prompt at a time."""

    def __init__(self, place, name, tokens, transfer=None, paths=(), cpu_bytes=0):
        self.name, self.log = name, place.folder / f"{name}.log"
        settings = {"model": str(place.model), "max_tokens": -(-tokens // 1024) * 1024, "paths": list(map(str, paths))}
        self.id = f"kvpool-ttft-{uuid.uuid4()}"
        if transfer:
            settings["transfer"] = {**transfer, "kv_role": "kv_both", "engine_id": self.id}
        gib = -(-2 * tokens * TOKEN_BYTES // (1 << 30))
        environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": str(gib), "HF_HUB_OFFLINE": "1",
                       "VLLM_NO_USAGE_STATS": "1", "TORCHDYNAMO_DISABLE": "1",
                       "VLLM_CPU_OMP_THREADS_BIND": "0", "LMCACHE_TRACK_USAGE": "false",
                       "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "LMCACHE_DISABLE_BANNER": "1",
                       "PYTHONDONTWRITEBYTECODE": "1",
                       "PYTHONPATH": f"{lmcache.PACKAGE}:{ROOT / 'tests/engines/vllm'}"}
        self.process = subprocess.Popen(
            [vllm_python(), HERE / "engine.py", json.dumps(settings)], env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.log.open("w"), text=True, preexec_fn=place.join, start_new_session=True)
        self._line()

    def ask(self, context, tokens, hit, tail, generate=1):
        self.process.stdin.write(json.dumps(
            {"context": context, "tokens": tokens, "hit": hit, "tail": tail, "generate": generate}) + "\n")
        self.process.stdin.flush()
        return self._line()

    def close(self):
        with contextlib.suppress(OSError):
            self.process.stdin.write("\n")
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.kill()

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        pathlib.Path(f"/dev/shm/vllm_offload_{self.id}.mmap").unlink(missing_ok=True)

    def _line(self):
        line = self.process.stdout.readline()
        if not line:
            self.kill()
            raise Failed(f"the engine of {self.name} ended: " + " ".join(self.log.read_text()[-600:].split()))
        return json.loads(line)


class LMCacheEngine(Engine):
    """vLLM with LMCache's connector, and LMCache's server with its disk backend behind it."""

    def __init__(self, place, name, tokens, l2):
        if l2:
            folder = place.folder / name
            folder.mkdir()
            l2 = json.dumps({**l2, "base_path": str(folder)})
        self.server = lmcache.Server(place.pools.get(name), place.folder / f"{name}-server.log", l2)
        self.server.__enter__()
        (packages,) = (lmcache.BUILD / "venv/lib").glob("python3*/site-packages")
        try:
            super().__init__(place, name, tokens, {
                "kv_connector": "LMCacheMPConnector", "kv_connector_extra_config": {
                    "lmcache.mp.host": "tcp://localhost", "lmcache.mp.port": self.server.rpc}}, [packages])
        except BaseException:
            self.server.kill()
            raise

    def close(self):
        super().close()
        self.server.__exit__()

    def kill(self):
        super().kill()
        self.server.kill()


def vllm_python():
    return str(BUILD / "engines/vllm/bin/python")


def tiers(place, names):
    """vLLM's own tiering with these tiers, at the settings that suit `fs`: it takes O_DIRECT by itself, and reads a
    prompt's chunks one after the other, whatever its threads, so large chunks."""
    known = {"fs": {"type": "fs", "root_dir": str(place.folder / "fs")},
             **{name: {"type": "KVPoolTier", "module_path": "kvpool.vllm", "pool": str(place.pools[name])}
                for name in ("kvpool", "kvpool-direct") if name in place.pools}}  # whose chunks the direct path finds
    return [known[name] for name in names]


def offloading(place, names, tokens, chunk_tokens):
    return {"kv_connector": "OffloadingConnector", "kv_connector_extra_config": {
        "spec_name": "CpuTieringSpec", "spec_module_path": "cpu_spec", "block_size": chunk_tokens,
        "cpu_bytes_to_use": tokens * TOKEN_BYTES * 5 // 4, "secondary_tiers": tiers(place, names)}}


def direct(place, tokens, chunk_tokens):
    """As much memory as the tiers have for their rows."""
    return {"kv_connector": "OffloadingConnector", "kv_connector_extra_config": {
        "spec_name": "KVPoolOffloadingSpec", "spec_module_path": "kvpool.vllm", "block_size": chunk_tokens,
        "staging_bytes": tokens * TOKEN_BYTES * 5 // 4, "pool": str(place.pools["kvpool-direct"])}}


def start(place, name, tokens, chunk_tokens=CHUNK_TOKENS):
    """The engine of one method. Those of LMCache store by themselves; for the others see fill."""
    if name == "recompute":
        return Engine(place, name, tokens)
    if name in LMCACHE:
        return LMCacheEngine(place, name, tokens, LMCACHE[name])
    if name == "kvpool-direct":
        return Engine(place, name, tokens, direct(place, tokens, chunk_tokens))
    return Engine(place, name, tokens, offloading(place, [name], tokens, chunk_tokens))


def store(engine, contexts, tokens):
    """Has the engine compute each context and store its KV. Returns when it is stored: when it comes back."""
    for context in range(contexts):
        engine.ask(context, tokens, tokens, None, generate=8)
        engine.ask(context, tokens, tokens, None)


def fill(place, names, contexts, tokens, chunk_tokens=CHUNK_TOKENS):
    """One engine with all of vLLM's tiers stores each context in all of them: the same bytes."""
    engine = Engine(place, "fill", tokens, offloading(place, names, tokens, chunk_tokens))
    try:
        store(engine, contexts, tokens)
    except BaseException:
        engine.kill()
        raise
    engine.close()


def version():
    """Of vLLM, without loading it."""
    (found,) = (BUILD / "engines/vllm/lib").glob("python3*/site-packages/vllm_cpu-*.dist-info")
    return found.name.removesuffix(".dist-info").split("-")[1]
