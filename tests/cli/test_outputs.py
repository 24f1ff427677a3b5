"""Nothing that a command reads is overwritten, and what cannot be written is said at once."""

import os

from harness import CliTest, main


class Outputs(CliTest):
    def content(self, path):
        with open(path, "rb") as file:
            return file.read()

    def test_a_pool_is_not_overwritten(self):
        pool = self.created_pool()
        os.link(self.path("b"), self.path("hardlink"))
        os.symlink(pool, self.path("symlink"))
        trace = self.tiny_trace()
        for name in ("a", "pool.toml", "catalog.db", "catalog.db-wal", "hardlink", "symlink"):
            for command in (("info",), ("check",), ("replay", trace)):
                with self.subTest(name=name, command=command):
                    self.refuse(*command, "--pool", pool, "--json", self.path(name), code=2,
                                words=["overwrite", self.path(name)])
        self.succeed("info", "--pool", pool)

    def test_nor_by_a_bench_of_it(self):
        pool = self.created_pool()
        before = {name: self.content(self.path(name)) for name in ("a", "pool.toml", "catalog.db")}
        for option in ("--json", "--report"):
            for name in before:
                with self.subTest(option=option, name=name):
                    self.refuse("bench", "--pool", pool, option, self.path(name), code=2,
                                words=[option, "overwrite", self.path(name)])
        self.refuse("bench", "--pool", pool, "--json", "r", "--report", "./r", code=2,
                    words=["--report", "--json"])
        for name, content in before.items():
            self.assertEqual(self.content(self.path(name)), content)

    def test_nor_by_a_command_that_was_told_of_no_pool(self):
        self.created_pool()
        for name, words in (("a", "a device of a pool"), ("catalog.db", "catalog"),
                            ("pool.toml", "a pool file")):
            before = self.content(self.path(name))
            for command in (("trace", "--sessions", 1, "--out"),
                            ("bench", "--devices", "memory", "--dir", self.path("s"), "--report"),
                            ("probe", "--memory", 0, "--json")):
                with self.subTest(name=name, command=command):
                    self.refuse(*command, self.path(name), code=2, words=["overwrite", words])
            self.assertEqual(self.content(self.path(name)), before)
        old = self.write("old.jsonl", "an older trace\n")
        self.succeed("trace", "--sessions", 1, "--out", old)

    def test_a_trace_is_not_overwritten(self):
        trace = self.tiny_trace()
        before = self.content(trace)
        self.refuse("replay", trace, "--index-only", "--capacity-blocks", 10, "--json", trace,
                    code=2, words=["overwrite", "the trace"])
        self.refuse("replay", "./trace.jsonl", "--pool", self.created_pool(), "--json", trace,
                    code=2, words=["overwrite", "the trace"])
        self.assertEqual(self.content(trace), before)

    def test_two_outputs_in_one_file(self):
        self.refuse("bench", "--devices", "memory", "--dir", self.path("scratch"), "--json", "r",
                    "--report", self.path("r"), code=2, words=["--report", "--json"])
        self.refuse("probe", self.dir, "--out", "p", "--json", "./p", code=2,
                    words=["--json", "--out"])
        self.assertEqual(os.listdir(self.dir), [])

    def test_what_cannot_be_written_is_said_before_the_work(self):
        os.mkdir(self.path("folder"))
        for file in (self.path("absent", "r"), self.path("folder"), "/proc/kvpool-test/r"):
            with self.subTest(file):
                # Unheeded, these would fail only after the missing pool, trace and memory.
                self.refuse("replay", "absent.jsonl", "--index-only", "--capacity-blocks", 10,
                            "--json", file, code=2, words=["--json", file])
                self.refuse("probe", "absent", "--memory", 0, "--out", file, code=2,
                            words=[file])
                self.refuse("bench", "--devices", "memory", "--dir", self.path("scratch"),
                            "--context", "1TiB", "--report", file, code=2,
                            words=["--report", file])
                self.refuse("trace", "--out", file, code=2, words=["--out", file])
        self.assertEqual(os.listdir(self.dir), ["folder"])


if __name__ == "__main__":
    main()
