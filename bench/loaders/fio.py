"""fio as the roofline: io_uring, O_DIRECT, 1 MiB, depth 32, huge pages where its malloc gets them; all drives at once.

It reads what it has written until it has read 4 GiB, so that its start-up does not count.
"""
import json
import os
import subprocess

MIB = 1 << 20
READ = 4096 * MIB


def run(operation, folders, total, join):
    """Stores or loads `total` bytes, on drives in proportion to their speeds. RuntimeError with what fio says."""
    summed = sum(speed for _, speed in folders)
    command = ["fio", "--output-format=json", "--thread", "--ioengine=io_uring", "--direct=1", "--bs=1M",
               "--iodepth=32", "--mem=malloc", "--group_reporting", "--zero_buffers",
               f"--rw={'write' if operation == 'store' else 'read'}"]
    if operation == "load":
        command.append(f"--loops={-(-READ // total)}")
    for index, (folder, speed) in enumerate(folders):
        size = -(-int(total * speed / summed) // MIB) * MIB
        command += [f"--name=drive{index}", f"--filename={folder / 'fio.data'}", f"--size={size}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=join,
                              env={**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"})
    except FileNotFoundError as error:
        raise RuntimeError("fio is not installed") from error
    if done.returncode:
        raise RuntimeError(" ".join((done.stderr or done.stdout).split())[-300:] or f"fio ended with {done.returncode}")
    (job,) = json.loads(done.stdout)["jobs"]
    if operation == "store":
        return {}
    read, seconds = job["read"]["io_bytes"], job["read"]["runtime"] / 1000
    cpu_s = (job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] / 1000
    return {"lasting": True, "seconds": seconds, "gb_per_s": read / seconds / 1e9,
            "cpu_s_per_gib": cpu_s / read * (1 << 30), "right": None}
