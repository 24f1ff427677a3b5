"""The daemon's page in headless Chromium: it shows what the daemon says, on a phone, and asks nobody else."""
import os
import sys
import unittest

import browser
import harness
from harness import DaemonTest, counts_of, load, wait_for

READ = """({
  devices: [...document.querySelectorAll('.device')].map(one => ({
    name: one.dataset.device, read: +one.dataset.bytesRead, written: +one.dataset.bytesWritten,
    bars: [...one.querySelectorAll('.bar')].map(bar => ({
      rate: +bar.dataset.bytesPerS, room: bar.querySelector('.room').clientWidth,
      used: bar.querySelector('.used').getBoundingClientRect().width, text: bar.textContent}))})),
  gets: [...document.querySelectorAll('.get')].map(one => ({
    bytes: +one.dataset.bytes, room: one.querySelector('.lanes').clientWidth,
    lanes: [...one.querySelectorAll('.lane')].map(lane => ({
      device: +lane.dataset.device, bytes: +lane.dataset.bytes, width: lane.getBoundingClientRect().width}))})),
  ratio: document.getElementById('ratio').dataset.ratio,
  points: document.getElementById('line').getAttribute('points').split(' ').filter(Boolean).map(one => one.split(',').map(Number)),
  wide: document.documentElement.scrollWidth, gone: getComputedStyle(document.getElementById('gone')).display !== 'none',
  dark: getComputedStyle(document.body).backgroundColor})"""


def ratio_of(status):
    spaces = [one["counts"] for one in status["pool"]["spaces"]] + [status["pool"]["other_spaces"]]
    hits = sum(one["hits"] for one in spaces)
    return hits / (hits + sum(one["stored"] + one["declined"] for one in spaces))


def wrong_bars(shown, status):
    for device, said in zip(shown["devices"], status["devices"], strict=True):
        for bar, most in zip(device["bars"], (said["read_bytes_per_s"], said["write_bytes_per_s"]), strict=True):
            if abs(bar["used"] - bar["room"] * min(1, bar["rate"] / most)) > 1.5:
                yield f"bar of {device['name']}: {bar}"
        if (device["name"], device["read"], device["written"]) != (said["name"], said["bytes_read"], said["bytes_written"]):
            yield f"counters of {device}"


def wrong_timelines(shown, status):
    said = status["pool"]["gets"][-12:][::-1]
    longest = max(one["end_ns"] - one["start_ns"] for one in said)
    if [one["bytes"] for one in shown["gets"]] != [one["bytes"] for one in said]:
        yield f"gets: {shown['gets']}"
        return
    for get, one in zip(shown["gets"], said, strict=True):
        for lane, part in zip(get["lanes"], one["devices"], strict=True):
            width = max(2, get["room"] * (part["end_ns"] - one["start_ns"]) / longest)
            if (lane["device"], lane["bytes"]) != (part["device"], part["bytes"]) or abs(lane["width"] - width) > 1.5:
                yield f"timeline: {lane} of {part}, {width} wide"


def problems(page, shown, status):
    """What is wrong with a page that shows `status`, a word and the evidence each."""
    found = list(wrong_bars(shown, status)) + list(wrong_timelines(shown, status))
    if abs(float(shown["ratio"]) - ratio_of(status)) > 1e-9 or not shown["points"]:
        found.append(f"ratio: {shown['ratio']} for {ratio_of(status)}, {shown['points']}")
    if shown["wide"] > 360:
        found.append(f"overflow: {shown['wide']} pixels")
    found += [f"error: {one}" for one in page.errors]
    found += [f"request: {one}" for one in page.requests if not one.startswith((page.url, "data:"))]
    return found


