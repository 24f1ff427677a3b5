"""Runs the kvpool program the way a person does, and looks at what it prints."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

KVPOOL = os.environ["KVPOOL_BINARY"]

# What no message for people may hold.
CRASH_MARKS = ("terminate called", "what():", "Traceback", "broken invariant", "core dumped",
               "std::", "AddressSanitizer", "runtime error")


class CliTest(unittest.TestCase):
    """A folder of its own for every test; KVPOOL_TEST_DIR chooses where."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kvpool-cli-", dir=os.environ.get("KVPOOL_TEST_DIR"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as out:
            out.write(text)
        return self.path(name)

    def run_kvpool(self, *arguments, stdin=None, timeout=100):
        done = subprocess.run([KVPOOL, *map(str, arguments)], input=stdin, capture_output=True,
                              text=True, timeout=timeout, cwd=self.dir, check=False)
        for mark in CRASH_MARKS:
            self.assertNotIn(mark, done.stderr + done.stdout)
        self.assertGreaterEqual(done.returncode, 0, f"died of a signal: {done.stderr}")
        return done

    def succeed(self, *arguments, **options):
        done = self.run_kvpool(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def rows(self, *arguments, **options):
        """The JSON of a command: checked for its shape, without the header."""
        file = self.path("result.json")
        self.succeed(*arguments, "--json", file, **options)
        with open(file, encoding="utf-8") as text:
            rows = json.load(text)
        self.assert_shape(rows)
        return rows[1:]

    def assert_shape(self, rows):
        self.assertIsInstance(rows, list)
        self.assertGreaterEqual(len(rows), 2)
        self.assertEqual(set(rows[0]), {"commit", "config_hash", "machine", "date"})
        for row in rows:
            for value in row.values():
                self.assertNotIsInstance(value, (list, dict), f"nested: {row}")

    def refuse(self, *arguments, code, words, lines=1, **options):
        """The command ends with `code` and one sentence a line that holds all `words`."""
        done = self.run_kvpool(*arguments, **options)
        said = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        self.assertEqual(len(said), lines, done.stderr)
        self.assertTrue(said[0].startswith("kvpool"), done.stderr)
        for line in said:
            self.assertGreater(len(line), 20, line)
            self.assertLess(len(line), 500, line)
        for word in words:
            self.assertIn(word, done.stderr)
        return done

    # --- pools ---

    def device(self, name, capacity="64MiB", kind="file", path=None, extra=""):
        place = f'path = "{path or self.path(name)}"\n' if kind != "memory" else ""
        buffered = "accept_buffered = true\n" if kind == "file" else ""
        return (f'\n[[device]]\nname = "{name}"\nkind = "{kind}"\n{place}{buffered}'
                f'capacity = "{capacity}"\nread_bandwidth = "800MB/s"\n'
                f'write_bandwidth = "400MB/s"\n{extra}')

    def pool_file(self, *devices, name="pool.toml", catalog="catalog.db", verify=True):
        head = '[pool]\nversion = 1\nname = "test"\n'
        if not verify:
            head += "verify = false\n"
        if catalog:
            head += f'catalog = "{self.path(catalog)}"\n'
        return self.write(name, head + "".join(devices))

    def created_pool(self, *devices, **options):
        devices = devices or (self.device("a"), self.device("b"))
        file = self.pool_file(*devices, **options)
        self.succeed("create", "--pool", file)
        return file

    def tiny_trace(self, name="trace.jsonl", requests=60):
        """Some conversations: every third request starts one, the others go on with it."""
        lines = []
        ids = []
        for i in range(requests):
            if i % 3 == 0:
                ids = [1, 2]
            ids = ids + [1000 * i + k for k in range(3)]
            lines.append(json.dumps({"timestamp": 10 * i, "input_length": 512 * len(ids),
                                     "output_length": 5, "hash_ids": ids}))
        return self.write(name, "\n".join(lines) + "\n")


def interrupt(process, after_s):
    """Sends SIGINT once `after_s` have passed; the exit code."""
    try:
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    return process.wait(timeout=30)


def main():
    unittest.main(module=sys.modules["__main__"], verbosity=2)
