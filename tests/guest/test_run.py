#!/usr/bin/env python3
"""What run promises: output, exit codes, files, an end in time. A bed that cannot fail tests nothing."""
import importlib.machinery
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
import image  # noqa: E402
import machine  # noqa: E402
import powercut  # noqa: E402

RUN = pathlib.Path(__file__).with_name("run")


def guest(*arguments, timeout=400, **more):
    return subprocess.run([RUN, *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout, check=False, **more)


class Blame(unittest.TestCase):
    """Of a machine that did not come up."""

    def kvm_is_blamed(self, accelerator, log):
        run = importlib.machinery.SourceFileLoader("run", str(RUN)).load_module()
        with tempfile.TemporaryDirectory(prefix="kvpool-guest-") as folder:
            machine_ = object.__new__(run.Guest)
            machine_.folder, machine_.accelerator = pathlib.Path(folder), accelerator
            (machine_.folder / "qemu.log").write_text(log, encoding="utf-8")
            return machine_.blames_kvm()

    def test_kvm_is_blamed_where_qemu_does(self):
        self.assertTrue(self.kvm_is_blamed("kvm", "qemu: failed to initialize KVM: No such device"))

    def test_kvm_is_not_blamed_for_what_else_went_wrong(self):
        self.assertFalse(self.kvm_is_blamed("kvm", "qemu: could not open disk image"))
        self.assertFalse(self.kvm_is_blamed("tcg", "qemu: something about KVM"))


class Guest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="kvpool-guest-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_output_exit_code_and_files_come_back(self):
        """Also what goes by in a hurry, and with somebody left behind who holds the streams."""
        (self.folder / "question").write_text("six by nine", encoding="utf-8")
        done = guest("--no-drives", "--share", self.folder, "--", "sh", "-c",
                     "seq 100000; cat question >&2; echo 42 > answer;"
                     " { while :; do sleep 1; done; } & exit 3")
        self.assertEqual((done.returncode, done.stderr), (3, "six by nine"))
        self.assertEqual(done.stdout, "".join(f"{n}\n" for n in range(1, 100001)))
        self.assertEqual((self.folder / "answer").read_text(encoding="utf-8"), "42\n")

    def test_a_machine_that_did_not_come_up_is_started_again(self):
        qemu = self.folder / "qemu-system-x86_64"
        qemu.write_text(f"""#!/bin/sh
echo started >> {self.folder}/starts
[ $(wc -l < {self.folder}/starts) = 1 ] || exec {image.tool(qemu.name)} "$@"
""", encoding="utf-8")
        qemu.chmod(0o755)
        done = guest("--no-drives", "--accel", "tcg", "--", "echo", "up",
                     env=os.environ | {"PATH": f"{self.folder}:{os.environ['PATH']}"})
        self.assertEqual((done.returncode, done.stdout), (0, "up\n"), done.stderr)
        self.assertEqual((self.folder / "starts").read_text(encoding="utf-8"), "started\n" * 2)

    def test_a_power_cut_loses_what_was_not_flushed_and_nothing_else(self):
        (self.folder / "share").mkdir()
        (self.folder / "share/write").write_text("""
write() { dd if=/tmp/bytes of=/dev/nvme0n1 bs=64k oflag=direct "$@" 2> /dev/null; }
head -c 65536 /dev/zero | tr '\\0' A > /tmp/bytes
for at in $(seq 0 15); do write seek=$at; done
write seek=16 conv=fsync
for at in $(seq 32 95); do write seek=$at; done
touch begun
sleep 1000
""", encoding="utf-8")
        cut = ("--share", self.folder / "share", "--power-off-from", "begun", "--power-off-after",
               0.2, "--drive", "16M", "--lose-unflushed", 7)
        block = b"A" * 65536

        def drive(name, *more):
            done = guest(*cut, "--keep-drives", self.folder / name, *more, "--", "sh", "write")
            self.assertEqual(done.returncode, 137, done.stderr)
            self.assertIn("lost or torn", done.stderr)
            (self.folder / "share/begun").unlink()
            found = (self.folder / name / "drive0").read_bytes()
            self.assertEqual([file.name for file in (self.folder / name).iterdir()], ["drive0"])
            return [found[at * 65536:(at + 1) * 65536] == block for at in range(96)]

        honest = drive("honest")
        self.assertTrue(all(honest[:17]), "a write that was flushed is lost")
        self.assertTrue(any(honest[32:]))
        self.assertFalse(all(honest[32:]), "nothing was lost")
        self.assertFalse(all(drive("lying", "--lying-drives", 1)[:17]))

    def test_a_power_cut_before_anything_was_flushed_may_lose_it_all(self):
        (self.folder / "write").write_text("""
for at in $(seq 0 31); do dd if=/etc/passwd of=/dev/nvme0n1 bs=4k count=1 conv=sync oflag=direct seek=$at; done
touch begun
sleep 1000
""", encoding="utf-8")
        done = guest("--share", self.folder, "--power-off-from", "begun", "--power-off-after", 0.2,
                     "--drive", "16M", "--drive", "16M", "--lose-unflushed", 7,
                     "--keep-drives", self.folder / "drives", "--", "sh", "write")
        self.assertEqual(done.returncode, 137, done.stderr)
        self.assertRegex(done.stderr, r"drive0 [1-9][0-9]* of 32, drive1 0 of 0")

    def test_zeros_written_meanwhile_hide_no_flushed_write(self):
        (self.folder / "write").write_text("""
head -c 65536 /dev/zero | tr '\\0' A > /tmp/bytes
for at in 8 12; do
  while :; do blkdiscard -z -o ${at}M -l 4M /dev/nvme0n1; done &
done
for at in $(seq 0 39); do dd if=/tmp/bytes of=/dev/nvme0n1 bs=64k oflag=direct conv=fsync seek=$at; done 2> /dev/null
touch begun
sleep 1000
""", encoding="utf-8")
        done = guest("--share", self.folder, "--power-off-from", "begun", "--power-off-after", 0.2, "--drive", "16M",
                     "--lose-unflushed", 7, "--keep-drives", self.folder / "drives", "--with", "blkdiscard", "--", "sh",
                     "write")
        self.assertEqual(done.returncode, 137, done.stderr)
        self.assertEqual((self.folder / "drives/drive0").read_bytes()[:40 * 65536].count(b"A"), 40 * 65536)

    def test_a_file_that_was_synced_is_there_after_a_power_cut(self):
        """A journal commits by FUA."""
        (self.folder / "write").write_text("""
modprobe ext4 && /programs/mke2fs -q -t ext4 /dev/vda && mount -t ext4 /dev/vda /mnt && sync
for n in $(seq 1 20); do echo $n | dd of=/mnt/$n conv=fsync; done
touch begun
sleep 1000
""", encoding="utf-8")
        drive = ("--drive", "32M,virtio=1", "--keep-drives", self.folder / "drives")
        done = guest("--share", self.folder, "--power-off-from", "begun", "--power-off-after", 0.1,
                     "--lose-unflushed", 1, *drive, "--with", "mke2fs", "--", "sh", "write")
        self.assertEqual(done.returncode, 137, done.stderr)
        done = guest(*drive, "--", "sh", "-c", "modprobe ext4; mount -t ext4 /dev/vda /mnt && cd /mnt && cat $(seq 20)")
        self.assertEqual(done.stdout.split(), [str(n) for n in range(1, 21)], done.stderr)

    def test_a_program_that_does_not_end_is_ended(self):
        done = guest("--no-drives", "--timeout", 1, "--", "sh", "-c", "echo begun; sleep 1000")
        self.assertEqual(done.returncode, 124)
        self.assertRegex(done.stderr, r"^guest: .* within 1 s.*\n$")
        self.assertEqual(done.stdout, "begun\n")

    def test_nothing_outlives_a_run_that_is_killed(self):
        """A killed run cannot tidy up: the next does."""
        run = subprocess.Popen([RUN, "--drive", "64M", "--", "sh", "-c", "echo begun; sleep 1000"],
                               stdout=subprocess.PIPE)
        self.assertEqual(run.stdout.readline(), b"begun\n")
        children = pathlib.Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        self.assertEqual(len(children), 1)
        run.kill()
        run.communicate()
        for _ in range(100):
            if not pathlib.Path("/proc", children[0], "exe").exists():
                break
            time.sleep(0.05)
        self.assertFalse(pathlib.Path("/proc", children[0], "exe").exists())
        self.assertEqual(len(list(image.CACHE.glob(f"run-{run.pid}-*"))), 1)
        guest("--no-drives", "--", "none/program")
        self.assertEqual(list(image.CACHE.glob(f"run-{run.pid}-*")), [])

    def test_a_machine_that_dies_is_no_success(self):
        done = guest("--no-drives", "--", "sh", "-c", "echo c > /proc/sysrq-trigger")
        self.assertEqual(done.returncode, 125)
        self.assertIn("sysrq", done.stderr)

    def test_a_drive_keeps_its_bytes_over_a_power_cut(self):
        drive = ("--drive", "64M", "--keep-drives", self.folder)
        done = guest(*drive, "--power-off-after", 2, "--", "sh", "-c",
                     "echo kept | dd of=/dev/nvme0n1 bs=512 conv=sync oflag=direct; sleep 1000")
        self.assertEqual(done.returncode, 137)
        done = guest(*drive, "--", "head", "-c", "5", "/dev/nvme0n1")
        self.assertEqual((done.returncode, done.stdout), (0, "kept\n"), done.stderr)


class Log(unittest.TestCase):
    """Of writes, as QEMU keeps it. Needs no guest."""

    def entries(self, *records, promised):
        with tempfile.TemporaryFile() as log:
            log.write(powercut.SUPER.pack(powercut.MAGIC, 1, promised, 512).ljust(512, b"\0"))
            for first, count, flags, written in records:
                entry = powercut.ENTRY.pack(first, count, flags, 0).ljust(512, b"\0") + os.urandom(512 * count)
                log.write(entry if written else bytes(len(entry)))
            log.write(bytes(1 << 16))
            log.seek(0)
            return [entry[:3] for entry in powercut.entries(log)]

    def test_what_stands_behind_a_write_that_was_cut_off_counts(self):
        records = [(8, 8, 0, True), (64, 16, 0, False), (128, 8, 0, True), (0, 0, powercut.FLUSH, True)]
        whole = [(4096, 4096, 0), (65536, 4096, 0), (0, 0, powercut.FLUSH)]
        self.assertEqual(self.entries(*records, promised=4), whole)
        self.assertEqual(self.entries(*records, promised=1), whole[:1])


class Mistakes(unittest.TestCase):
    """Need no guest."""

    def refused(self, word, *arguments):
        done = guest(*arguments)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn(word, done.stderr.splitlines()[-1])

    def test_are_told_in_a_sentence(self):
        self.refused("none/program", "--no-drives", "--", "none/program")
        self.refused("no-such-tool", "--no-drives", "--with", "no-such-tool", "--", "true")
        self.refused("nowhere", "--share", "/nowhere", "--", "true")
        self.refused("5X", "--drive", "5X", "--", "true")
        self.refused("lba", "--drive", "5M,color=1", "--", "true")

    def test_drives_are_what_they_say(self):
        drive = machine.Drive.parse("2G:300,lba=4096,metadata=8,mdts=5")
        self.assertEqual(drive, machine.Drive(2 << 30, 300, 4096, 8, 5))
        self.assertEqual(machine.Drive.parse("64M"), machine.Drive(64 << 20, 0, 512, 0, 8))
        self.assertEqual(machine.Drive.parse("64M,virtio=1").virtio, 1)
        self.assertIn("throttling.bps-total=300000000", " ".join(machine.drive_arguments([drive], ".")))


def main():
    try:
        image.tool("qemu-system-x86_64")
        image.base_archive()
    except image.Unavailable as why:
        print(f"skipped: {why}")
        return 77
    unittest.main(verbosity=2)


if __name__ == "__main__":
    sys.exit(main())
