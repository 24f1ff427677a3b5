"""A kvpoold in a folder of its own, its clients, and a client that speaks the protocol by hand."""
import array
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest
import urllib.request

KVPOOLD = os.environ["KVPOOLD_BINARY"]
KVPOOL = os.environ["KVPOOL_BINARY"]
LOAD = os.environ["KVPOOL_LOAD"]
PATIENCE_S = float(os.environ.get("KVPOOL_PATIENCE_S", 60))
POOL = """[pool]
version = 1
catalog = "catalog"
create_if_missing = true
socket = "pool.sock"
deadline_ms = 10000
[[device]]
name = "ram"
kind = "memory"
capacity = "96MiB"
read_bandwidth = "4GB/s"
write_bandwidth = "4GB/s"
[[device]]
name = "ssd"
kind = "file"
path = "ssd.pool"
capacity = "128MiB"
read_bandwidth = "1GB/s"
write_bandwidth = "1GB/s"
accept_buffered = true
"""


def run(*arguments):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def wait_for(what, condition):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"{what}: not in {PATIENCE_S} s")
        time.sleep(0.01)


def text_of(path):
    try:
        return path.read_text()
    except OSError:  # it has gone
        return ""


def link_of(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


class Daemon:
    def __init__(self, folder, extra_environment=None, arguments=(), more=""):
        self.folder = pathlib.Path(folder)
        self.pool = self.folder / "pool.toml"
        self.pool.write_text(POOL + more)
        self.socket = str(self.folder / "pool.sock")
        self.environment = os.environ | (extra_environment or {})
        self.log = self.folder / "log"
        self.arguments = arguments
        self.start_again()

    def start_again(self, arguments=None):
        command = [KVPOOLD, "--pool", str(self.pool), *(self.arguments if arguments is None else arguments)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stderr=log, env=self.environment)
        wait_for("the daemon listens", self.answers)
        wait_for("nobody is there", lambda: not self.sessions())

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError("the daemon ended: " + self.log.read_text())
        try:
            with Raw(self.socket) as raw:
                return len(raw.hello()) == 344
        except OSError:
            return False

    def url(self):
        """Where it serves metrics and the page."""
        return re.findall(r"http://[^/]+/", self.log.read_text())[-1]

    def fetch(self, path):
        with urllib.request.urlopen(self.url() + path, timeout=PATIENCE_S) as answer:
            return answer.read().decode()

    def status(self):
        return json.loads(self.fetch("api/status"))

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)

    def sessions(self):
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task")
        return sum(text_of(task / "comm") == "kvpool-client\n" for task in tasks.iterdir())

    def holdings(self):
        """What a client could leave behind: descriptors, threads, mappings of shared memory. Lent memory is its space's."""
        root = pathlib.Path(f"/proc/{self.process.pid}")
        maps = (root / "maps").read_text()
        threads = [text_of(task / "comm") for task in (root / "task").iterdir()]
        targets = [link_of(fd) for fd in (root / "fd").iterdir()]
        return (sum("kvpool-lent" not in one for one in targets),
                sum(not name.startswith("iou-") for name in threads),  # io_uring's own come and go
                sum(maps.count(f"memfd:{name} ") for name in ("kvpool", "kvpool-channel", "kvpool-presence", "liar")))


def load(daemon, seed, seconds):
    process = subprocess.Popen([LOAD, daemon.socket, str(seed), str(seconds)], stdout=subprocess.PIPE, text=True)
    if process.stdout.readline() != "ready\n":
        raise AssertionError("the load does not start")
    return process


def counts_of(process, within_s=0):
    """within_s: how long its load goes on at most."""
    out, _ = process.communicate(timeout=within_s + PATIENCE_S)
    return process.returncode, json.loads(out.splitlines()[-1])


class Raw:
    """A client by hand. What it sends may be anything."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise
        self.number = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def hello(self, version=4, magic=b"KVPOOLIP"):
        self.socket.sendall(magic + struct.pack("<II64s", version, 80, b"raw"))
        return self.receive(344)

    def receive(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                return data
            data += more
        return data

    def ask(self, kind, question=b"", descriptors=(), claimed=None):
        """(status, bytes, descriptors) of the answer; None when the daemon hung up."""
        self.number += 1
        claimed = len(descriptors) if claimed is None else claimed
        header = struct.pack("<IHHII", 0x4D50564B, kind, claimed, len(question), self.number)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self.socket.sendmsg([header + question], rights)
            data, control, _, _ = self.socket.recvmsg(16, socket.CMSG_SPACE(256))
        except OSError:
            return None
        if len(data) < 16:
            return None
        got = array.array("i")
        for _, _, payload in control:
            got.frombytes(payload[:len(payload) // 4 * 4])
        _, _, _, count, _ = struct.unpack("<IHHII", data)
        rest = self.receive(count)
        status, _, sentence, _ = struct.unpack("<IiII", rest[:16])
        return status, rest[16 + sentence:], list(got)

    def ended(self):
        """The daemon hangs up."""
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionError:
            pass
        return True


class DaemonTest(unittest.TestCase):
    arguments = ()
    more = ""  # of the pool file

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.daemon = Daemon(folder.name, arguments=self.arguments, more=self.more)
        self.addCleanup(self.daemon.stop, signal.SIGKILL)

    def assert_leaves_nothing(self, before):
        try:
            wait_for("holdings as before", lambda: self.daemon.holdings() == before)
        except AssertionError:
            self.assertEqual(self.daemon.holdings(), before, self.daemon.log.read_text())

    def assert_serves(self):
        code, counts = counts_of(load(self.daemon, 1, 0.3))
        self.assertEqual((code, counts["wrong"], counts["cancelled"]), (0, 0, 0))
        self.assertGreater(counts["fetched"], 0)


class WatchedTest(DaemonTest):
    """Whatever a test does, the daemon has nothing of it afterwards, and serves."""

    def setUp(self):
        super().setUp()
        self.before = self.daemon.holdings()

    def tearDown(self):
        self.assert_leaves_nothing(self.before)
        self.assert_serves()
