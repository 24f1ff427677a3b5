"""Where LMCache is tested: a virtual environment of its own, its source package, and its server as a process."""
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request

VERSION = "0.5.6"
TORCH = "2.13.0"
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
POOLS = ROOT / "python/tests"  # pools.py
BUILD = ROOT / "build/engines/lmcache"
PACKAGE = pathlib.Path(os.environ.get("KVPOOL_PYTHON", ROOT / "build/python"))
PATIENCE_S = 1800  # the machine may be busy, or stopped for a while


class Missing(Exception):
    """Something that this machine does not have; the sentence says what to do."""


def python():
    return str(BUILD / "venv/bin/python")


def environment():
    return {**os.environ, "PYTHONPATH": f"{PACKAGE}:{HERE}:{POOLS}", "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1", "LMCACHE_DISABLE_BANNER": "1", "LMCACHE_TRACK_USAGE": "false"}


def call(*command, check=True, timeout=PATIENCE_S, cwd=None, env=None):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout, check=False,
                          cwd=cwd, env={**environment(), **(env or {})})
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n"
                           f"{(done.stdout + done.stderr)[-4000:]}")
    return done


def prepare():
    """Makes the virtual environment where it is missing or was made from other pins."""
    requirements = HERE / "requirements.txt"
    made_from = hashlib.sha256(requirements.read_bytes() + f"{VERSION} {TORCH} {sys.version}".encode()).hexdigest()
    stamp = BUILD / "venv/made-from"
    if not stamp.is_file() or stamp.read_text() != made_from:
        shutil.rmtree(BUILD / "venv", ignore_errors=True)
        BUILD.mkdir(parents=True, exist_ok=True)
        print(f"installing LMCache {VERSION} under build/engines/lmcache (1.5 GB, some minutes)", flush=True)
        call(sys.executable, "-m", "venv", BUILD / "venv")
        pip = (python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        call(*pip, f"torch=={TORCH}")
        call(*pip, "--no-deps", f"lmcache=={VERSION}")
        call(*pip, "-r", requirements)
        stamp.write_text(made_from)
    if call(python(), "-c", "import kvpool.lmcache", check=False).returncode:
        raise Missing(f"kvpool's Python package in {PACKAGE} does not load: "
                      "run cmake --build build --target kvpool_python")


def source():
    """The folder of LMCache's source package, whose tests are run: LMCACHE_SOURCE, or fetched by pip."""
    given = os.environ.get("LMCACHE_SOURCE")
    folder = pathlib.Path(given) if given else BUILD / f"lmcache-{VERSION}"
    if not folder.is_dir() and not given:
        fetched = call(python(), "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
                       "--no-build-isolation", "--dest", BUILD, f"lmcache=={VERSION}", check=False,
                       env={"NO_GPU_EXT": "1", "SETUPTOOLS_SCM_PRETEND_VERSION": VERSION})
        if fetched.returncode == 0:
            with tarfile.open(BUILD / f"lmcache-{VERSION}.tar.gz") as packed:
                packed.extractall(BUILD, filter="data")
    if not (folder / "tests").is_dir():
        raise Missing(f"LMCache's own tests were not run, their sources are not here: set LMCACHE_SOURCE to a folder "
                      f"with the source of LMCache {VERSION}")
    return folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def adapter(pool, connector="kvpool.lmcache:PoolConnector", **parameters):
    """What a user gives to --l2-adapter."""
    module, name = connector.split(":")
    return json.dumps({"type": "native_plugin", "module_path": module, "class_name": name,
                       "adapter_params": {"pool": str(pool), "create": True, **parameters}})


class Server:
    """`lmcache server` on the processor with a pool as its second level, or with `l2`, another adapter's JSON.
    A context: ends by SIGTERM."""

    def __init__(self, pool, log, l2=None, **parameters):
        self.rpc, self.http = free_port(), free_port()
        self.url = f"tcp://localhost:{self.rpc}"
        self.log = pathlib.Path(log)
        self.process = subprocess.Popen(
            [BUILD / "venv/bin/lmcache", "server", "--l1-size-gb", "1", "--l1-init-size-gb", "1", "--eviction-policy",
             "LRU", "--supported-transfer-mode", "auto", "--port", str(self.rpc), "--http-port", str(self.http),
             "--disable-metrics", "--l2-adapter", l2 or adapter(pool, **parameters)],
            env=environment(), stdout=self.log.open("w"), stderr=subprocess.STDOUT, start_new_session=True)

    def __enter__(self):
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError), \
                    urllib.request.urlopen(f"http://localhost:{self.http}/healthcheck", timeout=5):
                return self
            time.sleep(0.5)
        self.kill()
        raise RuntimeError(f"the server did not come up:\n{self.log.read_text()[-3000:]}")

    def kill(self):
        """kill -9: the server, and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE_S)
        self.kill()

    def client(self, operation, digests):
        done = call(python(), HERE / "client.py", operation, self.url, digests)
        return json.loads(done.stdout.splitlines()[-1])

    def bench(self):
        """LMCache's own bench: stores and fetches prompts, and compares digests. Returns its result as text."""
        done = call(BUILD / "venv/bin/lmcache", "bench", "server", "--mode", "cpu", "--rpc-url", self.url, "--url",
                    f"http://localhost:{self.http}", "--start", "100", "--end", "104", "--num-tokens", "1024",
                    "--interval", "0.2", "--kvcache-shape-spec", "(2,512,16,2,64):float16:8", "--num-blocks", "512")
        return done.stdout
