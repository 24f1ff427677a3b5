"""Clients that are killed or stopped, and a daemon that is: nothing leaks, hangs or comes back wrong."""
import os
import random
import signal
import time
import unittest

from harness import DaemonTest, counts_of, load, wait_for

KILLS = int(os.environ.get("KVPOOL_KILLS", 12))


class Robust(DaemonTest):
    def test_clients_killed_in_the_middle_leave_nothing(self):
        before = self.daemon.holdings()
        steady_s = 1 + 0.15 * KILLS
        steady = load(self.daemon, 1, steady_s)
        for seed in range(KILLS):
            victim = load(self.daemon, 100 + seed, 60)
            time.sleep(random.random() * 0.1)
            victim.kill()
            victim.wait()
            victim.stdout.close()
        code, counts = counts_of(steady, steady_s)
        self.assertEqual((code, counts["wrong"], counts["cancelled"]), (0, 0, 0), counts)
        self.assertGreater(counts["fetched"], 0)
        self.assert_leaves_nothing(before)
        self.assertNotIn("drained", self.daemon.log.read_text())

    def test_a_client_that_is_stopped_keeps_nobody_waiting(self):
        before = self.daemon.holdings()
        stopped = load(self.daemon, 1, 60)
        stopped.send_signal(signal.SIGSTOP)
        code, counts = counts_of(load(self.daemon, 2, 1))
        self.assertEqual((code, counts["wrong"], counts["cancelled"]), (0, 0, 0), counts)
        stopped.kill()
        stopped.wait()
        stopped.stdout.close()
        self.assert_leaves_nothing(before)

    def test_a_daemon_that_is_killed_and_started_again_has_its_clients_back(self):
        loads = [load(self.daemon, seed, 8) for seed in range(4)]
        for _ in range(2):
            time.sleep(1)
            self.daemon.stop(signal.SIGKILL)
            self.daemon.start_again()
        blocks = 0
        for process in loads:
            code, counts = counts_of(process)
            self.assertEqual((code, counts["wrong"]), (0, 0), counts)
            self.assertGreater(counts["fetched"], 0)
            blocks += counts["cancelled"]
        self.assertGreater(blocks, 0)  # the control: something was in flight, or came meanwhile
        wait_for("the last client is gone", lambda: self.daemon.sessions() == 0)
        self.assert_serves()


if __name__ == "__main__":
    unittest.main()
