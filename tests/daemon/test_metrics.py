"""What the daemon says of itself is what was done; and who asks badly harms nobody."""
import json
import os
import pathlib
import pty
import re
import select
import signal
import socket
import subprocess
import time
import unittest
import urllib.request

from harness import KVPOOL, KVPOOLD, PATIENCE_S, POOL, DaemonTest, Raw, counts_of, load, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK_BYTES = 256 * 1024 + 512  # of the load


def samples_of(text):
    """{name and labels: value}, {name: type} of Prometheus' text format."""
    samples = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            samples[name] = float(value)
    return samples, dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))


def sum_of(samples, name, *labels):
    found = [value for key, value in samples.items()
             if key.split("{")[0] == name and all(label in key for label in labels)]
    if not found:
        raise AssertionError(f"there is no {name} with {labels}")
    return sum(found)


class MetricsTest(DaemonTest):
    arguments = ("--metrics", "0")

    def samples(self):
        return samples_of(self.daemon.fetch("metrics"))[0]

    def rest(self):
        """Samples when nothing is under way any more."""
        def same():
            before, self.last = getattr(self, "last", None), self.samples()
            counters = [{name: value for name, value in one.items() if "uptime" not in name} for one in (before or {}, self.last)]
            return counters[0] == counters[1] and sum_of(self.last, "kvpool_device_transfers_in_flight") == 0
        wait_for("the pool rests", lambda: time.sleep(0.2) or same())
        return self.last


class Counters(MetricsTest):
    def test_are_what_a_client_did(self):
        code, done = counts_of(load(self.daemon, 1, 2))
        self.assertEqual((code, done["cancelled"]), (0, 0))
        samples = self.rest()
        load_labels = 'model="load"'
        for name, count in (("hit_blocks", done["fetched"]), ("missed_blocks", done["absent"]),
                            ("stored_blocks", done["stored"]), ("hit_bytes", done["fetched"] * BLOCK_BYTES),
                            ("stored_bytes", done["stored"] * BLOCK_BYTES)):
            self.assertEqual(sum_of(samples, f"kvpool_space_{name}_total", load_labels), count, name)
        self.assertGreater(done["fetched"], 0)
        # Moved with padding: 512 bytes take 4096 at most.
        for way, blocks in (("read", done["fetched"]), ("written", done["stored"])):
            moved = (sum_of(samples, f"kvpool_device_{way}_bytes_total")
                     - sum_of(samples, f"kvpool_device_mover_{way}_bytes_total"))
            self.assertGreaterEqual(moved, blocks * BLOCK_BYTES)
            self.assertLessEqual(moved, blocks * (BLOCK_BYTES + 4096 - 512))
        got = sum_of(samples, "kvpool_get_bytes_total")
        self.assertEqual(got, sum_of(samples, "kvpool_device_read_bytes_total")
                         - sum_of(samples, "kvpool_device_mover_read_bytes_total"))
        for device in ("ram", "ssd"):
            name = f'kvpool_device_read_latency_seconds_count{{device="{device}"}}'
            self.assertGreater(samples[name], 0)
            self.assertEqual(samples[name], samples[name.replace("_count{", "_bucket{").replace("}", ',le="+Inf"}')])
        self.assertEqual(samples["kvpool_clients"], 0)
        wanted = sum_of(samples, "kvpool_device_share_wanted_ratio")
        self.assertAlmostEqual(wanted, 1, 4)
        self.assertAlmostEqual(sum_of(samples, "kvpool_device_share_read_ratio"), 1, 4)

    def test_clients_come_and_go(self):
        with Raw(self.daemon.socket) as raw:
            raw.hello()
            wait_for("it is counted", lambda: self.samples()["kvpool_clients"] == 1)
            self.assertEqual(self.daemon.status()["clients"][0]["program"], "raw")
            self.assertEqual(self.daemon.status()["clients"][0]["pid"], os.getpid())
        wait_for("it is not counted", lambda: self.samples()["kvpool_clients"] == 0)


