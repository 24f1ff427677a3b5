"""Drives for a benchmark: a plain folder, or loop devices that the kernel slows down to given speeds.

A loop device lies on a file, has an ext4 of its own and is throttled by the blkio controller (cgroup version 1) for the
processes that Drives.join is called in. Needs root.
"""
import os
import pathlib
import subprocess
import tempfile

MIB = 1 << 20
BLKIO = pathlib.Path("/sys/fs/cgroup/blkio")


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout.strip()


def make_cold():
    """Takes every clean page out of the page cache. OSError where this process may not."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")


def capacity(total, share):
    """Of a pool's file on a drive with `share` of the bandwidth, in bytes."""
    return (int(1.05 * total * share) // (2 * MIB) + 8) * 2 * MIB


def pool_file(folders, name, total, *settings):
    """A pool over all drives, beside what else lies there."""
    first, summed = folders[0][0], sum(speed for _, speed in folders)
    lines = ["[pool]", "version = 1", *settings]
    for index, (folder, speed) in enumerate(folders):
        lines += ["[[device]]", f'name = "drive{index}"', 'kind = "file"', f'path = "{folder / name}.drive"',
                  f"capacity = {capacity(total, speed / summed)}", f"read_bandwidth = {speed}",
                  f"write_bandwidth = {speed}"]
    path = first / f"{name}.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


class Folder:
    """One drive as it is: whatever `folder` lies on."""

    def __init__(self, folder, speed):
        self.made = tempfile.TemporaryDirectory(prefix="kvpool-loaders-", dir=folder)
        self.folders = [(pathlib.Path(self.made.name), speed)]

    def join(self):
        pass

    def close(self):
        self.made.cleanup()


class Loops:
    """Loop devices of `speeds` bytes/s and `sizes` bytes, on files in `folder`. folders: the fastest first."""

    def __init__(self, folder, speeds, sizes):
        if not (BLKIO / "blkio.throttle.read_bps_device").exists():
            raise OSError(f"{BLKIO} has no blkio controller of cgroup version 1: leave out --drives")
        self.made = tempfile.TemporaryDirectory(prefix="kvpool-loaders-", dir=folder)
        self.group = BLKIO / pathlib.Path(self.made.name).name
        self.group.mkdir()
        self.loops, self.folders = [], []
        try:
            for index, (speed, size) in enumerate(zip(speeds, sizes)):
                self._add(index, speed, size)
        except OSError:
            self.close()
            raise

    def _add(self, index, speed, size):
        root = pathlib.Path(self.made.name)
        file, mount = root / f"drive{index}.img", root / f"drive{index}"
        with open(file, "wb") as made:
            made.truncate(size)
        mount.mkdir()
        loop = run("losetup", "--find", "--show", "--direct-io=on", file)
        self.loops.append((loop, mount))
        run("mkfs.ext4", "-q", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", loop)
        run("mount", "-o", "nodiscard", loop, mount)
        device = os.stat(loop).st_rdev
        (self.group / "blkio.throttle.read_bps_device").write_text(f"{os.major(device)}:{os.minor(device)} {speed}")
        self.folders.append((mount, speed))

    def join(self):
        """Puts the calling process into the group that is slowed down."""
        (self.group / "cgroup.procs").write_text(str(os.getpid()))

    def close(self):
        for loop, mount in self.loops:
            subprocess.run(["umount", mount], capture_output=True, check=False)
            subprocess.run(["losetup", "--detach", loop], capture_output=True, check=False)
        self.group.rmdir()
        self.made.cleanup()
