"""bench/ttft without an engine: its arithmetic, order, refusals and page. Each with a case that must fail."""
import contextlib
import importlib.machinery
import importlib.util
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import types
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]


def program(path):
    """The module of a program whose file has no suffix."""
    loader = importlib.machinery.SourceFileLoader(path.parent.name, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


ttft = program(ROOT / "bench/ttft/run")
import drives  # noqa: E402  found by what run adds to the path
import page  # noqa: E402
import pairs  # noqa: E402
import results  # noqa: E402
import rounds  # noqa: E402


def row(method, at, ttft_s, hit=100, bed="one", tier_s=1.0, **more):
    return {"bench": "ttft", "bed": bed, "method": method, "round": at, "hit": hit, "context": 0, "tail": f"{at}-{hit}",
            "ttft_s": ttft_s, "tier_s": tier_s, "tier_bytes": 1 << 28, "cpu_s": 0.4, "cached": 2048, "expected": 2048,
            "token": 7, "logprob": -1.5, **more}


def run_of(factor, count=20, bed="one"):
    """`count` rounds in which kvpool takes `factor` times as long as fs; later rounds are slower for both."""
    times = [0.4 + 0.01 * at for at in range(count)]
    return [row(method, at, taken * scale, bed=bed, tier_s=taken * scale) for at, taken in enumerate(times)
            for method, scale in (("fs", 1), ("kvpool", factor))]


class Ratios(unittest.TestCase):
    def test_are_of_the_same_round(self):
        rows = [row("fs", 0, 1.0), row("kvpool", 0, 2.0), row("kvpool", 1, 9.0), row("fs", 2, 4.0),
                row("kvpool", 2, 2.0)]
        self.assertEqual(pairs.pairs(rows, "kvpool", "fs", "ttft_s"), [2.0, 0.5])
        self.assertEqual(pairs.pairs(rows, "fs", "kvpool", "ttft_s"), [0.5, 2.0])

    def test_are_of_the_rows_that_were_meant(self):
        rows = [row("fs", 0, 1.0), row("kvpool", 0, 2.0), row("fs", 0, 1.0, hit=50), row("kvpool", 0, 9.0, hit=50)]
        self.assertEqual(pairs.pairs(rows, "kvpool", "fs", "ttft_s", {"hit": 100}), [2.0])
        with self.assertRaises(ValueError):
            pairs.pairs(rows, "kvpool", "fs", "ttft_s")

    def test_spread(self):
        found = pairs.spread([3.0, 1.0, 2.0, 5.0, 4.0])
        self.assertEqual([found[key] for key in ("median", "low", "high", "quarter", "three_quarters", "count")],
                         [3.0, 1.0, 5.0, 2.0, 4.0, 5])
        self.assertEqual(pairs.spread([2.0])["quarter"], 2.0)


class Figures(unittest.TestCase):
    def first(self, rows):
        return results.figures(rows, [200, 100, 60, 40])[0]

    def test_a_pool_as_fast_as_fs_meets_the_limit_and_a_slower_one_does_not(self):
        self.assertTrue(self.first(run_of(1.04)).met)
        slow = self.first(run_of(1.06))
        self.assertFalse(slow.met)
        self.assertTrue(slow.line().endswith("MISSED"))

    def test_too_few_pairs_and_none_are_not_met(self):
        few = self.first(run_of(0.9, count=19))
        self.assertFalse(few.met)
        self.assertIn("20 are asked for", few.line())
        self.assertFalse(pairs.Figure("nothing", [], at_most=2).met)

    def test_a_row_gives_its_figure_again(self):
        for figure in results.figures(run_of(1.06), [200, 100]):
            self.assertEqual(pairs.Figure.of(figure.row()), figure)

    def test_several_drives_are_held_against_their_bandwidths(self):
        def load(factor):
            return next(figure for figure in results.figures(run_of(factor, bed="several"), [200, 100, 60, 40])
                        if figure.at_most == 1.10)
        self.assertAlmostEqual(load(0.5).row()["median"], 1.0)
        self.assertTrue(load(0.5).met)
        self.assertFalse(load(0.6).met)
        self.assertFalse(load(1.0).met, "a pool that takes one drive only")


class Order(unittest.TestCase):
    METHODS = ["recompute", "fs", "kvpool", "lmcache"]

    def test_pairs_are_neighbours_and_take_turns(self):
        order = [(at, method) for at, hit, method in rounds.plan(self.METHODS, [0, 50, 100], 6, 2) if hit == 100]
        for at in range(6):
            mine = [method for round_, method in order if round_ == at and method in rounds.LOADING]
            self.assertEqual(mine, ["fs", "kvpool"] if at % 2 == 0 else ["kvpool", "fs"])

    def test_what_computes_much_runs_seldom(self):
        planned = list(rounds.plan(self.METHODS, [0, 50, 100], 6, 2))
        self.assertEqual(sum(method == "recompute" for _, _, method in planned), 2)
        self.assertEqual(sum(method == "lmcache" for _, _, method in planned), 6)
        self.assertEqual(sum(method == "kvpool" for _, _, method in planned), 6 + 2 + 2)

    def test_hits_are_whole_chunks_and_never_all_tokens(self):
        self.assertEqual([rounds.hit_tokens(hit, 2056, 128) for hit in (0, 50, 90, 100)], [0, 1024, 1792, 2048])
        self.assertEqual(rounds.hit_tokens(100, 2048, 128), 1920)


class Answers(unittest.TestCase):
    def test_the_same_for_all_methods(self):
        answers = {}
        rounds.check(row("fs", 0, 1.0), answers)
        rounds.check(row("kvpool", 0, 1.0), answers)
        rounds.check(row("recompute", 0, 1.0, cached=0, expected=0, logprob=-1.6), answers)
        with self.assertRaisesRegex(rounds.Wrong, "kvpool and fs answer the same prompt"):
            rounds.check(row("kvpool", 0, 1.0, logprob=-1.5000001), answers)

    def test_a_hit_that_is_none_does_not_count(self):
        with self.assertRaisesRegex(rounds.Wrong, "kvpool found 1920 tokens where 2048 are stored"):
            rounds.check(row("kvpool", 0, 0.1, cached=1920), {})


class Refusals(unittest.TestCase):
    CHOSEN = types.SimpleNamespace(dir="/nowhere", contexts=1, tokens=2056, speeds=[200, 100], chunk=128,
                                   methods=["fs"])

    def said(self, bed):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(ttft.measure(bed, self.CHOSEN, None), [])
        self.assertEqual(out.getvalue().count("\n"), 1, "one sentence")
        return out.getvalue()

    def test_without_root_every_bed_says_what_is_left_out(self):
        with mock.patch.object(os, "geteuid", return_value=1000):
            for bed in ("one", "several"):
                self.assertRegex(self.said(bed), f'^kvpool: the rows of "{bed}" are left out: it takes root')

    def test_without_the_controller_only_several_drives_are_left_out(self):
        with mock.patch.object(os, "geteuid", return_value=0), \
                mock.patch.object(drives, "BLKIO", pathlib.Path("/nowhere/blkio")), \
                tempfile.TemporaryDirectory() as folder:
            self.assertRegex(self.said("several"), '^kvpool: the rows of "several" are left out: /nowhere/blkio has no')
            chosen = types.SimpleNamespace(**{**vars(self.CHOSEN), "dir": folder})
            ttft.make_bed("one", chosen).close()

    def test_without_an_environment(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, "-B", ROOT / "bench/ttft/run", "--out", folder], text=True,
                                  check=False, capture_output=True, env={**os.environ, "KVPOOL_BUILD": folder})
            self.assertEqual(done.returncode, 1)
            self.assertIn("every row is left out: the environment with vLLM cannot be made", done.stderr)
            self.assertNotIn("Traceback", done.stderr)
            self.assertEqual(os.listdir(folder), [])

    def test_wrong_options(self):
        for given in (["--methods", "ramdisk"], ["--hits", "101"], ["--drives", "fast"], ["--only", "all"],
                      ["--tokens", "9"]):
            done = subprocess.run([sys.executable, "-B", ROOT / "bench/ttft/run", *given], text=True, check=False,
                                  capture_output=True)
            self.assertEqual(done.returncode, 2, given)
            self.assertNotIn("Traceback", done.stderr)


class Page(unittest.TestCase):
    def made(self, factor):
        rows = run_of(factor) + [row("recompute", 0, 5.25, hit=0, cached=0, expected=0, tier_s=0.0)]
        chosen = types.SimpleNamespace(drives="200,100", tokens=2056)
        return results.html({"commit": "abc", "versions": {"vllm": "<0>"}}, results.figures(rows, [200, 100]), rows,
                            chosen)

    def test_has_the_numbers_and_nothing_from_elsewhere(self):
        text = self.made(1.0)
        for part in ("5.250", "half of the pairs", "<circle", "vllm &lt;0&gt;", "--accent"):
            self.assertIn(part, text)
        for part in ("http:", "https:", "src=", "@import", "url("):
            self.assertNotIn(part, text)

    def test_says_what_is_missed(self):
        self.assertIn("<td>missed</td>", self.made(1.2))
        self.assertNotIn("<td>missed</td>", self.made(1.0))

    def test_escapes(self):
        self.assertIn("&lt;b&gt;", page.table(["<b>"], [["<i>"]]))
        self.assertNotIn("<i>", page.table(["<b>"], [["<i>"]]))


if __name__ == "__main__":
    unittest.main()
