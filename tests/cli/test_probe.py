"""Measuring: a pool file comes out that the other commands take."""

import os
import signal
import subprocess
import time

from harness import CliTest, KVPOOL, interrupt, main

QUICK = ("--seconds", "0.05", "--sample", "16MiB", "--accept-buffered")


def measured(rows):
    return [row for row in rows if row["case"] != "path"]


class Probe(CliTest):
    def test_writes_a_pool_file_that_create_and_info_take(self):
        os.mkdir(self.path("drive"))
        pool = self.path("pool.toml")
        rows = self.rows("probe", self.path("drive"), *QUICK, "--memory", "16MiB", "--capacity",
                         "32MiB", "--out", pool)
        for row in measured(rows):
            self.assertGreater(row["read_bytes_per_s"], 0)
            self.assertGreater(row["write_bytes_per_s"], 0)
            self.assertGreater(row["read_latency_us_p50"], 0)
        self.assertEqual(os.listdir(self.path("drive")), [], "a temporary file is left")
        self.succeed("create", "--pool", pool)
        devices = [row for row in self.rows("info", "--pool", pool) if row["case"] == "device"]
        self.assertIn("drive", [row["name"] for row in devices])
        self.assertIn("memory", [row["kind"] for row in devices])

    def test_a_sample_too_small(self):
        for size in ("1", "4KiB", "1048575"):
            self.refuse("probe", self.dir, "--sample", size, code=2, words=["--sample", "MiB"])
        self.succeed("probe", self.dir, "--seconds", "0.05", "--accept-buffered", "--sample", "1MiB",
                     "--memory", 0)

    def test_a_pool_without_devices(self):
        self.refuse("probe", "--memory", 0, "--out", self.path("pool.toml"), code=2,
                    words=["--memory"])
        self.assertEqual(os.listdir(self.dir), [])

    def test_names_that_are_not_utf_8(self):
        folder = self.path(os.fsdecode(b"caf\xe9"))
        os.mkdir(folder)
        self.refuse("probe", folder, *QUICK, "--out", self.path("pool.toml"), code=2,
                    words=["UTF-8"])
        self.refuse("probe", self.dir, *QUICK, "--out", os.path.join(folder, "pool.toml"), code=2,
                    words=["UTF-8"])
        self.assertEqual(os.listdir(folder), [])

    def test_tells_of_what_a_killed_run_left(self):
        left = self.path("kvpool-temporary-abc")
        os.mkdir(left)
        done = self.succeed("probe", self.dir, *QUICK, "--memory", 0)
        self.assertIn(f"rm -r {left}", done.stderr)
        self.assertTrue(os.path.isdir(left))
        os.rmdir(left)
        self.assertNotIn("rm -r", self.succeed("probe", self.dir, *QUICK, "--memory", 0).stderr)

    def test_without_memory(self):
        rows = self.rows("probe", self.dir, *QUICK, "--memory", 0)
        self.assertEqual([row["case"] for row in measured(rows)], [self.dir])

    def test_shows_the_ways_to_each_drive(self):
        rows = [row for row in self.rows("probe", *QUICK) if row["case"] == "path"]
        drives = {row["drive"] for row in rows}
        if not drives:
            self.skipTest("this machine has no drive that it could show")
        for drive in drives:
            ways = [row for row in rows if row["drive"] == drive]
            self.assertEqual([way["path"] for way in ways], ["spdk", "nvme", "block", "file"])
            self.assertLessEqual(sum(way["chosen"] for way in ways), 1)
            for way in ways:
                self.assertEqual(way["possible"], way["missing"] == "")
                self.assertLessEqual(way["chosen"], way["possible"])
        printed = self.succeed("probe", *QUICK).stdout
        again = {row["drive"] for row in self.rows("probe", *QUICK) if row["case"] == "path"}
        for drive in drives & again:  # others may come and go: loop devices of other tests
            self.assertIn(drive, printed)

    def test_lists_memory_and_drives(self):
        self.assertIn("memory node 0", self.succeed("probe", *QUICK).stdout)

    def test_an_interrupt_leaves_no_files(self):
        os.mkdir(self.path("drive"))
        process = subprocess.Popen(
            [KVPOOL, "probe", self.path("drive"), "--memory", "0", "--seconds", "60",
             "--accept-buffered"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not os.listdir(self.path("drive")) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertNotEqual(os.listdir(self.path("drive")), [], "it never began")
        self.assertEqual(interrupt(process, 0.2), -signal.SIGINT)
        self.assertEqual(os.listdir(self.path("drive")), [])

    def test_a_path_that_is_not_there(self):
        self.refuse("probe", self.path("absent"), *QUICK, "--memory", 0, code=2, words=["absent"])

    def test_does_not_replace_a_pool_file_unasked(self):
        pool = self.write("pool.toml", "precious")
        self.refuse("probe", self.dir, *QUICK, "--out", pool, code=2, words=["--force"])

    def test_more_memory_than_there_is(self):
        self.refuse("probe", self.dir, *QUICK, "--memory", "4000TiB", "--out",
                    self.path("pool.toml"), code=2, words=["--memory"])
        self.assertFalse(os.path.exists(self.path("pool.toml")))

    def test_more_capacity_than_there_is(self):
        self.refuse("probe", self.dir, *QUICK, "--memory", 0, "--capacity", "4000TiB", "--out",
                    self.path("pool.toml"), code=2, words=["--capacity"])


if __name__ == "__main__":
    main()
