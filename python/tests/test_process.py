"""Ends of processes: fork, exit with requests in flight, signals."""
import os
import signal
import subprocess
import sys
import traceback

import kvpool

import harness
from harness import PATIENCE_S, PoolTest, device, slow

# A pool whose device takes a second for 4 MiB, and a put of them.
BEGIN = """
import kvpool, sys, threading, time
pool = kvpool.Pool.open(sys.argv[1], create=True)
space = pool.space(model="m")
channel = pool.channel()
channel.submit_put(space, [b"k"], [bytes(2 << 20)], user=channel)
assert channel.in_flight == 1 and not channel.poll()
"""


class Forks(PoolTest):
    def in_child(self, body):
        """What `body`, in a forked child, gives for each of its calls."""
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(PATIENCE_S)
            try:
                os.write(writes, "\n".join(body()).encode())
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(writes)
        with os.fdopen(reads) as lines:
            said = lines.read().splitlines()
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        return said

    def test_a_child_is_told_and_the_parent_goes_on(self):
        pool = self.open()
        space, channel = pool.space(model="m"), pool.channel()
        space.put([b"k"], [b"abc"])
        channel.submit_drop(space, [b"gone"])

        def body():
            calls = [lambda: space.match([b"k"]), lambda: space.get([b"k"], [bytearray(3)]), pool.channel, pool.info,
                     lambda: pool.space(model="m"), lambda: pool.allocate(1), channel.poll, lambda: channel.wait(),
                     lambda: channel.submit_drop(space, [b"k"]), lambda: channel.in_flight, channel.fileno]
            for call in calls:
                try:
                    call()
                    yield "nothing was said"
                except kvpool.Unsupported as error:
                    yield str(error)
            channel.close()
            pool.close()
            yield "closed"

        said = self.in_child(body)
        self.assertEqual(said.pop(), "closed")
        self.assertEqual(len(said), 11)
        for line in said:
            self.assertIn("forked", line)
        harness.finish(channel)
        self.assertEqual(space.get([b"k"], [bytearray(3)]), [kvpool.Status.OK])

    def test_a_child_may_have_a_pool_of_its_own(self):
        parent = self.open(catalog=False)
        os.mkdir(self.path("childs"))
        file = self.pool_file(device("ram"), catalog=False, name="childs/pool.toml")

        def body():
            nonlocal parent
            parent = None
            with kvpool.Pool.open(file) as pool:
                yield str(pool.space(model="m").put([b"k"], [b"abc"])[0].name)
            try:
                kvpool.Pool.open(self.path("pool.toml"))
            except kvpool.Busy:
                yield "the parent's is in use"

        self.assertEqual(self.in_child(body), ["OK", "the parent's is in use"])

    def test_a_child_that_lives_on_holds_no_drive(self):
        file = self.pool_file()
        pool = kvpool.Pool.open(file, create=True)
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        try:
            pool.close()
            kvpool.Pool.open(file).close()
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def test_a_child_that_exits_as_python_does(self):
        said = self.script(BEGIN + """
import os
child = os.fork()
if child == 0: sys.exit(0)
print(os.waitpid(child, 0)[1], channel.wait(60), channel.poll()[0].results[0].name)
""", self.pool_file(device("ram", extra=slow("4MB/s")), catalog=False))
        self.assertEqual(said, "0 True OK\n")


class Exits(PoolTest):
    def setUp(self):
        super().setUp()
        self.file = self.pool_file(device("ram", extra=slow("4MB/s")), catalog=False)

    def test_with_requests_in_flight(self):
        self.script(BEGIN, self.file)

    def test_by_an_exception(self):
        with self.assertRaisesRegex(AssertionError, "ZeroDivisionError"):
            self.script(BEGIN + "1 / 0", self.file)

    def test_with_daemon_threads_inside(self):
        for inside in ("channel.wait()", "space.put([b'l'], [bytes(1 << 20)])", "pool.close()",
                       "space.match([b'l'] * 60_000)", "channel.submit_drop(space, [b'l'] * 60_000)"):
            self.script(BEGIN + f"""
def work():
    try:
        while True:
            {inside}
            channel.poll()
    except kvpool.Error:
        pass
for _ in range(3): threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
""", self.file)

    def test_what_is_put_before_a_plain_exit_survives_it(self):
        file = self.pool_file()
        self.script("import kvpool, sys\n"
                    "kvpool.Pool.open(sys.argv[1], create=True).space(model='m').put([b'k'], [b'abc'])\n"
                    "leaked = kvpool.Pool.open(sys.argv[1])", file)
        with kvpool.Pool.open(file) as pool:
            self.assertEqual(pool.space(model="m").match([b"k"]), 1)

    def test_nothing_opens_any_more(self):
        self.assertIn("exiting", self.script("""
import atexit, sys
@atexit.register
def late():
    try: kvpool.Pool.open(sys.argv[1])
    except kvpool.Cancelled as error: print(error)
import kvpool
""", self.file))


class Signals(PoolTest):
    def test_a_signal_ends_a_wait(self):
        text = BEGIN + """
channel.wait(60), channel.poll()
try:
    print("waiting", flush=True)
    channel.wait()
except KeyboardInterrupt: print("interrupted")
"""
        child = subprocess.Popen(
            [sys.executable, "-c", text, self.pool_file(device("ram", extra=slow("4MB/s")), catalog=False)],
            stdout=subprocess.PIPE, text=True)
        self.assertEqual(child.stdout.readline(), "waiting\n")
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.communicate(timeout=PATIENCE_S)[0], "interrupted\n")
        self.assertEqual(child.returncode, 0)


if __name__ == "__main__":
    harness.main()
