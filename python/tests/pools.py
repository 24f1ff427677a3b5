"""For tests in Python, of the package and of the engines: pool files, folders, content, a wrong bit on a device.

Takes nothing but the standard library, so that any Python of any engine can import it.
"""
import atexit
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
import unittest

WITH_CATALOG, UNVERIFIED = 'catalog = "catalog.db"', "verify = false"
CREATE = "create_if_missing = true"
# Names kvpoold's binary where every pool is to be a daemon's: the same tests then hold for its clients.
DAEMON = os.environ.get("KVPOOL_TEST_DAEMON")
DISK = "disk.pool"  # the file of the device that a pool has when nothing else is said


def device(name, kind="memory", capacity="64MiB", extra="", path=""):
    """The text of one device. `extra`: more lines of it; `path`: of a file, its name in the pool file's folder."""
    place = f'path = "{path or name}"\naccept_buffered = true\n' if kind == "file" else ""
    return (f'[[device]]\nname = "{name}"\nkind = "{kind}"\n{place}capacity = "{capacity}"\n'
            f'read_bandwidth = "1GB/s"\nwrite_bandwidth = "1GB/s"\n{extra}\n')


def gpu(name="gpu0", kind="null"):
    """The text of one GPU. Of the null kind, it is host memory that plays one."""
    return f'[[gpu]]\nname = "{name}"\nkind = "{kind}"\nbandwidth = "2GB/s"\n'


def disk(capacity="64MiB", extra="", path=DISK):
    return device("disk", "file", capacity, extra, path)


def write(folder, *devices, settings=WITH_CATALOG, name="pool.toml"):
    """Writes a pool file and returns its path. `settings`: lines of its head; without devices it has one, disk()."""
    file = os.path.join(folder, name)
    if DAEMON:
        settings = f'{settings.replace(CREATE, "")}\n{CREATE}\nsocket = "{os.path.basename(name)}.sock"'
    text = "\n".join(["[pool]", "version = 1", settings, "", *(devices or [disk()])])
    with open(file, "w", encoding="utf-8") as out:
        out.write(text)
    if DAEMON:
        _daemons.serve(file, text)
    return file


def in_process(why):
    """A decorator of tests that hold for a pool of this process only."""
    return unittest.skipIf(DAEMON, f"not by a daemon: {why}")


class _Daemons:
    """One a pool file, until this process ends."""

    def __init__(self):
        self.running = {}
        atexit.register(self.end_all)

    def serve(self, file, text):
        if file in self.running:
            if self.running[file].text == text:
                return
            self.end(file)
        daemon = self.running[file] = subprocess.Popen([DAEMON, "--pool", file], stderr=subprocess.PIPE, text=True)
        daemon.text = text
        said = daemon.stderr.readline()  # it listens, or cannot
        threading.Thread(target=daemon.stderr.read, daemon=True).start()
        if daemon.poll() is not None:
            raise AssertionError(said)

    def end(self, file):
        daemon = self.running.pop(file)
        daemon.terminate()
        daemon.wait()

    def end_all(self):
        for file in list(self.running):
            self.end(file)


_daemons = _Daemons()


def folder(add_cleanup):
    """A new folder, in KVPOOL_TEST_DIR where that is set. `add_cleanup`: a test's or a class's, by which it goes."""
    made = tempfile.mkdtemp(prefix="kvpool-test-", dir=os.environ.get("KVPOOL_TEST_DIR"))
    add_cleanup(shutil.rmtree, made, ignore_errors=True)
    return made


def content(nbytes, *name):
    """Bytes that differ for every name."""
    return hashlib.shake_256(repr(name).encode()).digest(nbytes)


def turn_bit(path, stored, at=0, mask=1):
    """Turns a bit of byte `at` of these bytes, which have to be in the file exactly once. Returns its place there."""
    with open(path, "r+b") as file:
        data = file.read()
        begin = data.find(stored)
        if begin < 0 or data.find(stored, begin + 1) >= 0:
            raise AssertionError(f"the bytes are not in {path} once, but first at {begin}")
        file.seek(begin + at)
        file.write(bytes([data[begin + at] ^ mask]))
    return begin + at


class FolderTest(unittest.TestCase):
    """Each test has a folder of its own."""

    def setUp(self):
        self.folder = folder(self.addCleanup)

    def path(self, *names):
        return os.path.join(self.folder, *names)
