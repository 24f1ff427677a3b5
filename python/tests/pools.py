"""For tests in Python, of the package and of the engines: pool files, folders, content, a wrong bit on a device.

Takes nothing but the standard library, so that any Python of any engine can import it.
"""
import hashlib
import os
import shutil
import tempfile
import unittest

WITH_CATALOG, UNVERIFIED = 'catalog = "catalog.db"', "verify = false"
DISK = "disk.pool"  # the file of the device that a pool has when nothing else is said


def device(name, kind="memory", capacity="64MiB", extra="", path=""):
    """The text of one device. `extra`: more lines of it; `path`: of a file, its name in the pool file's folder."""
    place = f'path = "{path or name}"\naccept_buffered = true\n' if kind == "file" else ""
    return (f'[[device]]\nname = "{name}"\nkind = "{kind}"\n{place}capacity = "{capacity}"\n'
            f'read_bandwidth = "1GB/s"\nwrite_bandwidth = "1GB/s"\n{extra}\n')


def disk(capacity="64MiB", extra="", path=DISK):
    return device("disk", "file", capacity, extra, path)


def write(folder, *devices, settings=WITH_CATALOG, name="pool.toml"):
    """Writes a pool file and returns its path. `settings`: lines of its head; without devices it has one, disk()."""
    file = os.path.join(folder, name)
    with open(file, "w", encoding="utf-8") as out:
        out.write("\n".join(["[pool]", "version = 1", settings, "", *(devices or [disk()])]))
    return file


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
