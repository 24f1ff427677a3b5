"""Pools of files: made, filled by a replay, checked, damaged."""

import fcntl
import os
import shutil
import subprocess
import time

from harness import CliTest, KVPOOL, main

MIB = 1 << 20


class Create(CliTest):
    def test_makes_the_files_at_full_size(self):
        self.created_pool()
        for name in ("a", "b"):
            self.assertGreaterEqual(os.path.getsize(self.path(name)), 64 * MIB)

    def test_refuses_to_make_it_twice_and_leaves_all_as_it_was(self):
        pool = self.created_pool()
        before = sorted(os.listdir(self.dir))
        self.refuse("create", "--pool", pool, code=1, words=["already"])
        self.assertEqual(before, sorted(os.listdir(self.dir)))
        self.succeed("info", "--pool", pool)

    def refuse_create(self, *devices, words, code=1):
        pool = self.pool_file(*devices)
        before = sorted(os.listdir(self.dir))
        self.refuse("create", "--pool", pool, code=code, words=words)
        self.assertEqual(before, sorted(os.listdir(self.dir)), "something half-made is left")

    def test_no_space_leaves_nothing_behind(self):
        self.refuse_create(self.device("a"), self.device("b", capacity="1000TiB"),
                           words=["free"])

    def test_a_file_of_that_name_is_left_alone(self):
        self.write("b", "precious")
        self.refuse_create(self.device("a"), self.device("b"), words=[self.path("b")])
        with open(self.path("b"), encoding="utf-8") as text:
            self.assertEqual(text.read(), "precious")

    def test_a_folder_that_is_not_there(self):
        self.refuse_create(self.device("a"), self.device("b", path=self.path("absent", "b")),
                           words=["absent"], code=2)

    def test_a_folder_that_takes_no_files(self):
        # Also root cannot make files there.
        self.refuse_create(self.device("a"), self.device("b", path="/proc/kvpool-test"),
                           words=["/proc/kvpool-test"], code=2)


    def test_a_read_only_folder(self):
        folder = self.path("fixed")
        os.mkdir(folder)
        if os.geteuid() == 0:
            program = self.read_only_for_root(folder)
        else:
            os.chmod(folder, 0o555)
            program = [KVPOOL]
        pool = self.pool_file(self.device("a"), self.device("b", path=os.path.join(folder, "b")))
        done = subprocess.run([*program, "create", "--pool", pool], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(folder, done.stderr)
        self.assertEqual(sorted(os.listdir(self.dir)), ["fixed", "pool.toml"])

    def read_only_for_root(self, folder):
        """Root may write anywhere but to a read-only mount, in a namespace of its own."""
        mount = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}"
        program = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", KVPOOL]
        if shutil.which("unshare") is None:
            self.skipTest("unshare is not here")
        if subprocess.run([*program, "--version"], capture_output=True, check=False).returncode != 0:
            self.skipTest("mounting is not allowed here")
        return program


class Info(CliTest):
    def test_shows_devices_and_shares(self):
        pool = self.created_pool(self.device("a"), self.device("b"),
                                 self.device("ram", kind="memory"))
        rows = self.rows("info", "--pool", pool)
        devices = [row for row in rows if row["case"] == "device"]
        self.assertEqual([row["name"] for row in devices], ["a", "b", "ram"])
        self.assertAlmostEqual(sum(row["share"] for row in devices), 1, places=2)

    def test_shows_tenants(self):
        pool = self.created_pool(self.device("a"))
        self.assertNotIn("tenant", self.succeed("info", "--pool", pool).stdout)
        with open(pool, "a", encoding="utf-8") as file:
            file.write('[[tenant]]\nname = "chat"\nusers = [1]\nquota = "6MiB"\nweight = 3\n')
        tenants = [row for row in self.rows("info", "--pool", pool) if row["case"] == "tenant"]
        self.assertEqual([(row["name"], row["quota_bytes"], row["weight"], row["used_bytes"]) for row in tenants],
                         [("chat", 6 << 20, 3, 0)])
        self.assertRegex(self.succeed("info", "--pool", pool).stdout, r"chat +3 +0 +0 B +6 MiB")

    def test_a_quota_below_one_context(self):
        pool = self.created_pool(self.device("a"))
        with open(pool, "a", encoding="utf-8") as file:
            file.write('[[tenant]]\nname = "chat"\nusers = [1]\nquota = "1MiB"\n')
        self.refuse("info", "--pool", pool, code=2, words=["chat", "quota", "no context", "2 MiB"])

    def test_a_pool_that_was_not_made(self):
        pool = self.pool_file(self.device("a"))
        self.refuse("info", "--pool", pool, code=1, words=["create"])


