"""Making a drive ready, on a loop device where this user can make one."""

import os
import subprocess

from harness import CliTest, main


class Format(CliTest):
    def loop(self):
        backing = self.path("backing")
        with open(backing, "wb") as file:
            file.truncate(16 << 20)
        made = subprocess.run(["losetup", "--find", "--show", backing], capture_output=True,
                              text=True, check=False) if os.geteuid() == 0 else None
        if made is None or made.returncode != 0:
            self.skipTest("this user cannot make a loop device")
        device = made.stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "-d", device], check=False)
        return device

    def put(self, device, offset, data):
        with open(device, "r+b") as file:
            file.seek(offset)
            file.write(data)

    def test_an_empty_drive_is_taken(self):
        device = self.loop()
        said = self.succeed("format", device).stdout
        self.assertIn("carried nothing known", said)
        self.assertIn("kvpool create", said)

    def test_what_carries_something_wants_two_words(self):
        device = self.loop()
        self.put(device, 1080, b"\x53\xef")
        for words in ((), ("--force",), ("--confirm", device)):
            self.refuse("format", device, *words, code=1,
                        words=["ext filesystem", f"--force --confirm {device}"])
        self.refuse("format", device, "--force", "--confirm", "S1", code=2, words=["and not S1"])
        self.succeed("format", device, "--force", "--confirm", device)
        self.assertIn("carried nothing known", self.succeed("format", device).stdout)

    def test_a_link_does_not_confirm_itself(self):
        device = self.loop()
        link = self.path("link")
        os.symlink(device, link)
        self.put(device, 1080, b"\x53\xef")
        self.refuse("format", link, code=1, words=[f"{link} ({device}", f"--confirm {device}"])
        self.refuse("format", link, "--force", "--confirm", link, code=2,
                    words=[f"the drive {device} and not {link}"])
        said = self.succeed("format", link, "--force", "--confirm", device).stdout
        self.assertIn(f"{link} ({device})", said)

    def test_a_pool_takes_it_after_that_and_not_before(self):
        device = self.loop()
        self.put(device, 510, b"\x55\xaa")
        pool = self.pool_file(self.device("d", kind="drive", capacity="8MiB", path=device))
        self.refuse("create", "--pool", pool, code=1, words=["MBR", f"kvpool format {device}"])
        self.succeed("format", device, "--force", "--confirm", device)
        self.succeed("create", "--pool", pool)
        said = self.succeed("info", "--pool", pool).stdout
        self.assertIn("block chosen for kind drive", said)
        self.refuse("format", device, code=1, words=["a kvpool label"])

    def test_what_is_no_drive(self):
        file = self.write("file", "precious")
        self.refuse("format", file, "--force", "--confirm", file, code=2, words=["block device"])
        self.refuse("format", self.path("absent"), code=1,
                    words=["no such drive", "kvpool probe"])
        self.refuse("format", "/dev/null", code=2, words=["block device"])
        self.refuse("format", code=2, words=["drive is required"])
        with open(file, encoding="utf-8") as text:
            self.assertEqual(text.read(), "precious")


if __name__ == "__main__":
    main()
