"""A pool in a folder of its own for every test."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import kvpool

PATIENCE_S = 120  # of what takes a moment, on a machine that is busy


def device(name, kind="memory", capacity="64MiB", extra=""):
    place = f'path = "{name}"\naccept_buffered = true\n' if kind == "file" else ""
    return (f'[[device]]\nname = "{name}"\nkind = "{kind}"\n{place}capacity = "{capacity}"\n'
            f'read_bandwidth = "1GB/s"\nwrite_bandwidth = "1GB/s"\n{extra}\n')


def slow(bandwidth):
    """The `extra` of a device that has no more than `bandwidth`."""
    return f'slow = {{ bandwidth = "{bandwidth}" }}\n'


class PoolTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kvpool-python-", dir=os.environ.get("KVPOOL_TEST_DIR"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def pool_file(self, *devices, catalog=True, name="pool.toml", head=""):
        devices = devices or (device("ram"), device("ssd", "file"))
        text = "[pool]\nversion = 1\n" + ('catalog = "catalog.db"\n' if catalog else "") + head
        with open(self.path(name), "w", encoding="utf-8") as out:
            out.write(text + "\n" + "\n".join(devices))
        return self.path(name)

    def open(self, *devices, **options):
        pool = kvpool.Pool.open(self.pool_file(*devices, **options), create=True)
        self.addCleanup(pool.close)
        return pool

    def script(self, text, *arguments, timeout=PATIENCE_S):
        """Another Python runs `text`; what it printed. It has to end well, and say nothing on stderr."""
        done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", text, *arguments], capture_output=True,
                              text=True, timeout=timeout, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout


def finish(channel, count=1):
    """`count` completions of the channel, in the order in which they came."""
    completions = []
    while len(completions) < count:
        if not channel.wait(PATIENCE_S):
            raise AssertionError(f"{len(completions)} of {count} requests ended within {PATIENCE_S} s")
        completions += channel.poll()
    return completions


def main():
    unittest.main(module=sys.modules["__main__"], verbosity=1)