class ReplayAndCheck(CliTest):
    BLOCK = 256 * 1024

    def replay(self, pool, trace, *options):
        rows = self.rows("replay", trace, "--pool", pool, "--bytes-per-block", self.BLOCK, *options)
        return rows[0], rows[1:]

    def test_gets_what_the_index_says_and_every_byte_is_right(self):
        trace = self.tiny_trace()
        index = self.rows("replay", trace, "--index-only", "--policy", "lru", "--capacity-blocks",
                          10000)[0]
        summary, devices = self.replay(self.created_pool(), trace)
        self.assertEqual(summary["wrong_bytes"], 0)
        self.assertEqual(summary["hit_blocks"], index["hit_blocks"])
        self.assertEqual(summary["bytes"], index["hit_blocks"] * self.BLOCK)
        self.assertEqual(sum(row["bytes"] for row in devices), summary["bytes"])
        self.assertGreater(min(row["bytes"] for row in devices), 0)
        self.assertGreater(summary["get_ms_p50"], 0)
        self.assertLessEqual(summary["get_ms_p50"], summary["get_ms_p99"])

    def test_a_small_pool_evicts_and_stays_right(self):
        pool = self.created_pool(self.device("a", capacity="8MiB"), self.device("b", capacity="8MiB"))
        summary, _ = self.replay(pool, self.tiny_trace())
        self.assertGreater(summary["evictions"], 0)
        self.assertEqual(summary["wrong_bytes"], 0)

    def test_the_clock_of_the_trace(self):
        summary, _ = self.replay(self.created_pool(), self.tiny_trace(requests=30), "--speed", 0.5)
        self.assertGreaterEqual(summary["seconds"], 0.29 / 0.5)

    def test_limit(self):
        summary, _ = self.replay(self.created_pool(), self.tiny_trace(), "--limit", 7)
        self.assertEqual(summary["requests"], 7)

    def test_what_was_stored_is_there_after_a_restart(self):
        pool, trace = self.created_pool(), self.tiny_trace()
        self.replay(pool, trace)
        again, _ = self.replay(pool, trace)
        self.assertEqual(again["prefix_hit_ratio"], 1)
        self.assertEqual(again["wrong_bytes"], 0)

    def test_check_reads_everything_back(self):
        pool = self.created_pool()
        summary, _ = self.replay(pool, self.tiny_trace())
        rows = self.rows("check", "--pool", pool)
        self.assertEqual(rows[0]["blocks"], summary["stored_blocks"])
        self.assertEqual(rows[0]["bytes"], summary["bytes_put"])
        self.assertEqual(rows[0]["blocks_bad"], 0)

    def test_check_finds_a_flipped_byte_and_names_the_device(self):
        pool = self.created_pool()
        summary, _ = self.replay(pool, self.tiny_trace())
        self.flip_stored_byte("b")
        for _ in range(2):  # a check changes nothing
            self.refuse("check", "--pool", pool, code=1, words=["1 of", "b (", "after a crash"])
        said = self.refuse("check", "--pool", pool, "--repair", code=1, words=["--yes"]).stdout
        self.assertIn("a repair drops them", said)
        self.refuse("check", "--pool", pool, code=1, words=["1 of"])
        self.succeed("check", "--pool", pool, "--repair", "--yes")
        rows = self.rows("check", "--pool", pool)
        self.assertEqual(rows[0]["blocks"], summary["stored_blocks"] - 1)

    def test_a_flipped_byte_is_never_delivered(self):
        pool, trace = self.created_pool(), self.tiny_trace()
        self.replay(pool, trace)
        self.flip_stored_byte("a")
        again, _ = self.replay(pool, trace)
        self.assertEqual(again["wrong_bytes"], 0)
        self.assertLess(again["hit_blocks"], again["blocks"])

    def test_the_replay_itself_notices_a_wrong_byte(self):
        # Without checksums the pool delivers it: the control of all tests above. What such a pool
        # holds ends with its process, so the byte is flipped between two requests of one replay.
        pool = self.created_pool(verify=False, catalog=None)
        line = '{"timestamp": %d, "input_length": 1, "output_length": 1, "hash_ids": [1, 2, 3]}\n'
        trace = self.write("twice.jsonl", line % 0 + line % 4000)
        with subprocess.Popen(
                [KVPOOL, "replay", trace, "--pool", pool, "--bytes-per-block", str(self.BLOCK),
                 "--speed", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                text=True) as replay:
            deadline = time.monotonic() + 3
            while not self.stored_byte("a") and time.monotonic() < deadline:
                time.sleep(0.05)
            self.flip_stored_byte("a")
            _, said = replay.communicate(timeout=60)
        self.assertEqual(replay.returncode, 1, said)
        self.assertIn("wrong", said)

    PLACE = 2 * MIB + 4096 + 123  # behind the label, where the first unit lies

    def stored_byte(self, name):
        with open(self.path(name), "rb") as file:
            file.seek(self.PLACE)
            return file.read(1)[0]

    def flip_stored_byte(self, name):
        byte = self.stored_byte(name)
        with open(self.path(name), "r+b") as file:
            file.seek(self.PLACE)
            file.write(bytes([byte ^ 1]))

    def test_an_empty_trace(self):
        self.refuse("replay", self.write("t", ""), "--pool", self.created_pool(), code=2,
                    words=["holds no request"])

    def test_blocks_that_are_too_large(self):
        pool, trace = self.created_pool(), self.tiny_trace()
        for size in ("1TiB", "5GiB", "10000000000000000000"):
            self.refuse("replay", trace, "--pool", pool, "--bytes-per-block", size, code=2,
                        words=["--bytes-per-block"])

    def test_blocks_of_an_odd_size(self):
        self.refuse("replay", self.tiny_trace(), "--pool", self.created_pool(),
                    "--bytes-per-block", "1001", code=2, words=["--bytes-per-block"])


class Strangers(CliTest):
    """Devices that are not what the pool left."""

    def expect_drained(self, pool, name, word):
        """The pool does without the device; info and check say why."""
        states = {row["name"]: row for row in self.rows("info", "--pool", pool) if row["case"] == "device"}
        self.assertEqual(states[name]["state"], "drained")
        self.assertIn(word, states[name]["state_reason"])
        self.assertEqual({row["state"] for row in states.values()}, {"drained", "serving"})
        self.assertIn("drained", self.succeed("info", "--pool", pool).stdout)
        self.refuse("check", "--pool", pool, code=1, words=[name, "drained", word])

    def test_a_device_that_shrank(self):
        pool = self.created_pool()
        os.truncate(self.path("a"), 10 * MIB)
        self.refuse("info", "--pool", pool, code=2, words=[self.path("a")])

    def test_a_device_that_is_gone(self):
        pool = self.created_pool()
        os.remove(self.path("a"))
        self.expect_drained(pool, "a", self.path("a"))
        os.remove(self.path("b"))
        self.refuse("info", "--pool", pool, code=1, words=[self.path("a")])

    def test_a_device_of_another_pool(self):
        self.created_pool(self.device("a"), name="one.toml", catalog="one.db")
        two = self.created_pool(self.device("c"), name="two.toml", catalog="two.db")
        os.replace(self.path("a"), self.path("c"))
        self.refuse("info", "--pool", two, code=2, words=["another pool"])

    def test_a_device_of_another_version(self):
        pool = self.created_pool()
        with open(self.path("a"), "r+b") as file:
            file.seek(8)  # docs/formats/label.md
            file.write(bytes([9]))
        self.refuse("info", "--pool", pool, code=1, words=[self.path("a"), "version"])

    def test_a_device_without_a_label(self):
        pool = self.created_pool()
        with open(self.path("a"), "r+b") as file:
            file.write(bytes(4096))
        self.expect_drained(pool, "a", "label")

    def test_a_device_that_another_process_holds(self):
        pool = self.created_pool()
        with open(self.path("b"), "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            self.refuse("info", "--pool", pool, code=1, words=[self.path("b"), "in use"])
        self.succeed("info", "--pool", pool)


if __name__ == "__main__":
    main()