class PageTest(DaemonTest):
    arguments = ("--metrics", "0")

    def setUp(self):
        super().setUp()
        self.browser = browser.Browser()
        self.addCleanup(self.browser.close)

    def open(self, **options):
        return browser.Page(self.browser, self.daemon.url(), 360, **options)

    def at_rest(self, page):
        """What the page shows, and the status that it shows, when nothing changes any more."""
        def settled():
            status = self.daemon.status()
            shown = page.value(READ)
            counters = [(one["bytes_read"], one["bytes_written"]) for one in status["devices"]]
            self.seen = shown, status
            still = counters == getattr(self, "counters", None) and not shown["devices"][0]["bars"][0]["rate"]
            self.counters = counters
            return still
        wait_for("the pool rests", settled)
        return self.seen

    def test_shows_what_the_daemon_says_at_phone_width(self):
        page = self.open()
        self.assertFalse(page.value(READ)["gone"])
        process = load(self.daemon, 1, 600)  # for as long as it takes
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        busy = "[...document.querySelectorAll('.used')].every(one => one.getBoundingClientRect().width > 0.5)"
        wait_for("bars of each device, read and write, under load", lambda: page.value(busy))
        shown = page.value(READ)
        for device in shown["devices"]:
            for bar in device["bars"]:
                self.assertGreater(bar["rate"], 0)
                self.assertGreater(bar["room"], 50)
        wait_for("a dozen retrievals", lambda: len(page.value(READ)["gets"]) == 12)
        wait_for("some history", lambda: len(page.value(READ)["points"]) > 3)
        if picture := os.environ.get("KVPOOL_SCREENSHOT"):
            self.take_picture(picture)
        process.kill()
        process.wait()
        shown, status = self.at_rest(page)
        self.assertEqual(problems(page, shown, status), [])
        self.assertEqual(len(shown["gets"]), 12)
        last = [100 * one[1] for one in shown["points"]]
        self.assertTrue(all(100 <= one <= 9900 for one in last), shown["points"])
        self.daemon.stop()
        wait_for("it says that the daemon has gone", lambda: page.value(READ)["gone"])
        self.daemon.start_again(("--metrics", page.url.split("/")[2]))
        wait_for("it says that the daemon is back", lambda: not page.value(READ)["gone"])

    def take_picture(self, path):
        page = browser.Page(self.browser, self.daemon.url(), 1000, 640)
        wait_for("some history", lambda: len(page.value(READ)["points"]) > 30)
        with open(path, "wb") as out:
            out.write(page.screenshot())

    def test_is_light_and_dark(self):
        light, dark = (self.open(dark=dark).value(READ)["dark"] for dark in (False, True))
        self.assertNotEqual(light, dark)

    def test_each_check_fails_on_a_page_that_is_broken(self):
        while len(self.daemon.status()["pool"]["gets"]) < 20:
            counts_of(load(self.daemon, 1, 0.5))
        breaks = {
            "counters": ("row.dataset.bytesRead = device.bytes_read", "row.dataset.bytesRead = device.bytes_written"),
            "bar": ('used.style.width = Math.min', 'used.style.width = "50%", Math.min'),
            "gets": ("slice(-SHOWN_GETS)", "slice(0, SHOWN_GETS - 1)"),
            "timeline": ("lane.style.width = 100", "lane.style.width = 30"),
            "ratio": ("counts.hits / needed", "(counts.hits + 1) / needed"),
            "overflow": (".room { height: 10px;", ".room { height: 10px; width: 900px;"),
            "error": ("poll();\n</script>", "poll(); console.error('broken');\n</script>"),
            "request": ("<body>", '<body><img alt="" src="http://192.0.2.1/x.png">'),
        }
        for word, change in breaks.items():
            with self.subTest(word):
                page = self.open(changes=[change], obeys_policy=word != "request")
                found = problems(page, *self.at_rest(page))
                self.assertIn(word, [one.split(":")[0].split()[0] for one in found], found)
        page = self.open(changes=[breaks["request"]])  # the policy keeps the browser from asking
        self.assertTrue(any("Content Security Policy" in one for one in page.errors), page.errors)


def main():
    if browser.CHROMIUM is None:
        print("skip: chromium is not here (Debian: apt-get install chromium)")
        return 77
    harness.PATIENCE_S = max(harness.PATIENCE_S, 120)
    return 0 if unittest.main(exit=False).result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
