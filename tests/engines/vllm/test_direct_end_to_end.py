"""The direct path in real vLLM: what test_end_to_end.py asks of the tier, and what can happen to a pool meanwhile."""
import os
import unittest
from unittest import mock

import kvpool
import pools
from pools import WITH_CATALOG
from test_end_to_end import CHUNK_BYTES, FULL_CHUNKS, MODELS, PROMPT, EngineTest, Restore

DAEMON = os.path.join(os.path.dirname(kvpool.__file__), "..", "..", "bin", "kvpoold")
OTHER = {**PROMPT, "seed": 8}


class DirectTest(EngineTest):
    SETTINGS = {"direct": True}


@unittest.skipUnless("llama" in MODELS, "not asked for")
class Llama(Restore, DirectTest):
    KIND = "llama"

    def test_another_namespace_dtype_or_layout_misses(self):
        pool = self.pool(WITH_CATALOG)
        self.run_engine(self.KIND, pool, [["generate", PROMPT]])
        for change in ({"llm": {"dtype": "bfloat16"}}, {"extra": {"blocks_per_chunk": 2}},
                       {"extra": {"namespace": "tenant"}}):
            with self.subTest(change=change):
                (other,) = self.run_engine(self.KIND, pool, [["generate", PROMPT]], **change)
                self.assertEqual(other["cached"], 0)
        (same,) = self.run_engine(self.KIND, pool, [["generate", PROMPT]])
        self.assertEqual(same["cached"], FULL_CHUNKS)

    def test_what_a_tier_stored_comes_back_and_the_other_way_round(self):
        for stores, loads in ((False, True), (True, False)):
            with self.subTest(direct=loads):
                pool = pools.write(self.folder, pools.disk("256MiB", path=f"disk-{loads}"), name=f"pool-{loads}.toml",
                                   settings=f'create_if_missing = true\ncatalog = "catalog-{loads}.db"')
                _, reference = self.run_engine(self.KIND, pool, [["generate", PROMPT]] * 2, direct=stores)
                (restored,) = self.run_engine(self.KIND, pool, [["generate", PROMPT]], direct=loads)
                self.assertEqual(restored["cached"], FULL_CHUNKS)
                self.assert_same(reference, restored)

    def test_engine_and_worker_in_processes_of_their_own(self):
        pool = self.pool(WITH_CATALOG)
        steps = [["generate", PROMPT], ["generate", PROMPT], ["sleep", 1], ["reset"], ["generate", PROMPT]]
        _, reference, restored = self.run_engine(self.KIND, pool, steps, processes=True)
        self.assertEqual(restored["cached"], FULL_CHUNKS)
        self.assert_same(reference, restored)

    def test_a_prefix_longer_than_the_staging_memory_ends(self):
        pool = self.pool(WITH_CATALOG)
        self.run_engine(self.KIND, pool, [["generate", PROMPT]])
        (small,) = self.run_engine(self.KIND, pool, [["generate", PROMPT]], extra={"staging_bytes": 4 * CHUNK_BYTES})
        self.assertEqual(small["cached"], 4 * 128)

    def test_a_daemon_that_goes_midway_is_a_miss(self):
        with mock.patch.object(pools, "DAEMON", DAEMON):
            pool = self.pool(WITH_CATALOG)
        self.addCleanup(pools._daemons.end, pool)
        daemon = pools._daemons.running[pool].pid
        computed, restored, after, again, other = self.run_engine(self.KIND, pool, [
            ["generate", PROMPT], ["sleep", 1], ["reset"], ["generate", PROMPT], ["kill", daemon], ["reset"],
            ["generate", PROMPT], ["generate", PROMPT], ["generate", OTHER]])
        self.assertEqual(restored["cached"], FULL_CHUNKS, "the pool was of no use before it went, either")
        self.assert_close(computed, restored)
        self.assertEqual((after["cached"], other["cached"]), (0, 0))
        self.assert_same(computed, after)
        self.assertEqual(again["cached"], FULL_CHUNKS, "by the engine's own cache")


@unittest.skipUnless("gptoss" in MODELS, "not asked for")
class GptOss(Restore, DirectTest):
    """Sliding and full layers in turns: two groups."""
    KIND = "gptoss"
    LLM = Restore.HYBRID


if __name__ == "__main__":
    unittest.main(verbosity=2)
