# SPDX-License-Identifier: GPL-2.0-only
"""A page in headless Chromium, by ChromeDriver's plain HTTP interface (W3C WebDriver)."""

import base64
import contextlib
import json
import re
import selectors
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from tap import Skip

from hotmirror import host
from hotmirror.say import Stop

NEEDED = {"chromium": "chromium", "chromedriver": "chromium-driver"}
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
             "--disable-background-networking", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars")
LIMIT_SECONDS = 60
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Browser:
    """One session; every wait has a limit."""

    def __init__(self, port, profile):
        self.url = f"http://127.0.0.1:{port}"
        options = {"binary": host.find("chromium"), "args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.url += "/session/" + self.call("/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        self.call("/timeouts", {"script": LIMIT_SECONDS * 1000, "pageLoad": LIMIT_SECONDS * 1000})

    def call(self, path, body=None, method=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with OPENER.open(request, timeout=2 * LIMIT_SECONDS) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {json.load(error)['value']['message'].splitlines()[0]}") from error

    def tell(self, command, **parameters):
        """A command of Chromium's own protocol."""
        return self.call("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, path, width=1280, height=900, scheme="light"):
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("/url", {"url": path.resolve().as_uri()})

    def ask(self, script, *arguments):
        """What the body of a function returns in the page."""
        return self.call("/execute/sync", {"script": script, "args": list(arguments)})

    def said(self):
        """What the console got since the last time: [(level, text)]."""
        return [(entry["level"], entry["message"]) for entry in self.call("/se/log", {"type": "browser"})]

    def drawn(self):
        """Wait until what was asked for is on the screen: two frames."""
        self.call("/execute/async", {"script": "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))", "args": []})

    def screenshot(self, path, most=6000):
        """The page, of the width that it was opened with: the window grows, the charts follow."""
        height = min(self.ask("return document.documentElement.scrollHeight"), most)
        width = self.ask("return innerWidth")
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        self.drawn()
        path.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot", format="png")["data"]))


def _port(driver):
    """The port that it says it took."""
    with selectors.DefaultSelector() as ready:
        ready.register(driver.stdout, selectors.EVENT_READ)
        end = time.monotonic() + LIMIT_SECONDS
        while ready.select(max(0, end - time.monotonic())):
            line = driver.stdout.readline()
            if match := re.search(r"successfully on port (\d+)", line):
                return int(match[1])
            if not line:
                break
    raise AssertionError("ChromeDriver did not start")


@contextlib.contextmanager
def browser():
    try:
        host.install_missing(NEEDED)
    except Stop as stop:
        raise Skip(f"no Chromium: {stop.what}") from stop
    with tempfile.TemporaryDirectory(prefix="hotmirror-browser-", ignore_cleanup_errors=True) as profile, \
         subprocess.Popen([host.find("chromedriver"), "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True) as driver:
        session = None
        try:
            session = Browser(_port(driver), profile)
            yield session
        finally:
            if session:
                session.call("", method="DELETE")
            driver.terminate()
