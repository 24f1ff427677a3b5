"""Real transformers on a real pool: prompt, store, new process, restore, same tokens, equal logits; and controls."""
import json
import os
import subprocess
import sys
import unittest

import pools
from pools import UNVERIFIED, WITH_CATALOG

HERE = os.path.dirname(os.path.abspath(__file__))
DEADLINE_S = 1200
PREFIX, LATE = 256, 288  # whole blocks of what process.py stores on the way, and of the whole prompt


class EngineTest(pools.FolderTest):
    def setUp(self):
        super().setUp()
        self.disk = self.path(pools.DISK)

    def pool(self, settings=WITH_CATALOG):
        return pools.write(self.folder, settings=f"create_if_missing = true\n{settings}")

    def process(self, kind, pool, *steps, **settings):
        """A new process; what each step says. `steps`: a name, or a name and its arguments."""
        steps = [(step, {}) if isinstance(step, str) else step for step in steps]
        done = subprocess.run([sys.executable, "-B", os.path.join(HERE, "process.py"),
                               json.dumps({"kind": kind, "pool": pool, **settings}), json.dumps(steps)],
                              capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        self.said = done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def assert_same(self, one, two):
        """Tokens, and logits to the last bit."""
        self.assertEqual((one["tokens"], one["logits"]), (two["tokens"], two["logits"]))


class Restore:
    """For each model: what a pool brings back is what transformers would have computed."""
    KIND = ""

    def test_new_process_restores_and_refuses_a_wrong_byte(self):
        pool = self.pool()
        nothing, computed = self.process(self.KIND, pool, "restore", "save")
        self.assertEqual((nothing["restored"], computed["saved"]), (0, PREFIX))
        self.assert_same(nothing, computed)
        restored, _, damaged, info = self.process(
            self.KIND, pool, "restore", ("damage", {"disk": self.disk}), "restore", "info")
        self.assertEqual(restored["restored"], PREFIX)
        self.assert_same(computed, restored)
        self.assertEqual(damaged["restored"], 0, "the first block is wrong, so none is of use")
        self.assert_same(computed, damaged)
        self.assertGreater(info["checksum_failures"], 0)

    def test_without_verification_the_wrong_byte_changes_logits(self):
        computed, restored, _, damaged = self.process(
            self.KIND, self.pool(UNVERIFIED), "save", "restore", ("damage", {"disk": self.disk}), "restore")
        self.assertEqual((restored["restored"], damaged["restored"]), (PREFIX, PREFIX))
        self.assert_same(computed, restored)
        self.assertNotEqual(computed["logits"], damaged["logits"])

    def test_half_precision(self):
        for dtype in ("bfloat16", "float16"):
            pool = self.pool()
            (computed,) = self.process(self.KIND, pool, "save", dtype=dtype)
            (restored,) = self.process(self.KIND, pool, "restore", dtype=dtype)
            self.assertEqual(restored["restored"], PREFIX, dtype)
            self.assert_same(computed, restored)


class Llama(Restore, EngineTest):
    KIND = "llama"

    def test_both_names_of_the_cache_serve(self):
        pool = self.pool()
        (computed,) = self.process(self.KIND, pool, "save", keyword="past_key_values")
        for keyword in (None, "past_key_values"):
            (restored,) = self.process(self.KIND, pool, "restore", keyword=keyword)
            self.assertEqual(restored["restored"], PREFIX)
            self.assert_same(computed, restored)

    def test_another_dtype_and_other_weights_miss(self):
        pool = self.pool()
        for settings, other in (({"weights": "random@1"}, {"weights": "random@1", "dtype": "bfloat16"}),
                                ({"weights": "random@1"}, {"weights": "random@2"}), ({}, {"seed": 2})):
            self.process(self.KIND, pool, "save", **settings)
            missed, = self.process(self.KIND, pool, "restore", **other)
            self.assertEqual(missed["restored"], 0, other)
            found, = self.process(self.KIND, pool, "restore", **settings)
            self.assertEqual(found["restored"], PREFIX, settings)


class GptOss(Restore, EngineTest):
    KIND = "gptoss"

    def test_a_prompt_stored_late_restores_at_every_block(self):
        pool = self.pool()
        late, = self.process(self.KIND, pool, "save_late")
        self.assertEqual(late, {"saved": LATE, "kept": [95, 300, 95, 300]})
        for tokens in (LATE, 129, 64):
            restored, = self.process(self.KIND, pool, ("restore", {"tokens": tokens}))
            self.assertEqual(restored["restored"], (tokens - 1) // 32 * 32)

    def test_a_cache_of_its_own_stores_where_a_block_ends(self):
        pool = self.pool()
        computed, = self.process(self.KIND, pool, ("save", {"recording": False}))
        self.assertEqual(computed["saved"], PREFIX)
        restored, shorter = self.process(self.KIND, pool, "restore", ("restore", {"tokens": 200}))
        self.assertEqual((restored["restored"], shorter["restored"]), (PREFIX, 0))
        self.assert_same(computed, restored)


class Qwen3Moe(Restore, EngineTest):
    KIND = "qwen3moe"


if __name__ == "__main__":
    unittest.main()
