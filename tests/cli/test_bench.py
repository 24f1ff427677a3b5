"""A comparison so small that it says nothing about speed, but everything about shapes."""

import os
import subprocess
import time

from harness import CliTest, KVPOOL, interrupt, main

COLUMNS = {"bench", "case", "method", "bytes", "seconds", "bytes_per_s", "bytes_per_s_min",
           "bytes_per_s_max", "fraction_of_devices", "cpu_s_per_gib", "blocked_s"}


POOL = """
pool = { version = 1, unit = "64KiB" }

[[device]]
name = "dram"
kind = "memory"
capacity = "32MiB"
read_bandwidth = "2GB/s"
write_bandwidth = "2GB/s"

[[device]]
name = "ssd"
kind = "file"
path = "ssd.kvpool"
capacity = "64MiB"
read_bandwidth = "1GB/s"
write_bandwidth = "1GB/s"
accept_buffered = true
"""


class Bench(CliTest):
    def arguments(self, *more, repeat=1):
        return ("bench", "--devices", "memory:2000,file:400,file:200", "--dir", self.path("scratch"),
                "--context", "24MiB", "--block-tokens", 16, "--repeat", repeat, "--accept-buffered", *more)

    def test_every_method_and_prefix_has_a_row(self):
        rows = self.rows(*self.arguments("--prefix", "50,100", "--methods",
                                         "pool,equal,serial,serial-direct"))
        gets = [row for row in rows if row["case"].startswith("prefix")]
        self.assertEqual(len(gets), 8)
        self.assertEqual({row["method"] for row in gets},
                         {"pool", "equal", "serial", "serial-direct"})
        for row in gets:
            self.assertLessEqual(COLUMNS, set(row))
            self.assertGreater(row["bytes_per_s"], 0)
        self.assertLessEqual({"pool-put", "equal-put"}, {row["method"] for row in rows})
        self.assertFalse(os.path.exists(self.path("scratch")), "it made that folder")

    def test_prints_one_table_and_writes_a_page(self):
        done = self.succeed(*self.arguments("--methods", "pool,serial", "--prefix", "100",
                                            "--memory-limit", "25%", "--verify", "off", "--report",
                                            self.path("report.html")))
        self.assertIn("serial", done.stdout)
        with open(self.path("report.html"), encoding="utf-8") as text:
            page = text.read()
        self.assertIn("<svg", page)
        for elsewhere in ("src=\"http", "href=\"http", "@import"):
            self.assertNotIn(elsewhere, page)

    def test_a_pool_that_is_there_is_measured_and_kept(self):
        with open(self.path("pool.toml"), "w", encoding="utf-8") as out:
            out.write(POOL)
        self.succeed("create", "--pool", self.path("pool.toml"))
        rows = self.rows("bench", "--pool", self.path("pool.toml"), "--context", "24MiB",
                         "--block-tokens", 16, "--repeat", 2, "--prefix", "50,100")
        self.assertEqual({row["method"] for row in rows}, {"pool", "pool-put"})
        self.assertTrue(os.path.exists(self.path("ssd.kvpool")))
        self.succeed("check", "--pool", self.path("pool.toml"))

    def test_a_pool_and_what_cannot_be_measured_of_it(self):
        pool = self.write("pool.toml", POOL)
        self.succeed("create", "--pool", pool)
        for options, words in ((("--block-tokens", 0), "block"), (("--repeat", 0), "repeat"),
                               (("--context", "1MiB"), "at least one block"),
                               (("--unit", "1MiB"), "--unit"),
                               (("--memory-limit", "25%"), "--memory-limit"),
                               (("--accept-buffered",), "--accept-buffered"),
                               (("--methods", "pool,serial"), "--methods")):
            with self.subTest(options):
                self.refuse("bench", "--pool", pool, *options, code=2, words=[words])
        self.succeed("bench", "--pool", pool, "--methods", "pool", "--context", "8MiB",
                     "--block-tokens", 16, "--repeat", 1, "--prefix", 100)

    def test_devices_and_a_pool_are_one_too_many(self):
        self.refuse(*self.arguments("--pool", self.path("pool.toml")), code=2,
                    words=["either", "--devices", "--pool"])
        self.refuse("bench", code=2, words=["--devices", "--pool"])

    def test_a_drive_has_to_be_one(self):
        self.refuse("bench-drives", "--drives", self.path("pool.toml"), code=2,
                    words=["whole drive"])
        self.refuse("bench-drives", "--drives", "/dev/null", "--methods", "ext3", code=2,
                    words=["ext4-buffered"])

    def test_drives_and_no_block(self):
        for options, words in ((("--block-tokens", 0), "block"), (("--repeat", 0), "repeat")):
            self.refuse("bench-drives", "--drives", "/dev/null", *options, code=2, words=[words])

    def test_more_than_there_is_room_for(self):
        self.refuse("bench", "--devices", "memory,file", "--dir", self.path("scratch"), "--context",
                    "900TiB", code=2, words=["context"])

    def test_folders_that_it_made_go_again(self):
        os.mkdir(self.path("own"))
        for context in ("24MiB", "1TiB"):
            self.run_kvpool("bench", "--devices", "memory:2000,file:400", "--dir",
                            self.path("own", "new", "sub"), "--context", context, "--block-tokens",
                            16 if context == "24MiB" else 256, "--repeat", 1, "--methods", "pool",
                            "--accept-buffered")
            self.assertEqual(os.listdir(self.path("own")), [])

    def test_an_interrupt_leaves_no_files(self):
        process = subprocess.Popen([KVPOOL, *map(str, self.arguments(repeat=50))],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not self.files() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        self.assertIsNone(process.poll(), "it ended before it could be interrupted")
        self.assertEqual(interrupt(process, 0.2), -2)
        self.assertEqual(self.files(), [])

    def files(self):
        scratch = self.path("scratch")
        return os.listdir(scratch) if os.path.exists(scratch) else []


if __name__ == "__main__":
    main()
