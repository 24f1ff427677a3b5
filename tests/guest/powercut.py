"""What a power cut leaves on a drive with a volatile cache: not what QEMU's own end leaves.

QEMU writes through its filter blklogwrites, which keeps every write and flush of a drive in order, in the
format of the kernel's dm-log-writes. After the cut the drive is put together again: as it was at the start,
then every write before its last flush, then some of those after it, whole, torn or not at all.
"""
import errno
import os
import pathlib
import random
import shutil
import struct
import subprocess

MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD = 1, 2, 4
SUPER = struct.Struct("<QQQI")   # magic, version, entries, bytes of a sector
ENTRY = struct.Struct("<QQQQ")   # sector, sectors, flags, bytes of data in the entry itself
LOG_ROOM = 16 << 30              # a hole; QEMU does not let the log grow by itself
SECTOR = 512
MOST_SECTORS = 8192  # of a write: 4 MiB


def base_of(drive):
    return drive.with_name(drive.name + ".base")


def log_of(drive):
    return drive.with_name(drive.name + ".log")


def begin(drive):
    """Before the machine starts."""
    copy(drive, base_of(drive))
    log_of(drive).unlink(missing_ok=True)
    with open(log_of(drive), "xb") as log:
        log.truncate(LOG_ROOM)


def copy(source, target):
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True)


def arguments(drive):
    """The file of a -drive."""
    # cache=unsafe would keep flushes from the filter; below it they only cost time. Of zeros to be written
    # without their bytes QEMU 7.2 logs the entry first and then, behind whatever came meanwhile, the bytes:
    # where they lie is not told. Refused, they come as plain writes.
    return ("driver=blkdebug,inject-error.0.event=none,inject-error.0.iotype=write-zeroes,"
            f"inject-error.0.errno={errno.EOPNOTSUPP},"
            "image.driver=blklogwrites,cache=writeback,image.file.driver=raw,image.file.file.driver=file,"
            f"image.file.file.filename={drive},image.file.file.cache.no-flush=on,"
            f"image.log.driver=file,image.log.filename={log_of(drive)},image.log.cache.no-flush=on,"
            f"image.log-sector-size={SECTOR}")


def header(log, at, size):
    """The entry that begins at this byte of the log, or None."""
    if at + SECTOR > size:
        return None
    log.seek(at)
    sector = log.read(SECTOR)
    first, count, flags, data = ENTRY.unpack(sector[:ENTRY.size])
    known = flags & ~(FLUSH | FUA | DISCARD) == 0 and count <= MOST_SECTORS and data == 0
    # Behind the four numbers there is nothing: bytes of a block do not look like that.
    return (first, count, flags) if known and (count or flags) and not any(sector[ENTRY.size:]) else None


def entries(log):
    """(byte offset on the drive, bytes, flags, byte offset of the data in the log), in order."""
    magic, version, promised, sector = SUPER.unpack(log.read(SUPER.size))
    # QEMU writes the superblock with a flush: there is none where the power went before the first.
    if magic and (magic, version, sector) != (MAGIC, 1, SECTOR):
        raise ValueError("this is not a log of QEMU's")
    size = os.fstat(log.fileno()).st_size
    at, seen = SECTOR, 0
    while True:
        found = header(log, at, size)
        # Entries are written side by side: one that the cut kept from the log leaves a hole, behind
        # which others, and a flush, may be whole. Past those that the last flush counted, all may be lost.
        holes = 0
        while found is None and seen < promised and holes < MOST_SECTORS:
            at, holes = at + SECTOR, holes + 1
            found = header(log, at, size)
        if found is None:
            return
        first, count, flags = found
        at, seen = at + SECTOR, seen + 1
        yield first * SECTOR, count * SECTOR, flags, at
        if not flags & DISCARD:
            at += count * SECTOR


def survivors(found, dice, ignore_flushes=False):
    """[(entry, bytes of it)] of what a drive still has. Each write after the last flush is kept, lost or
    torn at a sector, as a die says; so is every one where flushes are ignored, a drive that lies."""
    last = max((n for n, (_, _, flags, _) in enumerate(found) if flags & FLUSH), default=-1)
    kept = []
    for number, entry in enumerate(found):
        _, length, flags, _ = entry
        if length == 0:
            continue
        safe = number < last and not ignore_flushes or flags & FUA
        if not safe and dice.random() < 0.6:
            length = 0 if dice.random() < 0.7 else dice.randrange(length // SECTOR) * SECTOR
        if length:
            kept.append((entry, length))
    return kept


def lose(drive, seed, ignore_flushes=False):
    """After the cut. Returns how many writes there were, and how many of them are lost or torn."""
    drive = pathlib.Path(drive)
    with open(log_of(drive), "rb") as log, open(base_of(drive), "r+b") as out:
        found = list(entries(log))
        kept = survivors(found, random.Random(f"{seed} {drive.name}"), ignore_flushes)
        for (offset, length, flags, at), keeps in kept:
            out.seek(offset)
            log.seek(at)
            out.write(bytes(keeps) if flags & DISCARD else log.read(keeps))
    shutil.move(base_of(drive), drive)
    log_of(drive).unlink()
    writes = [entry for entry in found if entry[1]]
    whole = sum(keeps == entry[1] for entry, keeps in kept)
    return len(writes), len(writes) - whole


def end(drive):
    """The machine ended in order: what it wrote stays."""
    base_of(drive).unlink(missing_ok=True)
    log_of(drive).unlink(missing_ok=True)
