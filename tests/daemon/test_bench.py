"""kvpool bench --socket: processes of several models on one daemon, and one sentence for each mistake."""
import json
import re
import signal
import unittest

from harness import KVPOOL, DaemonTest, run

MIB = 1 << 20
MODELS = [("LLaMA-3.1-8B", 32 * MIB), ("Qwen3-30B-A3B", 24 * MIB), ("GPT-OSS-20B", 12 * MIB)]


class Bench(DaemonTest):
    def bench(self, *arguments):
        return run(KVPOOL, "bench", "--socket", self.daemon.socket, *map(str, arguments))

    def refused(self, words, *arguments):
        ran = self.bench(*arguments)
        self.assertNotEqual(ran.returncode, 0)
        self.assertIn(words, ran.stderr)
        self.assertEqual(len(ran.stderr.strip().splitlines()), 1, ran.stderr)

    def test_each_client_has_a_context_of_its_model_and_the_sums_are_theirs(self):
        ran = self.bench("--clients", 4, "--context", "12MiB", "--seconds", 0.2, "--json", self.daemon.folder / "out")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        header, *clients, together = json.loads((self.daemon.folder / "out").read_text())
        self.assertEqual(set(header), {"commit", "config_hash", "machine", "date"})
        self.assertEqual([(row["note"], row["bytes"]) for row in clients], MODELS + MODELS[:1])
        speeds = [row["bytes_per_s"] for row in clients]
        self.assertAlmostEqual(sum(speeds) / together["bytes_per_s"], 1)
        self.assertAlmostEqual(min(speeds) * 4 / sum(speeds) / together["worst_over_fair_share"], 1)
        self.assertAlmostEqual(sum(speeds) / 5e9 / together["fraction_of_devices"], 1)
        alone = sum(row["alone_bytes_per_s"] for row in clients) / 4
        self.assertAlmostEqual(sum(speeds) / alone / together["sum_over_alone"], 1)
        self.assertEqual(len(re.findall("GB/s", ran.stdout)), 2 * 4 + 2, ran.stdout)

    def test_nothing_of_it_stays(self):
        self.assertEqual(self.bench("--clients", 2, "--context", "12MiB", "--seconds", 0.1).returncode, 0)
        self.assertIn(" 0 blocks", run(KVPOOL, "info", "--pool", str(self.daemon.pool)).stdout)

    def test_mistakes_are_one_sentence_each(self):
        self.refused("shorter --context", "--clients", 8, "--context", "48MiB")
        self.refused("are free", "--clients", 64, "--context", "64GiB")
        self.refused("--prefix", "--prefix", 50)
        self.refused("--pool for", "--pool", self.daemon.pool)
        self.refused("--clients", "--clients", 65)
        alone = run(KVPOOL, "bench", "--clients", "3", "--pool", str(self.daemon.pool))
        self.assertIn("name its --socket", alone.stderr)

    def test_a_daemon_that_stands_still_is_named(self):
        self.daemon.process.send_signal(signal.SIGSTOP)
        self.refused("does not answer")

    def test_a_daemon_that_goes_meanwhile_ends_it(self):
        self.daemon.stop()
        self.refused("no daemon listens")


if __name__ == "__main__":
    unittest.main()
