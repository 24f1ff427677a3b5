"""What the shell or the machine does not give: one sentence, an exit code, and nothing left."""

import os
import resource
import subprocess

from harness import CRASH_MARKS, KVPOOL, CliTest, main


class Limits(CliTest):
    def run_limited(self, limit, value, *arguments):
        done = subprocess.run([KVPOOL, *map(str, arguments)], capture_output=True, text=True,
                              timeout=100, cwd=self.dir, check=False,
                              preexec_fn=lambda: resource.setrlimit(limit, (value, value)))
        for mark in CRASH_MARKS:
            self.assertNotIn(mark, done.stderr)
        self.assertIn(done.returncode, (1, 2), done.stderr)
        said = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
        self.assertEqual(len(said), 1, done.stderr)
        return said[0]

    def need_small_address_space(self):
        try:
            subprocess.run([KVPOOL, "--version"], capture_output=True, check=True, preexec_fn=lambda:
                           resource.setrlimit(resource.RLIMIT_AS, (50 << 20, 50 << 20)))
        except subprocess.CalledProcessError:
            self.skipTest("this build needs much address space (a sanitizer does)")

    def test_no_address_space(self):
        self.need_small_address_space()
        bench = ("bench", "--devices", "memory:2000,file:400", "--dir", self.path("scratch"),
                 "--context", "64MiB", "--block-tokens", 16, "--accept-buffered")
        for mib in (50, 70, 100, 200):
            with self.subTest(mib):
                self.run_limited(resource.RLIMIT_AS, mib << 20, *bench)
                self.assertEqual(os.listdir(self.dir), [])

    def test_a_trace_that_does_not_fit(self):
        self.need_small_address_space()
        trace = self.write("big.jsonl", '{"timestamp": 0, "input_length": 1, "output_length": 1, '
                           '"hash_ids": [' + "1, " * 900000 + "1]}\n" + "[" * 40000000)
        said = self.run_limited(resource.RLIMIT_AS, 90 << 20, "replay", trace, "--index-only",
                                "--capacity-blocks", 10)
        self.assertIn("ulimit -v", said)

    def test_files_of_a_limited_size(self):
        said = self.run_limited(resource.RLIMIT_FSIZE, 1 << 20, "trace", "--sessions", 3000,
                                "--out", self.path("t.jsonl"))
        self.assertIn("t.jsonl", said)

    def test_standard_output_without_room(self):
        pool = self.created_pool()
        for command in (("info", "--pool", pool), ("check", "--pool", pool), ("--help",)):
            with self.subTest(command), open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([KVPOOL, *command], stdout=full, stderr=subprocess.PIPE,
                                      text=True, check=False)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn("standard output", done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_a_reader_that_goes_away(self):
        with subprocess.Popen([KVPOOL, "trace", "--sessions", "1000000000", "--duration", "1e11"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as trace:
            trace.stdout.readline()
            trace.stdout.close()
            self.assertGreater(trace.wait(timeout=30), 0)
            self.assertEqual(len(trace.stderr.read().splitlines()), 1)

    def test_an_endless_trace(self):
        for more in ((), ("--skip-bad-lines",)):
            with self.subTest(more):
                self.refuse("replay", "/dev/zero", "--index-only", "--capacity-blocks", 10, *more,
                            code=2, words=["/dev/zero, line 1"])


if __name__ == "__main__":
    main()
