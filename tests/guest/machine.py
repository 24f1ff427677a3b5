"""The guest's hardware as QEMU's arguments: two NUMA nodes and NVMe drives."""
import argparse
import dataclasses
import os
import pathlib
import re

import powercut

BLOCK = 64 << 20  # drives are filled with copies of this much
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def size(text):
    match = re.fullmatch(r"([1-9]\d*)([KMG]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is no size: write 512M or 2G")
    return int(match[1]) * UNITS[match[2]]


@dataclasses.dataclass
class Drive:
    """One emulated drive; an NVMe drive has one namespace."""
    bytes: int
    speed: int = 0     # MB/s, reads and writes together; 0: as fast as emulation goes
    lba: int = 512     # bytes of a logical block
    metadata: int = 0  # bytes beside each logical block
    mdts: int = 8      # the largest transfer is 4 KiB << mdts: 1 MiB; 0: no limit
    virtio: int = 0    # 1: /dev/vda and so on, for filesystems: QEMU's NVMe drives take no notice of FUA

    @staticmethod
    def parse(text):
        """SIZE[:SPEED][,lba=N][,metadata=N][,mdts=N][,virtio=1]"""
        match = re.fullmatch(r"(\w+)(?::(\d+))?((?:,(?:lba|metadata|mdts|virtio)=\d+)*)", text)
        if not match:
            raise argparse.ArgumentTypeError(
                f"'{text}' is no drive: write SIZE[:MB/s][,lba=N][,metadata=N][,mdts=N][,virtio=1]")
        options = dict(part.split("=") for part in match[3].split(",") if part)
        return Drive(size(match[1]), int(match[2] or 0),
                     **{name: int(value) for name, value in options.items()})


DEFAULT_DRIVES = ("512M:800", "512M:400", "512M:200")


def make_drives(drives, folder, filled):
    """Their files in `folder`, drive0 and so on; one that is there already is kept as it is."""
    block = os.urandom(BLOCK) if filled else b""
    for number, drive in enumerate(drives):
        file = pathlib.Path(folder) / f"drive{number}"
        if file.exists():
            continue
        # Metadata lies behind the data in the same file; QEMU divides the room.
        with open(file, "xb") as out:
            for _ in range(0, drive.bytes if filled else 0, BLOCK):
                out.write(block)
            out.truncate(drive.bytes + drive.bytes // drive.lba * drive.metadata)


def drive_arguments(drives, folder, loses_unflushed=False):
    for number, drive in enumerate(drives):
        name = f"drive{number}"
        # A power cut here kills QEMU and not the machine, so what the drive took is safe without
        # flushing the file to the machine's own disk.
        file = f"file={folder}/{name},format=raw,cache=unsafe"
        if loses_unflushed:
            file = powercut.arguments(pathlib.Path(folder) / name)
        file += f",id={name},if=none"
        if drive.speed:
            file += f",throttling.bps-total={drive.speed * 1_000_000}"
        yield from ("-drive", file)
        if drive.virtio:
            yield from ("-device", f"virtio-blk-pci,drive={name}")
            continue
        yield from ("-device", f"nvme,id=nvme{number},serial={name},mdts={drive.mdts}")
        yield from ("-device", f"nvme-ns,drive={name},bus=nvme{number},ms={drive.metadata},"
                    f"logical_block_size={drive.lba},physical_block_size={drive.lba}")


def memory_arguments(total, cpus):
    """Two NUMA nodes, each with half of everything."""
    half = total // 2
    yield from ("-m", f"{total >> 20}M", "-smp", str(cpus))
    for node in (0, 1):
        first, last = node * cpus // 2, (node + 1) * cpus // 2 - 1
        yield from ("-object", f"memory-backend-ram,id=ram{node},size={half}")
        yield from ("-numa", f"node,nodeid={node},memdev=ram{node}"
                    + (f",cpus={first}-{last}" if last >= first else ""))


def accelerator_arguments(accelerator):
    if accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi", "-cpu", "max,-erms,-fsrm"]


def iommu_arguments(iommu):
    # 39 bits, the default address width, fail SPDK's DMA mask.
    return ["-device", "intel-iommu,caching-mode=on,intremap=off,aw-bits=48"] if iommu else []


def kernel_line(drives, iommu, share, extra):
    # The kernel distrusts an emulated TSC, which QEMU keeps in step over all processors, and then
    # reading the clock is a system call and an exit to QEMU.
    words = ["console=ttyS0", "quiet", "panic=-1", "rdinit=/init", "tsc=reliable"]
    nvme = [f"drive{n}" for n, drive in enumerate(drives) if not drive.virtio]
    if nvme:
        words.append("guest.drives=" + ",".join(nvme))
    if iommu:
        # Without pt the kernel's own path to the drives is halved.
        words += ["intel_iommu=on", "iommu=pt", "vfio_iommu_type1.allow_unsafe_interrupts=1"]
    return " ".join(words + (["guest.share"] if share else []) + extra)
