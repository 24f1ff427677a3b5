"""Where a result comes from: the first row of every file of results."""
import datetime
import hashlib
import os
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def header(chosen, **versions):
    """`chosen`: the parsed options, which give the configuration's hash."""
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                            check=False)
    config = hashlib.sha256(repr(sorted(map(str, vars(chosen).items()))).encode()).hexdigest()[:16]
    return {"commit": commit.stdout.strip() or "unknown", "config_hash": config, "machine": platform.platform(),
            "processors": os.cpu_count(), "load_average": os.getloadavg()[0], "versions": versions,
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}
