"""A page in headless Chromium, by its devtools protocol over a pair of pipes."""
import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time

from harness import PATIENCE_S, wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
             "--remote-debugging-pipe", "about:blank"]


def above_10(fd):
    """Out of the way of 3 and 4, which are the browser's ends."""
    copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return copy


class Browser:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (theirs_in, self.out), (self.into, theirs_out) = ([above_10(fd) for fd in os.pipe()] for _ in range(2))
        log = above_10(os.open(self.folder.name + "/log", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC))
        self.pid = os.posix_spawn(
            CHROMIUM, [CHROMIUM, f"--user-data-dir={self.folder.name}/profile", *ARGUMENTS],
            os.environ | {"HOME": self.folder.name},
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs_in, 3), (os.POSIX_SPAWN_DUP2, theirs_out, 4),
                          (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)])
        for fd in (theirs_in, theirs_out, log):
            os.close(fd)
        self.number = 0
        self.data = b""
        self.listeners = []

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.out)
        os.close(self.into)
        self.folder.cleanup()

    def hear(self, patience_s):
        """One message, or None."""
        until = time.monotonic() + patience_s
        while b"\0" not in self.data:
            if not select.select([self.into], [], [], max(0, until - time.monotonic()))[0]:
                return None
            more = os.read(self.into, 1 << 16)
            if not more:
                raise AssertionError("the browser has gone")
            self.data += more
        message, self.data = self.data.split(b"\0", 1)
        message = json.loads(message)
        for listener in self.listeners if "method" in message else []:
            listener(message)
        return message

    def send(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.out, data):]
        return self.number

    def ask(self, method, session=None, **parameters):
        number = self.send(method, session, **parameters)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            message = self.hear(1)
            if message and message.get("id") == number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]
        raise AssertionError(f"{method}: no answer in {PATIENCE_S} s")


class Page:
    """One tab on `url`. `changes`: (old, new) in its text, on the way to the browser."""

    def __init__(self, browser, url, width, height=800, dark=False, changes=(), obeys_policy=True):
        self.browser, self.url, self.changes = browser, url, changes
        self.requests, self.errors = [], []
        target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        browser.listeners.append(self.listen)
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.ask(domain + ".enable")
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        self.ask("Emulation.setEmulatedMedia",
                 features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.ask("Page.setBypassCSP", enabled=not obeys_policy)
        if changes:
            self.ask("Fetch.enable", patterns=[{"urlPattern": url, "requestStage": "Response"}])
        self.ask("Page.navigate", url=url)
        wait_for("the page shows devices", lambda: self.value("document.querySelectorAll('.device').length") > 0)

    def ask(self, method, **parameters):
        return self.browser.ask(method, self.session, **parameters)

    def listen(self, message):
        if message.get("sessionId") != self.session:
            return
        kind, parameters = message["method"], message["params"]
        if kind == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif kind == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        elif kind == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])
        elif kind == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.errors.append(str(parameters["args"]))
        elif kind == "Fetch.requestPaused":
            self.change(parameters)

    def change(self, paused):
        number = self.browser.send("Fetch.getResponseBody", self.session, requestId=paused["requestId"])
        message = {}
        while message is None or message.get("id") != number:
            message = self.browser.hear(PATIENCE_S)
        body = message["result"]["body"]
        text = base64.b64decode(body).decode() if message["result"]["base64Encoded"] else body
        for old, new in self.changes:
            if old not in text:
                raise AssertionError(f"the page has no {old!r} to change")
            text = text.replace(old, new)
        headers = [one for one in paused["responseHeaders"] if one["name"].lower() != "content-length"]
        self.browser.send("Fetch.fulfillRequest", self.session, requestId=paused["requestId"], responseCode=200,
                          responseHeaders=headers, body=base64.b64encode(text.encode()).decode())

    def value(self, expression):
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise AssertionError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def screenshot(self):
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])
