"""Pool and Space: what is put comes back, and what is wrong is said in one sentence."""
import gc
import os
import pathlib
import subprocess
import sys

import kvpool
from kvpool import Status

import harness
from harness import PoolTest, device


def blocks(count, nbytes, seed=1):
    return [bytes((seed + 7 * i + k * 31 + k // 251) % 256 for k in range(nbytes)) for i in range(count)]


class RoundTrip(PoolTest):
    def test_what_is_put_comes_back(self):
        space = self.open().space(model="m", dtype="bf16", layers=4)
        keys = [b"key %d" % i for i in range(7)]
        stored = blocks(7, 300_001)
        self.assertEqual(space.match(keys), 0)
        self.assertEqual(space.put(keys, stored, ordinal=0), [Status.OK] * 7)
        self.assertEqual(space.match([*keys[:3], b"other", *keys[3:]]), 3)
        self.assertEqual(space.contains([b"other", keys[1]]), [False, True])
        into = [bytearray(300_001) for _ in keys]
        self.assertEqual(space.get(keys, into), [Status.OK] * 7)
        self.assertEqual(into, stored)

    def test_a_block_may_be_shorter_than_its_buffer(self):
        space = self.open().space(model="m")
        space.put([b"k"], [b"abc"])
        into = bytearray(b"......")
        self.assertEqual(space.get([b"k"], [into]), [Status.OK])
        self.assertEqual(into[:3], b"abc")

    def test_results_are_members_of_status(self):
        space = self.open().space(model="m")
        space.put([b"k"], [b"abc"])
        results = space.put([b"k", b"l"], [b"xyz", b"xyz"]) + space.drop([b"l", b"gone"])
        results += space.get([b"k"], [bytearray(2)]) + space.get([b"gone"], [bytearray(2)])
        self.assertEqual(results, [Status.EXISTS, Status.OK, Status.OK, Status.NOT_FOUND, Status.INVALID,
                                   Status.NOT_FOUND])
        self.assertTrue(all(type(result) is Status for result in results))

    def test_text_and_its_utf8_are_one_key(self):
        space = self.open().space(model="m")
        space.put(["Schlüssel"], [b"abc"], parent="vater")
        self.assertEqual(space.match(["Schlüssel".encode()]), 1)

    def test_a_spec_is_a_space_of_its_own(self):
        pool = self.open()
        spec = dict(model="m", dtype="d", layout="l", layer_group="g", rank="0", engine="e", tenant_salt="t",
                    owner="o", layers=2)
        pool.space(**spec).put([b"k"], [b"abcd"])
        self.assertEqual(pool.space(**spec).match([b"k"]), 1)
        for field, value in spec.items():
            other = spec | {field: value * 2}
            self.assertEqual(pool.space(**other).match([b"k"]), 0, field)

    def test_blocks_survive_a_restart(self):
        file = self.pool_file()
        with kvpool.Pool.open(file, create=True) as pool:
            space = pool.space(model="m")
            self.assertEqual(space.put([b"durable"], [b"abc"], durable=True), [Status.OK])
            self.assertEqual(space.put([b"flushed"], [b"abc"]), [Status.OK])
            self.assertEqual(space.flush([b"flushed"]), [Status.OK])
            self.assertEqual(space.flush(), [Status.OK])
        with kvpool.Pool.open(file) as pool:
            self.assertEqual(pool.space(model="m").match([b"durable", b"flushed"]), 2)

    def test_without_a_catalog_nothing_is_durable(self):
        space = self.open(catalog=False).space(model="m")
        self.assertEqual(space.put([b"k"], [b"abc"], durable=True), [Status.UNSUPPORTED])
        self.assertEqual(space.put([b"k"], [b"abc"]), [Status.OK])
        self.assertEqual(space.flush([b"k"]), [Status.UNSUPPORTED])

    def test_no_keys_are_no_work(self):
        space = self.open().space(model="m")
        self.assertEqual((space.match([]), space.contains([]), space.put([], []), space.get([], []), space.drop([])),
                         (0, [], [], [], []))

    def test_keys_may_be_any_sequence(self):
        space = self.open().space(model="m")
        self.assertEqual(space.put((b"k",), (b"abc",)), [Status.OK])
        self.assertEqual(space.match({b"k": 1}.keys()), 1)

    def test_many_keys_are_matched(self):
        space = self.open().space(model="m")
        space.put([b"k"], [b"abc"])
        self.assertEqual(space.match([b"k"] * 5000 + [b"l"]), 5000)


class Handles(PoolTest):
    def test_one_file_is_one_pool_until_its_last_handle_closes(self):
        file = self.pool_file()
        first = kvpool.Pool.open(pathlib.Path(file), create=True)
        second = kvpool.Pool.open(os.path.join(self.folder, ".", "pool.toml"))
        first.space(model="m").put([b"k"], [b"abc"])
        space = second.space(model="m")
        first.close()
        self.assertEqual(space.match([b"k"]), 1)
        second.close()
        with self.assertRaises(kvpool.Cancelled):
            space.match([b"k"])
        with kvpool.Pool.open(file) as again:
            self.assertEqual(again.space(model="m").match([b"k"]), 1, "a clean stop spills what memory held")

    def test_a_pool_that_is_collected_closes(self):
        file = self.pool_file()
        pool = kvpool.Pool.open(file, create=True)
        del pool
        gc.collect()
        text = "import kvpool, sys; kvpool.Pool.open(sys.argv[1]).close()"
        self.script(text, file)  # another process gets its drives

    def test_a_space_keeps_its_pool_open(self):
        space = kvpool.Pool.open(self.pool_file(), create=True).space(model="m")
        gc.collect()
        self.assertEqual(space.put([b"k"], [b"abc"]), [Status.OK])

    def test_after_close_everything_says_so(self):
        pool = self.open()
        space, channel = pool.space(model="m"), pool.channel()
        pool.close()
        pool.close()
        calls = [lambda: space.put([b"k"], [b"a"]), lambda: space.get([b"k"], [bytearray(1)]),
                 lambda: space.drop([b"k"]), space.flush, lambda: space.match([b"k"]), lambda: space.contains([b"k"]),
                 pool.channel, pool.info,
                 lambda: pool.space(model="m"), lambda: pool.allocate(1), lambda: pool.register(bytearray(1)),
                 channel.poll, channel.fileno, lambda: channel.wait(0), lambda: channel.layers_ready(1),
                 lambda: channel.submit_drop(space, [b"k"])]
        for number, call in enumerate(calls):
            with self.assertRaisesRegex(kvpool.Cancelled, "closed: open it again", msg=f"call {number}"):
                call()
        channel.close()

    def test_another_process_has_it(self):
        pool_file = self.pool_file()
        with kvpool.Pool.open(pool_file, create=True):
            said = self.script("import kvpool, sys\n"
                               "try: kvpool.Pool.open(sys.argv[1])\n"
                               "except kvpool.Busy as error: print(error)", pool_file)
        self.assertIn("in use", said)

    def test_create_makes_it_once(self):
        file = self.pool_file()
        kvpool.Pool.create(file)
        with self.assertRaises(kvpool.Exists):
            kvpool.Pool.create(file)
        kvpool.Pool.open(file).close()

    def test_info_names_what_it_counts(self):
        pool = self.open()
        pool.space(model="m").put([b"k"], [bytes(100)])
        info = pool.info()
        self.assertEqual(info["tenants"], [])
        self.assertEqual((info["name"], info["blocks"], info["block_bytes"]), ("kvpool", 1, 100))
        self.assertEqual([one["name"] for one in info["devices"]], ["ram", "ssd"])
        self.assertEqual(info["devices"][0]["state"], "serving")


# Prints the second MiB of the memory of another process, and leaves a word in its first.
MAPS = """
import mmap, os, sys
path, nbytes = sys.argv[1:]
memory = mmap.mmap(os.open(path, os.O_RDWR), int(nbytes))
sys.stdout.buffer.write(memory[1 << 20:2 << 20])
memory[:5] = b"child"
"""


class Memory(PoolTest):
    def test_memory_of_the_pool_is_a_buffer(self):
        pool = self.open()
        memory = pool.allocate(4 << 20)
        view = memoryview(memory)
        self.assertEqual((memory.nbytes, view.nbytes), (4 << 20, 4 << 20))
        self.assertTrue(view.c_contiguous and not view.readonly)
        self.assertTrue(memory.description)
        space = pool.space(model="m")
        view[:1 << 20] = bytes(range(256)) * 4096
        self.assertEqual(space.put([b"k"], [view[:1 << 20]]), [Status.OK])
        self.assertEqual(space.get([b"k"], [view[1 << 20:]]), [Status.OK])
        self.assertEqual(view[:1 << 20], view[1 << 20:2 << 20])

    def test_memory_outlives_its_pool(self):
        with kvpool.Pool.open(self.pool_file(), create=True) as pool:
            memory = pool.allocate(1)
        memoryview(memory)[0] = 1
        self.assertEqual(bytes(memoryview(memory)[:1]), b"\x01")

    def test_shareable_memory_is_that_of_whoever_maps_it(self):
        pool = self.open()
        memory = pool.allocate(4 << 20, shareable=True)
        space = pool.space(model="m")
        block = bytes(range(256)) * 4096
        space.put([b"k"], [block])
        self.assertEqual(space.get([b"k"], [memoryview(memory)[1 << 20:2 << 20]]), [Status.OK])
        read = subprocess.run(
            [sys.executable, "-c", MAPS, f"/proc/{os.getpid()}/fd/{memory.fileno()}", str(memory.nbytes)],
            capture_output=True, check=True, timeout=60).stdout
        self.assertEqual(read, block)
        self.assertEqual(bytes(memoryview(memory)[:5]), b"child")

    def test_private_memory_has_no_descriptor(self):
        with self.assertRaisesRegex(kvpool.Unsupported, "shareable=True"):
            self.open().allocate(1).fileno()

    def test_a_registration_keeps_its_buffer(self):
        pool = self.open()
        buffer = bytearray(1 << 20)
        registration = pool.register(buffer)
        with self.assertRaises(BufferError):
            buffer.append(1)
        registration.release()
        registration.release()
        buffer.append(1)

    def test_bad_requests_for_memory(self):
        pool = self.open()
        for call in (lambda: pool.allocate(0), lambda: pool.allocate(-1), lambda: pool.register(bytearray())):
            with self.assertRaises(kvpool.Invalid):
                call()


class Mistakes(PoolTest):
    def refuse(self, error, words, call, *arguments, **options):
        with self.assertRaises(error) as caught:
            call(*arguments, **options)
        said = str(caught.exception)
        self.assertRegex(said, words)
        self.assertNotIn("std::", said)
        self.assertEqual(caught.exception.status, error.status)

    def test_pool_files(self):
        self.refuse(kvpool.IoError, "cannot be read", kvpool.Pool.open, self.path("none.toml"))
        with open(self.path("bad.toml"), "w", encoding="utf-8") as out:
            out.write('[pool]\nversion = 1\nunitt = "1MiB"\n')
        self.refuse(kvpool.Invalid, "(?s)bad.toml.*line 3.*unit", kvpool.Pool.open, self.path("bad.toml"))
        self.refuse(kvpool.NotFound, "create", kvpool.Pool.open, self.pool_file(device("ssd", "file")))
        self.assertRaises(TypeError, kvpool.Pool.open, 7)

    def test_arguments(self):
        space = self.open().space(model="m")
        invalid = kvpool.Invalid
        self.refuse(invalid, r"write \[key\]", space.match, "one key")
        self.refuse(invalid, r"write \[key\]", space.put, b"one key", [b"abc"])
        self.refuse(invalid, "sequence of bytes or str, not int", space.match, 7)
        self.refuse(invalid, "a key is bytes or str, not int", space.match, [7])
        self.refuse(invalid, "UTF-8", space.match, ["\ud800"])
        self.refuse(invalid, "1 keys and 2 blocks", space.put, [b"k"], [b"a", b"b"])
        self.refuse(invalid, "one block a key", space.put, [b"k"], 7)
        self.refuse(invalid, "one block a key", space.put, [b"k"], b"a")
        self.refuse(invalid, "deadline", space.put, [b"k"], [b"a"], deadline=-1.0)
        self.refuse(invalid, "deadline", space.get, [b"k"], [bytearray(1)], deadline=float("nan"))
        self.refuse(invalid, "65,536", space.drop, [b"k"] * 65_537)
        self.assertEqual(space.put([b"k" * 513, b""], [b"a", b"a"]), [Status.INVALID] * 2)
        self.assertEqual(space.put([b"k"], [b""]), [Status.INVALID])
        self.assertEqual(space.put([b"k"], [b"abc"], deadline=float("inf")), [Status.OK])

    def test_spaces(self):
        pool = self.open()
        for layers in (0, -1, 1025, 2**32 + 1):
            self.refuse(kvpool.Invalid, "1 to 1024 layers", pool.space, model="m", layers=layers)

    def test_exceptions_are_named_after_statuses(self):
        for status in Status:
            if status != Status.OK:
                name = "".join(word.capitalize() for word in status.name.split("_"))
                error = getattr(kvpool, name)
                self.assertTrue(issubclass(error, kvpool.Error))
                self.assertEqual(error.status, status)
        self.assertTrue(issubclass(kvpool.Invalid, ValueError))
        self.assertTrue(issubclass(kvpool.TimedOut, TimeoutError))
        self.assertTrue(issubclass(kvpool.IoError, OSError))

    def test_the_systems_number_is_kept(self):
        with self.assertRaises(OSError) as caught:
            kvpool.Pool.open(self.path("none.toml"))
        self.assertEqual(caught.exception.errno, 2)
        self.assertIn("none.toml", str(caught.exception))

    def test_check_raises_the_first_that_is_not_ok(self):
        kvpool.check([Status.OK, Status.OK])
        for status in Status:
            if status != Status.OK:
                with self.assertRaisesRegex(kvpool.Error, "key 1 .*: ") as caught:
                    kvpool.check([Status.OK, status, Status.CORRUPT])
                self.assertEqual(caught.exception.status, status)


if __name__ == "__main__":
    harness.main()
