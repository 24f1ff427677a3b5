"""Real llama.cpp on a real pool: prompt, store, new process, restore, bit-equal logits; and controls that must fail."""
import json
import os
import shutil
import subprocess
import sys
import unittest

import numpy

import models
import pools

HERE = os.path.dirname(os.path.abspath(__file__))
DEADLINE_S = 1800
CHUNK = 128
PROMPT = {"seed": 0, "tokens": 700}
FULL = 640  # tokens in full chunks


class EngineTest(pools.FolderTest):
    @classmethod
    def setUpClass(cls):
        cls.models = pools.folder(cls.addClassCleanup)

    def start_again(self):
        shutil.rmtree(self.folder)
        os.mkdir(self.folder)

    def model(self, kind, seed=1):
        path = os.path.join(self.models, f"{kind}-{seed}.gguf")
        if not os.path.exists(path):
            models.write(kind, seed, path)
        return path

    def pool(self, settings=pools.WITH_CATALOG):
        return pools.write(self.folder, settings=f'unit = "64KiB"\n{settings}')

    def run_engine(self, kind, pool, *steps, chunk=CHUNK, batch=CHUNK, seed=1, **settings):
        """What a new process says of each step (name, prompt) or (name, prompt, file)."""
        settings |= {"model": self.model(kind, seed), "pool": pool, "chunk": chunk, "batch": batch}
        steps = [{"do": do, "prompt": prompt, "file": self.path(file[0] if file else f"{do}.npy")}
                 for do, prompt, *file in steps]
        done = subprocess.run([sys.executable, "-B", os.path.join(HERE, "engine.py"), json.dumps(settings),
                               json.dumps(steps)], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-1000:] + done.stderr[-3000:])
        return json.loads(done.stdout)

    def computed(self, kind, *prompts, **settings):
        """The logits of prompts that a process computes from the first token on, without a pool."""
        return [step["digest"] for step in self.run_engine(kind, None, *(("compute", prompt) for prompt in prompts),
                                                           **settings)]

    def difference(self, one, other):
        """The largest between two files of logits; infinite where one has no number."""
        difference = numpy.abs(numpy.load(self.path(one)) - numpy.load(self.path(other))).max()
        return float(difference) if numpy.isfinite(difference) else float("inf")