class Documents(MetricsTest):
    def test_the_table_is_what_the_endpoint_gives(self):
        rows = re.findall(r"^\| `(kvpool_\w+)` \| (\w+) \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
        self.assertEqual(dict(rows), samples_of(self.daemon.fetch("metrics"))[1])
        self.assertEqual(len(rows), len(dict(rows)))

    def test_the_dashboard_asks_for_metrics_that_exist(self):
        dashboard = json.loads((ROOT / "packaging/grafana/kvpool.json").read_text())
        self.assertTrue(dashboard["title"] and dashboard["uid"] and dashboard["schemaVersion"] >= 30)
        counts_of(load(self.daemon, 1, 0.2))
        names = {name.split("{")[0] for name in self.samples()}
        asked = set()
        for panel in dashboard["panels"]:
            self.assertTrue(panel["title"] and panel["type"] in ("stat", "timeseries") and panel["gridPos"] and panel["targets"])
            for target in panel["targets"]:
                found = set(re.findall(r"\bkvpool_\w+", target["expr"]))
                self.assertTrue(found, target)
                self.assertEqual(target["expr"].count("("), target["expr"].count(")"), target)
                asked |= found
        self.assertLessEqual(asked, names)
        self.assertGreater(len(asked), 20)
        self.assertEqual(len({panel["id"] for panel in dashboard["panels"]}), len(dashboard["panels"]))


class Http(MetricsTest):
    def say(self, data, patience_s=20):
        """What comes back until the daemon hangs up."""
        host, port = self.daemon.url()[7:-1].rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=patience_s) as connection:
            back = b""
            try:
                connection.sendall(data)
                while more := connection.recv(65536):
                    back += more
            except ConnectionError:
                pass
            return back

    def test_answers_only_gets_that_name_it_by_its_address(self):
        port = self.daemon.url()[7:-1].rsplit(":", 1)[1]
        own = [f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"]
        for host in own:
            for path in ("/", "/metrics", "/api/status"):
                self.assertIn(b"HTTP/1.1 200", self.say(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())[:20], host)
        for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", f"192.0.2.7:{port}"):
            self.assertIn(b" 403 ", self.say(f"GET /api/status HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())[:20], host)
        self.assertNotIn(b" 200 ", self.say(b"GET /api/status HTTP/1.0\r\n\r\n")[:20])
        for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
            said = self.say(f"{method} /metrics HTTP/1.1\r\nHost: {own[0]}\r\nContent-Length: 0\r\n\r\n".encode())
            self.assertIn(b" 405 ", said[:20], method)
        for path in ("/nothing", "/../etc/passwd", "/%2e%2e/etc/passwd"):
            self.assertNotIn(b" 200 ", self.say(f"GET {path} HTTP/1.1\r\nHost: {own[0]}\r\n\r\n".encode())[:20], path)

    def test_the_page_allows_nothing_from_elsewhere(self):
        with urllib.request.urlopen(self.daemon.url(), timeout=PATIENCE_S) as answer:
            policy, text = answer.headers["Content-Security-Policy"], answer.read().decode()
            self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
        self.assertTrue(policy.startswith("default-src 'none';"), policy)
        nonce = re.search(r"script-src 'nonce-(\w{32})'", policy).group(1)
        self.assertEqual(text.count(f'nonce="{nonce}"'), 2)
        self.assertEqual(re.findall(r"(?:src|href)=\"(?!data:)", text), [])
        with urllib.request.urlopen(self.daemon.url(), timeout=PATIENCE_S) as again:
            self.assertNotIn(nonce, again.headers["Content-Security-Policy"])

    def test_hostile_clients_harm_nobody(self):
        process = load(self.daemon, 1, 9)
        host, port = self.daemon.url()[7:-1].rsplit(":", 1)
        slow = [socket.create_connection((host, int(port)), timeout=PATIENCE_S) for _ in range(16)]
        for one in slow:
            one.sendall(b"GET / HTTP/1.1\r\nHost: ")
        huge = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n"
        for nonsense in (huge, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\0" * 4096, b"\r\n\r\n",
                         b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\nx", os.urandom(4096)):
            self.assertNotIn(b" 200 ", self.say(nonsense, 60)[:20])
        wait_for("the slow are hung up on", lambda: self.daemon.fetch("metrics"))
        for one in slow:
            one.close()
        code, counts = counts_of(process)
        self.assertEqual((code, counts["wrong"], counts["cancelled"]), (0, 0, 0), counts)
        self.assertGreater(counts["fetched"], 0)
        self.assert_serves()


class Options(DaemonTest):
    def refused(self, words, *arguments):
        ran = subprocess.run([KVPOOLD, "--pool", str(self.daemon.pool), *arguments], capture_output=True, text=True,
                             timeout=PATIENCE_S, check=False)
        self.assertNotEqual(ran.returncode, 0)
        self.assertIn(words, ran.stderr)
        self.assertEqual(ran.stderr.count("\n"), 1, ran.stderr)

    def test_mistakes_are_one_sentence(self):
        self.daemon.stop()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.refused("Address already in use", "--metrics", str(taken.getsockname()[1]))
        self.refused("IP:PORT", "--metrics", "example.org:80")
        self.refused("cannot be served", "--metrics", "192.0.2.7:80")

    def test_metrics_are_off_unless_asked_for_by_flag_or_file(self):
        self.assertNotIn("http://", self.daemon.log.read_text())
        self.daemon.stop()
        self.daemon.pool.write_text(self.daemon.pool.read_text().replace("[pool]", '[pool]\nmetrics = "127.0.0.1:0"'))
        self.daemon.start_again()
        self.assertIn("kvpool_blocks", self.daemon.fetch("metrics"))

    def test_the_log_is_objects_where_that_is_asked_for(self):
        self.daemon.stop()
        self.daemon.log.write_text("")
        self.daemon.start_again(("--log", "json", "--metrics", "0"))
        with Raw(self.daemon.socket) as raw:
            raw.socket.sendall(b'KVPOOLIP\1\0\0\0\x50\0\0\0' + b'"\xff\n'.ljust(64, b"\0"))
            raw.receive(344)
        with Raw(self.daemon.socket) as raw:
            raw.hello()
            raw.socket.sendall(b"nonsense" * 100)
            raw.ended()
        wait_for("all are gone", lambda: self.daemon.log.read_text().count("client_gone") >= 3)
        self.daemon.stop()
        lines = [json.loads(line) for line in self.daemon.log.read_text().splitlines()]
        for line in lines:
            self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            self.assertTrue(line["message"])
        events = {line["event"]: line for line in lines}
        self.assertEqual({"ready", "metrics", "client_here", "client_gone", "stops"}, set(events))
        self.assertEqual(events["ready"]["devices"], "2")
        levels = {(line["level"], line["reason"].split(":")[0]) for line in lines if line["event"] == "client_gone"}
        self.assertIn(("warning", "broke the protocol"), levels)
        self.assertIn(("info", "left"), levels)

    def test_a_drive_that_is_drained_is_in_the_log(self):
        for faults, drained in (("", []), ('faults = "write.error"\n', ["ssd"])):
            self.daemon.stop()
            self.daemon.log.write_text("")
            self.daemon.pool.write_text(POOL + faults)
            self.daemon.start_again(("--log", "json"))
            counts_of(load(self.daemon, 1, 1))

            def logged():
                counts_of(load(self.daemon, 2, 0.3))
                return "device_drained" in self.daemon.log.read_text()

            if drained:
                wait_for("it is drained", logged)
            self.daemon.stop()
            lines = [json.loads(line) for line in self.daemon.log.read_text().splitlines()]
            events = [line for line in lines if line["event"] == "device_drained"]
            self.assertEqual(drained, [event["device"] for event in events])
            for event in events:
                self.assertEqual("error", event["level"])
                self.assertIn("transfers in a row failed", event["reason"])
                self.assertIn(event["reason"], event["message"])

    def test_a_drive_that_is_not_there_is_in_the_log(self):
        self.daemon.stop()
        self.daemon.log.write_text("")
        other = '[[device]]\nname = "other"\nkind = "file"\npath = "other"\ncapacity = "64MiB"\n' \
                'read_bandwidth = "1GB/s"\nwrite_bandwidth = "1GB/s"\naccept_buffered = true\n'
        self.daemon.pool.write_text(POOL.replace('"catalog"', '"catalog2"').replace("ssd.pool", "ssd2.pool") + other)
        self.daemon.start_again()
        self.assertNotIn("does not serve", self.daemon.log.read_text())
        self.daemon.stop()
        (self.daemon.folder / "other").unlink()
        self.daemon.start_again(("--log", "json"))
        self.daemon.stop()
        lines = [json.loads(line) for line in self.daemon.log.read_text().splitlines() if line.startswith("{")]
        self.assertEqual(["other"], [line["device"] for line in lines if line["event"] == "device_drained"])


class Top(DaemonTest):
    def test_one_look_says_what_was_done(self):
        _, done = counts_of(load(self.daemon, 1, 1))
        for how in (("--pool", str(self.daemon.pool)), ("--socket", self.daemon.socket, "--once")):
            ran = subprocess.run([KVPOOL, "top", *how], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
            self.assertEqual((ran.returncode, ran.stderr), (0, ""))
            ratio = 100 * done["fetched"] / (done["fetched"] + done["stored"])
            self.assertIn(f"hit ratio {ratio:.1f} %", ran.stdout)
            self.assertIn(f"hits {done['fetched']}, misses {done['absent']}, stored {done['stored']}", ran.stdout)
            for words in ("ram (memory): serving", "ssd (file): serving", "clients 1;", f"client {pathlib.Path(KVPOOL).name} "):
                self.assertIn(words, ran.stdout)
            self.assertNotIn("\x1b", ran.stdout)

    def test_goes_on_in_a_terminal_and_waits_for_a_daemon_that_has_gone(self):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(KVPOOL, [KVPOOL, "top", "--socket", self.daemon.socket])
        seen = b""

        def shows(words, count=1):
            nonlocal seen
            if select.select([terminal], [], [], 0)[0]:
                seen += os.read(terminal, 65536)
            return seen.count(words) >= count
        try:
            wait_for("two looks", lambda: shows(b"\x1b[Hpool", 2))
            self.daemon.stop()
            wait_for("it says so", lambda: shows(b"does not answer"))
            self.daemon.start_again()
            seen = b""
            wait_for("it is back", lambda: shows(b"\x1b[Hpool"))
        finally:
            os.kill(pid, signal.SIGINT)
            _, status = os.waitpid(pid, 0)
            os.close(terminal)
        self.assertTrue(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT)

    def test_mistakes_are_one_sentence(self):
        self.daemon.stop()
        client = self.daemon.folder / "other.toml"
        client.write_text(self.daemon.pool.read_text().replace('socket = "pool.sock"', ""))
        for words, *how in (("no daemon listens", "--pool", str(self.daemon.pool)), ("names no socket", "--pool", str(client)),
                            ("no daemon listens", "--socket", "/nowhere/at.sock")):
            ran = subprocess.run([KVPOOL, "top", *how], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
            self.assertNotEqual(ran.returncode, 0)
            self.assertIn(words, ran.stderr)
            self.assertEqual(ran.stderr.count("\n"), 1, ran.stderr)


class Status(DaemonTest):
    def test_is_for_operators_and_asked_for_without_a_word(self):
        with Raw(self.daemon.socket) as raw:
            raw.hello()
            status, text, _ = raw.ask(8)
            self.assertEqual(status, 0)
            self.assertEqual(json.loads(text)["pool"]["name"], "kvpool")
            self.assertNotEqual(raw.ask(8, b"what")[0], 0)

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_is_not_for_the_group(self):
        os.chmod(self.daemon.folder, 0o755)
        os.chown(self.daemon.socket, 0, 12345)
        into, out = os.pipe()
        if (pid := os.fork()) == 0:
            os.setgroups([12345])
            os.setgid(12345)
            os.setuid(12345)
            with Raw(self.daemon.socket) as raw:
                hello = raw.hello()
                os.write(out, bytes([hello[16], raw.ask(6)[0], raw.ask(8)[0]]))
            os._exit(0)
        os.waitpid(pid, 0)
        hello, information, status = os.read(into, 3)
        os.close(into)
        os.close(out)
        self.assertEqual((hello, information), (0, 0))
        self.assertEqual(status, 10)  # unsupported


if __name__ == "__main__":
    unittest.main()
