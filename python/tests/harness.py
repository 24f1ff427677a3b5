"""A pool in a folder of its own for every test."""
import subprocess
import sys
import unittest

import kvpool
import pools
from pools import device

PATIENCE_S = 120  # of what takes a moment, on a machine that is busy


def slow(bandwidth):
    """The `extra` of a device that has no more than `bandwidth`."""
    return f'slow = {{ bandwidth = "{bandwidth}" }}\n'


class PoolTest(pools.FolderTest):
    def pool_file(self, *devices, catalog=True, name="pool.toml"):
        devices = devices or (device("ram"), device("ssd", "file"))
        return pools.write(self.folder, *devices, settings=pools.WITH_CATALOG if catalog else "", name=name)

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
