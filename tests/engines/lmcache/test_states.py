#!/usr/bin/env python3
"""What becomes of the connector when a pool is damaged, busy or killed, and what it says to bad parameters.

No LMCache; a pool of files. Each check has a control beside it that shows the same check failing.
"""
import importlib.metadata
import os
import signal
import subprocess
import sys
import unittest
from unittest import mock

import driver
import kvpool
import pools
from kvpool import lmcache

BLOCK = pools.content(300_001, 7)
FLIP = 'faults = "read.flip chance=1; seed=3"'

# Holds a pool: stores a block in it, says so, and waits.
HOLDER = """
import sys, time, driver, pools
from kvpool import lmcache
connector = lmcache.PoolConnector(sys.argv[1], create=True)
if not driver.store(connector, ["a"], [pools.content(300_001, 7)])[0]:
    sys.exit("the set failed")
while connector._space.flush(["a"])[0]:
    time.sleep(0.1)
print("stored", flush=True)
time.sleep(1000)
"""

# What importing leaves behind: threads, open files, modules of LMCache.
IMPORT = """
import os, sys, tempfile
import driver
def state():
    return [len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), "lmcache" in sys.modules]
before = state()
from kvpool import lmcache
if len(sys.argv) > 1:
    connector = lmcache.PoolConnector(sys.argv[1], create=True)
print(state() == before)
"""


def python(program, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-B", "-c", program, *arguments], env=environment, text=True,
                            stdout=subprocess.PIPE, **options)


class States(pools.FolderTest):
    def pool(self, name="pool", **settings):
        return driver.pool_file(self.folder, name, **settings)

    def open(self, path, **options):
        connector = lmcache.PoolConnector(path, create=True, **options)
        self.addCleanup(connector.close)
        return connector

    def held(self, path):
        """A process that has the pool open, with block "a" in it."""
        holder = python(HOLDER, path)
        self.addCleanup(holder.stdout.close)
        self.addCleanup(holder.wait)
        self.addCleanup(holder.kill)
        self.assertEqual(holder.stdout.readline(), "stored\n")
        return holder

    # One flipped bit of a stored block.

    def test_wrong_bytes_are_a_miss(self):
        connector = self.open(self.pool(device=FLIP))
        driver.store(connector, ["a"], [BLOCK])
        ok, results, _ = driver.load(connector, ["a"], [len(BLOCK)])
        self.assertEqual((ok, results), (False, [False]))

    def test_control_wrong_bytes_come_through_unverified(self):
        connector = self.open(self.pool(device=FLIP, catalog=False, settings="verify = false"))
        driver.store(connector, ["a"], [BLOCK])
        ok, _, got = driver.load(connector, ["a"], [len(BLOCK)])
        self.assertTrue(ok)
        self.assertNotEqual(got, [BLOCK])

    def test_control_right_bytes_without_the_flip(self):
        connector = self.open(self.pool())
        driver.store(connector, ["a"], [BLOCK])
        self.assertEqual(driver.load(connector, ["a"], [len(BLOCK)]), (True, [True], [BLOCK]))

    # Processes.

    def restart(self, **settings):
        path = self.pool(**settings)
        holder = self.held(path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        return self.open(path)

    def test_a_killed_process_leaves_a_warm_pool(self):
        connector = self.restart()
        self.assertEqual(driver.found(connector, ["a"]), [True])
        self.assertEqual(driver.load(connector, ["a"], [len(BLOCK)])[2], [BLOCK])

    def test_control_another_namespace_is_cold(self):
        self.restart().close()
        other = self.open(self.path("pool.toml"), namespace={"dtype": "fp8_e4m3"})
        self.assertEqual(driver.found(other, ["a"]), [False])

    @pools.in_process("a daemon's pool has many users")
    def test_one_process_owns_a_pool(self):
        path = self.pool()
        holder = self.held(path)
        with self.assertRaisesRegex(kvpool.Busy, "in use[^\n]*give each LMCache server a pool file of its own"):
            lmcache.PoolConnector(path)
        holder.kill()
        holder.wait()
        self.open(path)  # the control: it is the other process that was in the way

    # Importing and parameters.

    def imported(self, *arguments):
        process = python(IMPORT, *arguments)
        return process.communicate(timeout=driver.PATIENCE_S)[0].strip()

    def test_importing_does_nothing(self):
        self.assertEqual(self.imported(), "True")

    def test_control_opening_does_something(self):
        self.assertEqual(self.imported(self.pool()), "False")

    def test_versions_outside_the_tested_range_are_refused(self):
        path = self.pool()
        for version, fine in (("0.5.5", False), ("0.5.6", True), ("0.5.6.post1", True), ("0.5.7", False),
                              ("0.6.0rc1", False)):
            with self.subTest(version=version), mock.patch.object(importlib.metadata, "version", lambda name: version):
                if fine:
                    self.open(path).close()
                    continue
                with self.assertRaisesRegex(RuntimeError, "^[^\n]* is tested with [^\n]*: install lmcache==0.5.6"):
                    lmcache.PoolConnector(path, create=True)

    def test_bad_parameters_get_one_sentence(self):
        path = self.pool()
        for parameters, sentence in (
                ({}, "names no pool file: add "),
                ({"pool": path, "pol": 1}, "has no 'pol': it takes pool"),
                ({"pool": path, "namespace": {"dtyp": "bf16"}}, "has no 'dtyp': it takes model, dtype"),
                ({"pool": path, "namespace": {"dtype": 16}}, "dtype is 16: write it as text")):
            with self.subTest(parameters=parameters), self.assertRaisesRegex(ValueError, sentence) as caught:
                lmcache.PoolConnector(**parameters)
            self.assertNotIn("\n", str(caught.exception))

    @pools.in_process("the daemon has made it")
    def test_a_pool_file_that_is_not_there_is_an_error(self):
        with self.assertRaises(kvpool.Error):
            lmcache.PoolConnector(self.path("absent.toml"))
        with self.assertRaises(kvpool.Error):
            lmcache.PoolConnector(self.pool())  # neither made nor told to make it


if __name__ == "__main__":
    unittest.main()
