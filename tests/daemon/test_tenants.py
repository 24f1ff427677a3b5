"""Clients of several tenants at one kvpoold: who is let in, and what a client gets that forges an owner."""
import contextlib
import os
import signal
import struct
import subprocess
import tempfile
import unittest

from harness import KVPOOL, KVPOOLD, Daemon, Raw, counts_of, load
from test_hostile import GET, INVALID, PUT, DROP, Liar

READER, STRANGER, OTHER = 12301, 12302, 12303
TENANTS = f"""
[[tenant]]
name = "a"
users = ["root"]
quota = "16MiB"
readers = ["reader"]
[[tenant]]
name = "reader"
users = [{READER}]
[[tenant]]
name = "other"
users = [{OTHER}]
"""
PRESENCE, FORBIDDEN, NOT_FOUND = 7, 12, 1


@contextlib.contextmanager
def user(number):
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)


def result_of(liar):
    """What became of the one key, in the arguments that the Liar has written: behind its 8 bytes of length."""
    return liar.regions[0][1][24 + 2 * 2 + 3 + 1 + 8]


@unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
class Tenants(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        os.chmod(folder.name, 0o755)
        self.daemon = Daemon(folder.name, more=TENANTS)
        self.addCleanup(self.daemon.stop, signal.SIGKILL)
        os.chmod(self.daemon.socket, 0o666)
        with Liar(self.daemon.socket) as own:
            own.arguments()
            own.submit(0, id_=0, kind=PUT)
            self.assertEqual((own.status(0), result_of(own)), (0, 0))

    def info(self):
        return subprocess.run([KVPOOL, "info", "--pool", str(self.daemon.pool)], capture_output=True, text=True,
                              timeout=60, check=True).stdout

    def test_who_is_in_none_is_told_so(self):
        with user(STRANGER), Raw(self.daemon.socket) as raw:
            self.assertIn(b"this user is of none of the pool's tenants", raw.hello())

    def test_a_forged_owner_gives_an_empty_space_of_ones_own(self):
        for owner in (b"a", b"nobody", b"other/a", b"a\0"):
            with self.subTest(owner), user(OTHER), Liar(self.daemon.socket, owner) as liar:
                self.assertEqual(liar.table.strip(b"\0"), b"")
                liar.arguments()
                liar.submit(0, id_=0, kind=GET)
                self.assertEqual((liar.status(0), result_of(liar)), (0, NOT_FOUND))
                liar.set_counter(256, 1)
                for turn, kind in enumerate((PUT, DROP), 1):
                    liar.submit(turn, id_=turn << 32, kind=kind, segments=1 if kind == PUT else 0)
                    self.assertEqual(liar.status(turn), FORBIDDEN)
                    liar.set_counter(256, turn + 1)
        self.assertRegex(self.info(), r"\n *a +1 +1 ")

    def test_no_number_gives_the_table_of_another(self):
        with user(OTHER), Liar(self.daemon.socket) as liar:
            status, _, tables = liar.ask(PRESENCE, struct.pack("<II", 0, 0))
            self.assertEqual((status, os.pread(tables[0], 1 << 20, 64).strip(b"\0")), (0, b""))
            os.close(tables[0])
            for number in (*range(1, 50), 2**31, 2**32 - 1):
                self.assertEqual(liar.ask(PRESENCE, struct.pack("<II", number, 0))[0], INVALID)

    def test_a_reader_sees_what_it_may(self):  # the control of those above
        with user(READER), Liar(self.daemon.socket, b"a") as liar:
            self.assertNotEqual(liar.table.strip(b"\0"), b"")
            liar.arguments()
            liar.submit(0, id_=0, kind=GET)
            self.assertEqual((liar.status(0), result_of(liar)), (0, 0))

    def test_a_load_stays_within_its_quota(self):
        code, counts = counts_of(load(self.daemon, 1, 1))
        self.assertEqual((code, counts["wrong"], counts["cancelled"]), (0, 0, 0))
        self.assertGreater(counts["stored"], 100)
        self.assertRegex(self.info(), r"\n *a +1 +\d+ +(1[0-6](\.\d+)?|\d(\.\d+)?) MiB +16 MiB +[1-9]")

    def test_a_user_that_is_not_there_is_one_sentence(self):
        self.daemon.stop()
        text = self.daemon.pool.read_text()
        self.daemon.pool.write_text(text.replace('"root"', '"no-such-user"'))
        refused = subprocess.run([KVPOOLD, "--pool", str(self.daemon.pool)], capture_output=True, text=True,
                                 timeout=60, check=False)
        self.assertEqual(refused.returncode, 2)
        self.assertRegex(refused.stderr, r'^kvpoold: tenant "a": there is no user "no-such-user" [^\n]*\n$')


if __name__ == "__main__":
    unittest.main()
