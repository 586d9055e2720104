"""A headless Chromium driven over the DevTools protocol: open a page, wait for text, click, look.

Belongs here: the browser itself. Does not belong here: anything about Dagster's pages. It needs no driver program and no
dependency beyond `websockets`, which the web server brings.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip


def program() -> str | None:
    """Path of an installed Chromium, None where there is none."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@contextlib.contextmanager
def browser(folder: Path, width: int = 1440, height: int = 900) -> Iterator[Page]:
    """A page in a browser of its own, whose profile lies in the empty `folder`; ended with the block."""
    command = [program(), *FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        with connect(_page_url(folder, process), max_size=None, proxy=None) as socket:
            yield Page(socket, width, height)
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection, width: int, height: int):
        self._socket = socket
        self._ids = itertools.count(1)
        self._send("Page.enable")
        self._send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, url: str) -> None:
        self._send("Page.navigate", url=url)

    @property
    def url(self) -> str:
        return self.evaluate("location.href")

    def text(self) -> str:
        """What a person reads on the page."""
        return self.evaluate("document.body ? document.body.innerText : ''")

    def wait_for(self, condition: str, seconds: float = 30) -> Any:
        """Waits until the JavaScript expression is true and returns its value."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.evaluate(condition)
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"Not within {seconds:.0f} s: {condition}\nThe page reads:\n{self.text()[:3000]}")
            time.sleep(0.2)

    def wait_for_text(self, *texts: str, seconds: float = 30) -> None:
        for text in texts:
            self.wait_for(f"document.body && document.body.innerText.includes({json.dumps(text)})", seconds)

    def click(
        self, text: str, selector: str = "button, a, [role=button], [role=menuitem]", seconds: float = 30
    ) -> None:
        """Clicks, with the mouse, the visible and enabled element whose whole text is `text`."""
        found = f"""
            [...document.querySelectorAll({json.dumps(selector)})].filter(
                e => e.innerText.trim() === {json.dumps(text)} && !e.disabled && e.offsetParent !== null
            ).map(e => e.getBoundingClientRect()).map(r => [r.x + r.width / 2, r.y + r.height / 2])[0]
        """
        self.click_at(*self.wait_for(found, seconds))

    def click_at(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._send("Page.captureScreenshot", format="png")["data"]))

    def evaluate(self, expression: str) -> Any:
        answer = self._send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            # Events come in between; only the answer to this call matters here.
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']['message']}")
                return answer["result"]


def _page_url(folder: Path, process: subprocess.Popen) -> str:
    """Where the tab's DevTools socket is; Chromium writes its port once it listens."""
    port_file = folder / "DevToolsActivePort"
    deadline = time.monotonic() + 60
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and process.poll() is None:
        if port_file.exists() and port_file.read_text().count("\n"):
            port = port_file.read_text().split()[0]
            with direct.open(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            if pages:
                return pages[0]["webSocketDebuggerUrl"]
        time.sleep(0.1)
    raise AssertionError("Chromium did not start.")