class Llama(EngineTest):
    KIND = "llama"

    def test_a_new_process_gives_the_same_logits(self):
        pool = self.pool()
        computed, saved = self.run_engine(self.KIND, pool, ("compute", PROMPT), ("save", None))
        self.assertEqual(saved, {"saved": FULL})
        shared = {"seed": 5, "tokens": 500, "shared": 300}
        whole, part = self.run_engine(self.KIND, pool, ("restore", PROMPT), ("restore", shared))
        self.assertEqual((whole["restored"], part["restored"]), (FULL, 256))
        self.assertEqual(whole["digest"], computed["digest"])
        self.assertEqual([part["digest"]], self.computed(self.KIND, shared))

    def test_without_what_is_restored_the_logits_are_others(self):
        rest = PROMPT | {"begin": FULL}
        whole, part = self.computed(self.KIND, PROMPT, rest)
        self.assertNotEqual(whole, part)

    def test_generating_goes_on_from_what_was_restored(self):
        pool = self.pool()
        expected, saved = self.run_engine(self.KIND, pool, ("generate", PROMPT), ("save", None))
        self.assertEqual(saved["saved"], FULL)
        [restored] = self.run_engine(self.KIND, pool, ("generate", PROMPT))
        self.assertEqual(restored, {"restored": FULL, "tokens": expected["tokens"]})

    def test_two_prompts_in_one_process(self):
        pool, other = self.pool(), {"seed": 9, "tokens": 400}
        steps = self.run_engine(self.KIND, pool, ("compute", PROMPT), ("save", None), ("compute", other),
                                ("save", None), ("restore", PROMPT), ("restore", other))
        self.assertEqual([steps[at].get("restored") for at in (4, 5)], [FULL, 384])
        self.assertEqual([steps[at]["digest"] for at in (4, 5)], [steps[at]["digest"] for at in (0, 2)])

    DAMAGE = ("damage", PROMPT | {"index": 2}, pools.DISK)

    def test_a_wrong_bit_is_refused_and_computed_again(self):
        pool = self.pool()
        computed, *_ = self.run_engine(self.KIND, pool, ("compute", PROMPT), ("save", None), self.DAMAGE)
        first, again, saved = self.run_engine(self.KIND, pool, ("restore", PROMPT), ("restore", PROMPT), ("save", None))
        self.assertEqual((first["restored"], again["restored"]), (2 * CHUNK, 2 * CHUNK))
        self.assertEqual([first["digest"], again["digest"]], [computed["digest"]] * 2)
        self.assertEqual(saved["saved"], CHUNK)

    def test_where_nothing_is_verified_the_bit_changes_the_logits(self):
        """In one process: a pool that verifies nothing forgets all when it is closed."""
        steps = ("compute", PROMPT), ("save", None), ("restore", PROMPT), self.DAMAGE, ("restore", PROMPT)
        computed, _, right, _, wrong = self.run_engine(self.KIND, self.pool(pools.UNVERIFIED), *steps)
        self.assertEqual((right["restored"], wrong["restored"]), (FULL, FULL))
        self.assertEqual(right["digest"], computed["digest"])
        self.assertNotEqual(wrong["digest"], computed["digest"])

    def test_another_namespace_finds_nothing(self):
        pool = self.pool()
        self.run_engine(self.KIND, pool, ("compute", PROMPT), ("save", None))
        for other in ({"seed": 2}, {"chunk": 64}, {"options": {"type_k": 0, "type_v": 0}},
                      {"options": {"flash_attn": True}}, {"options": {"rope_freq_base": 5000.0}},
                      {"store": {"namespace": "other"}}):
            restored, computed = self.run_engine(self.KIND, pool, ("restore", PROMPT), ("compute", PROMPT), **other)
            self.assertEqual(restored["restored"], 0, other)
            self.assertEqual(restored["digest"], computed["digest"], other)
        [found] = self.run_engine(self.KIND, pool, ("restore", PROMPT))
        self.assertEqual(found["restored"], FULL)

    def test_other_types_and_flash_attention_come_back_too(self):
        for options in ({"flash_attn": True}, {"type_k": 0, "type_v": 0},
                        {"flash_attn": True, "type_k": 8, "type_v": 8}):
            pool = self.pool()
            computed, _ = self.run_engine(self.KIND, pool, ("compute", PROMPT), ("save", None), options=options)
            [restored] = self.run_engine(self.KIND, pool, ("restore", PROMPT), options=options)
            self.assertEqual(restored, {"restored": FULL, "digest": computed["digest"], "best": computed["best"]})

    def test_a_pool_that_goes_costs_the_hits_only(self):
        steps = ("compute", PROMPT), ("close_pool", None), ("restore", PROMPT), ("save", None)
        computed, _, restored, saved = self.run_engine(self.KIND, self.pool(), *steps)
        self.assertEqual((restored["restored"], saved["saved"]), (0, 0))
        self.assertEqual(restored["digest"], computed["digest"])

    def test_what_the_cpp_store_saves_python_finds_and_the_other_way_round(self):
        kinds = ("c++", ("save", None)), ("python", ("save", PROMPT))
        for (one, save), (other, _) in zip(kinds, reversed(kinds)):
            pool = self.pool(f"{pools.WITH_CATALOG}\ncreate_if_missing = true")
            computed, saved = self.run_engine(self.KIND, pool, ("compute", PROMPT), save, bare=one)
            self.assertEqual(saved["saved"], FULL)
            for kind in (one, other):
                [restored] = self.run_engine(self.KIND, pool, ("restore", PROMPT), bare=kind)
                self.assertEqual((restored["restored"], restored["digest"]), (FULL, computed["digest"]))
            [missing] = self.run_engine(self.KIND, pool, ("restore", PROMPT), bare=other, chunk=64)
            self.assertEqual((missing["restored"], missing["digest"]), (0, computed["digest"]))
            self.start_again()

    def test_a_plain_llama_is_refused_in_one_sentence(self):
        pool, model = self.pool(), self.model(self.KIND)
        for second, sentence in (("1, False", "set n_seq_max to 2 or more"), ("2, False", "set kv_unified to true")):
            done = subprocess.run([sys.executable, "-c", f"""
import sys, llama_cpp, kvpool, kvpool.llama_cpp as adapter
default = llama_cpp.llama_cpp.llama_context_default_params
def params():
    result = default()
    result.n_seq_max, result.kv_unified = {second}
    return result
llama_cpp.llama_cpp.llama_context_default_params = params
llama = llama_cpp.Llama(sys.argv[2], n_ctx=512, verbose=False)
adapter.PrefixStore(kvpool.Pool.open(sys.argv[1], create=True), llama)
""", pool, model], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
            self.assertIn(sentence, done.stderr.strip().splitlines()[-1])


class GptOss(EngineTest):
    """Sliding and full layers in turns, a window of 64 tokens."""

    KIND = "gptoss"
    KEEPS_ALL = {"swa_full": True}

    def round_trip(self, chunk, **settings):
        pool = self.pool()
        computed, saved = self.run_engine(self.KIND, pool, ("compute", PROMPT, "computed.npy"), ("save", None),
                                          chunk=chunk, **settings)
        [restored] = self.run_engine(self.KIND, pool, ("restore", PROMPT, "restored.npy"), chunk=chunk, **settings)
        return computed, saved["saved"], restored

    def test_a_new_process_gives_the_same_logits(self):
        """With chunks that are shorter than the window, as long, and longer."""
        for chunk, full in ((32, 672), (64, FULL), (CHUNK, FULL), (256, 512)):
            computed, saved, restored = self.round_trip(chunk, options=self.KEEPS_ALL)
            self.assertEqual((saved, restored["restored"]), (full, full))
            self.assertEqual(restored["digest"], computed["digest"])
            self.start_again()

    def test_where_llama_cpp_itself_rounds_otherwise_so_does_a_restored_prompt(self):
        """Flash attention's sums depend on how the prompt was split and where its cells lie. There is no difference to
        llama.cpp's own restore of the whole sequence, with the same split."""
        for chunk, batch, options in ((256, CHUNK, {"swa_full": False}), (64, 512, self.KEEPS_ALL)):
            options = options | {"flash_attn": True}
            computed, _, restored = self.round_trip(chunk, batch=batch, options=options)
            split = PROMPT | {"split": restored["restored"]}
            [whole] = self.run_engine(self.KIND, None, ("whole", split, "whole.npy"), batch=batch, options=options)
            ours = self.difference("computed.npy", "restored.npy")
            print(f"\ngptoss, flash attention, chunks of {chunk}, batches of {batch}, {options}: restored "
                  f"{restored['restored']}, logits differ by {ours:.2g}, by llama.cpp's own save and restore "
                  f"{self.difference('computed.npy', 'whole.npy'):.2g}", flush=True)
            self.assertGreater(restored["restored"], 0)
            self.assertEqual(restored["digest"], whole["digest"])
            self.assertLess(ours, 1e-2)
            self.start_again()

    def test_without_what_is_restored_the_logits_are_others(self):
        self.run_engine(self.KIND, None, ("compute", PROMPT, "whole.npy"),
                        ("compute", PROMPT | {"begin": FULL}, "part.npy"), options=self.KEEPS_ALL)
        self.assertGreater(self.difference("whole.npy", "part.npy"), 0.1)

    def test_a_shared_prefix_needs_the_window_before_its_end(self):
        shared = {"seed": 5, "tokens": 500, "shared": 300}
        for options, restored in ((self.KEEPS_ALL, 256), ({"swa_full": False}, 0)):
            self.round_trip(64, options=options)
            [part] = self.run_engine(self.KIND, self.path("pool.toml"), ("restore", shared), chunk=64, options=options)
            self.assertEqual(part["restored"], restored)
            self.assertEqual([part["digest"]], self.computed(self.KIND, shared, options=options))
            self.start_again()


if __name__ == "__main__":
    unittest.main()
