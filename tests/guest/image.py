"""What the guest boots: a kernel out of Debian's package and an archive with busybox and modules.

Both are kept in build/guest and made again only when what they are made of changes. Nothing is
installed and nothing needs root.
"""
import contextlib
import fcntl
import hashlib
import pathlib
import re
import shutil
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parent.parent / "build" / "guest"
KERNEL_PACKAGE = "linux-image-amd64"  # depends on the newest image, which is the one that is taken
# 9p and virtio carry the guest's files and words; the others serve programs under test.
MODULES = ("virtio_pci virtio_blk virtio_console 9pnet_virtio 9p nvme nvme_tcp ext4 crc32c_generic crc32c_intel"
           " loop vfio_pci vfio_iommu_type1 uio_pci_generic").split()
FOLDERS = "bin sbin usr/lib/ssl etc dev proc sys tmp run share programs mnt".split()


class Unavailable(Exception):
    """The guest cannot be had here; one sentence says why and what to do."""


class Mistake(Exception):
    """What was asked for cannot be; one sentence says why."""


def tool(name):
    """The path of a program of this machine, also of those that only root has in PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not found:
        raise Unavailable(f"{name} is not here: run 'scripts/install-deps --guest'")
    return found


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Unavailable(f"'{' '.join(map(str, command))}' failed: {last}")
    return done.stdout


@contextlib.contextmanager
def locked():
    """One at a time: runs side by side share the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def scratch():
    return tempfile.TemporaryDirectory(prefix="making-", dir=CACHE)


# --- the kernel ---

def kernel():
    """The folder of the unpacked package; fetched the first time only."""
    unpacked = CACHE / "kernel"
    if not unpacked.exists():
        with scratch() as folder:
            folder = pathlib.Path(folder)
            run("dpkg-deb", "-x", fetch_kernel(folder), folder / "kernel")
            (folder / "kernel").rename(unpacked)
    return unpacked


def fetch_kernel(folder):
    package = re.search(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", KERNEL_PACKAGE))
    if not package:
        raise Unavailable(f"apt-get knows no {KERNEL_PACKAGE}: run 'apt-get update' as root")
    run("apt-get", "-q", "download", package[1], cwd=folder)
    return next(folder.glob("*.deb"))


def kernel_image():
    return next(kernel().glob("boot/vmlinuz-*"))


def module_files(modules_folder):
    """The MODULES and all that they depend on."""
    files = {path.stem.replace("-", "_"): path for path in modules_folder.rglob("*.ko")}
    wanted = list(MODULES)
    chosen = {}
    for name in wanted:
        if name in files and name not in chosen:  # else it is built in
            chosen[name] = files[name]
            depends = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes())
            wanted += [d.replace("-", "_") for d in depends[1].decode().split(",") if d]
    return list(chosen.values())


# --- archives ---

def archive(root, file):
    """Everything under `root` as the kernel unpacks it."""
    names = "\0".join(sorted(str(p.relative_to(root)) for p in root.rglob("*")))
    with open(file, "wb") as out:
        done = subprocess.run([tool("cpio"), "-o", "-0", "-H", "newc", "-R", "0:0", "--quiet"],
                              input=names.encode(), stdout=out, cwd=root, check=False)
    if done.returncode != 0:
        raise Unavailable(f"cpio could not write {file}: is the disk full?")


def base_archive():
    """busybox, the modules and init."""
    with locked():
        key = hashlib.sha256("\0".join(map(str, base_inputs())).encode()).hexdigest()[:16]
        file = CACHE / f"base-{key}.cpio"
        if not file.exists():
            with scratch() as folder:
                root = pathlib.Path(folder) / "root"
                stage_base(root)
                archive(root, pathlib.Path(folder) / "base.cpio")
                for old in CACHE.glob("base-*.cpio"):
                    old.unlink()
                (pathlib.Path(folder) / "base.cpio").rename(file)
    return file


def base_inputs():
    busybox = pathlib.Path(tool("busybox")).stat()
    yield from (kernel_image().name, busybox.st_size, busybox.st_mtime_ns)
    for source in ("init", "rebind", "image.py"):
        yield (HERE / source).read_text(encoding="utf-8")


def stage_base(root):
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n", encoding="utf-8")
    (root / "etc/group").write_text("root:x:0:\n", encoding="utf-8")
    (root / "usr/lib/ssl/openssl.cnf").touch()  # SPDK's environment does not start without
    shutil.copy(HERE / "init", root / "init")
    busybox = tool("busybox")
    shutil.copy(busybox, root / "bin/busybox")
    for applet in run(busybox, "--list").split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    shutil.copy(HERE / "rebind", root / "bin/rebind")
    (root / "sbin/modprobe").symlink_to("../bin/busybox")  # where the kernel looks for it
    stage_modules(root, busybox)


def stage_modules(root, busybox):
    modules = next(kernel().glob("lib/modules/*"))
    for file in module_files(modules):
        target = root / file.relative_to(kernel())
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    run(busybox, "depmod", "-b", root, modules.name)


def program_archive(programs, extra, file):
    """Programs of this machine under /programs, with their shared libraries where they are here.

    `extra` is {path in the guest: text}.
    """
    with scratch() as folder:
        root = pathlib.Path(folder)
        (root / "programs").mkdir()
        for program in programs:
            shutil.copy(program, root / "programs" / pathlib.Path(program).name)
            for library in libraries(program):
                target = root / library.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, target)
        for name, text in extra.items():
            (root / name).write_text(text, encoding="utf-8")
        archive(root, file)


def libraries(program):
    """Absolute paths; none for a script or a static program."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    if "not found" in done.stdout:
        missing = next(line for line in done.stdout.splitlines() if "not found" in line)
        raise Mistake(f"{program} does not run here either: {missing.strip()}")
    return re.findall(r"(/\S+) \(0x", done.stdout)
