"""kvpoold as a service: readiness, signals, the commands beside it, and one sentence for each mistake."""
import os
import pathlib
import signal
import socket
import tempfile
import unittest

from harness import KVPOOL, KVPOOLD, Daemon, DaemonTest, counts_of, load, run, wait_for


class Service(unittest.TestCase):
    def test_systemd_hears_of_readiness_life_and_the_end(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(folder + "/notify")
            manager.settimeout(60)
            daemon = Daemon(folder, {"NOTIFY_SOCKET": folder + "/notify", "WATCHDOG_USEC": "200000"})
            self.assertEqual(manager.recv(100), b"READY=1")
            self.assertEqual(manager.recv(100), b"WATCHDOG=1")
            daemon.process.send_signal(signal.SIGHUP)
            heard = [manager.recv(100)]
            while heard[-1] != b"RELOADING=1":
                heard.append(manager.recv(100))
            self.assertEqual(manager.recv(100), b"READY=1")
            self.assertEqual(daemon.stop(), 0)
            while manager.recv(100) != b"STOPPING=1":
                pass
            self.assertFalse(pathlib.Path(daemon.socket).exists())


class Commands(DaemonTest):
    def test_a_clean_stop_keeps_what_was_put(self):
        counts_of(load(self.daemon, 1, 0.05))  # less than the drive holds
        blocks = run(KVPOOL, "info", "--pool", str(self.daemon.pool))
        self.assertRegex(blocks.stdout, r'pool "kvpool": [1-9]\d* blocks')
        self.assertEqual(self.daemon.stop(), 0)
        self.daemon.start_again()
        again = run(KVPOOL, "info", "--pool", str(self.daemon.pool))
        self.assertEqual(blocks.stdout.splitlines()[0], again.stdout.splitlines()[0])

    def test_a_program_in_c_uses_it(self):
        ran = run(os.environ["KVPOOL_C_TEST"], self.daemon.pool)
        self.assertEqual(ran.returncode, 0, ran.stderr)

    def test_info_opens_the_pool_itself_where_no_daemon_runs(self):
        self.daemon.stop()
        self.assertIn('pool "kvpool"', run(KVPOOL, "info", "--pool", str(self.daemon.pool)).stdout)

    def test_check_names_the_daemon_that_has_the_drives(self):
        checked = run(KVPOOL, "check", "--pool", str(self.daemon.pool))
        self.assertEqual(checked.returncode, 1)
        self.assertIn("kvpoold", checked.stderr)
        self.assertEqual(checked.stderr.count("\n"), 1)
        self.daemon.stop()
        self.assertEqual(run(KVPOOL, "check", "--pool", str(self.daemon.pool)).returncode, 0)

    def test_a_second_daemon_is_refused_by_drive_or_socket(self):
        second = run(KVPOOLD, "--pool", str(self.daemon.pool))
        self.assertNotEqual(second.returncode, 0)
        self.assertIn("in use", second.stderr)

    def test_changed_tenants_are_taken_over(self):
        quota = self.daemon.pool.read_text() + '[[tenant]]\nname = "a"\nusers = ["root"]\nquota = "{}MiB"\n'
        self.daemon.stop()
        self.daemon.pool.write_text(quota.format(64))
        self.daemon.start_again()
        self.daemon.pool.write_text(quota.format(32))
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_for("it says so", lambda: "are taken over" in self.daemon.log.read_text())
        self.assertIn("32 MiB", run(KVPOOL, "info", "--pool", str(self.daemon.pool)).stdout)
        self.daemon.pool.write_text(quota.format(32).replace('"a"', '"b"'))
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_for("it says so", lambda: "start the daemon again" in self.daemon.log.read_text())

    def test_a_changed_file_is_not_taken_over_silently(self):
        self.daemon.pool.write_text(self.daemon.pool.read_text().replace("10000", "20000"))
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_for("it says so", lambda: "start the daemon again" in self.daemon.log.read_text())
        self.daemon.pool.write_text("nonsense")
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_for("it says so", lambda: "not taken over" in self.daemon.log.read_text())
        self.assertTrue(self.daemon.answers())


class Mistakes(DaemonTest):
    def setUp(self):
        super().setUp()
        self.daemon.stop()

    def refused(self, words, *arguments):
        ran = run(KVPOOLD, *arguments)
        self.assertNotEqual(ran.returncode, 0)
        self.assertIn(words, ran.stderr)
        self.assertEqual(ran.stderr.count("\n"), 1, ran.stderr)

    def test_each_is_one_sentence(self):
        pool = str(self.daemon.pool)
        self.refused("no socket", "--pool", pool, "--socket", pool)
        self.refused("folder that is there", "--pool", pool, "--socket", "/nowhere/at/all.sock")
        self.refused("107", "--pool", pool, "--socket", "/tmp/" + "x" * 200)
        pathlib.Path(pool).write_text('[pool]\nversion = 1\nsocket = "pool.sock"\n')
        self.refused("no device", "--pool", pool)
        self.refused("cannot be read", "--pool", "/nowhere/pool.toml")

    @unittest.skipUnless(os.geteuid() == 0, "only root can give a socket away")
    def test_a_socket_of_somebody_else_is_not_trusted(self):
        stranger = self.daemon.folder / "open"
        stranger.mkdir()
        stranger.chmod(0o1777)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(stranger / "pool.sock"))
            os.chown(stranger / "pool.sock", 12345, 12345)
            client = self.daemon.folder / "client.toml"
            client.write_text('[pool]\nversion = 1\nsocket = "open/pool.sock"\n')
            ran = run(KVPOOL, "info", "--pool", str(client))
            self.assertIn("belongs to user 12345", ran.stderr)

    def test_a_socket_that_was_left_behind_is_taken(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.daemon.socket)
        self.daemon.start_again()
        self.assertTrue(self.daemon.answers())


if __name__ == "__main__":
    unittest.main()
