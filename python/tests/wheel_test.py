"""usage: wheel_test.py SOURCE FOLDER: `pip install .` into a new environment gives the command and the package."""
import os
import shutil
import subprocess
import sys

SKIP = 77
source, folder = sys.argv[1:]
python = os.path.join(folder, "venv", "bin", "python")


def run(*arguments, **options):
    return subprocess.run(arguments, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          cwd=folder, **options)


def must(*arguments):
    done = run(*arguments)
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)}\n{done.stdout}")
    return done.stdout


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIP)


shutil.rmtree(folder, ignore_errors=True)
os.makedirs(folder)
if run(sys.executable, "-m", "venv", "venv").returncode != 0:
    skip("no virtual environment can be made: install python3-venv")
reachable = run(python, "-m", "pip", "--quiet", "--retries", "0", "--timeout", "15", "download", "--no-deps",
                "--dest", "reachable", "scikit-build-core")
if reachable.returncode != 0:
    skip("PyPI is not reachable, which has what builds the wheel")

if shutil.which("ccache"):
    os.environ.setdefault("CMAKE_CXX_COMPILER_LAUNCHER", "ccache")
    os.environ.setdefault("CXX", "c++")  # the compiler's name counts: by this one the library has been compiled
# A build folder that stays: the next run compiles only what has changed.
must(python, "-m", "pip", "--quiet", "install", f"--config-settings=build-dir={folder}-build", source)

usage = must(os.path.join(folder, "venv", "bin", "kvpool"), "--help")
assert "probe" in usage, usage
files = must(python, "-c", "import importlib.metadata as m; print(*m.files('kvpool'), sep='\\n')").split()
present = {file for file in files if file.startswith("kvpool/") and "__pycache__" not in file}
for file in ("kvpool/__init__.py", "kvpool/_native.pyi", "kvpool/py.typed", "kvpool/aio.py"):
    assert file in present, files
extra = [file for file in present if file.rsplit(".", 1)[-1] not in ("py", "pyi", "typed", "so")]
extra += [file for file in files if file.startswith(("bench", "tests", "lib/", "include"))]
assert not extra, extra
version = must(python, "-c", "import importlib.metadata as m; print(m.version('kvpool'))").strip()
assert f"kvpool {version}" in must(os.path.join(folder, "venv", "bin", "kvpool"), "--version"), version

with open(os.path.join(folder, "pool.toml"), "w", encoding="utf-8") as pool:
    pool.write('[pool]\nversion = 1\n[[device]]\nname = "ram"\nkind = "memory"\ncapacity = "16MiB"\n'
               'read_bandwidth = "1GB/s"\nwrite_bandwidth = "1GB/s"\n')
said = must(python, "-I", "-c", """
import kvpool
with kvpool.Pool.open("pool.toml") as pool:
    space, into = pool.space(model="m"), bytearray(3)
    kvpool.check(space.put([b"k"], [b"abc"]) + space.get([b"k"], [into]))
    print(into.decode(), kvpool.__file__)
""")
assert said.startswith(f"abc {folder}/venv/"), said
print("the wheel has the package and the command")
shutil.rmtree(folder)
