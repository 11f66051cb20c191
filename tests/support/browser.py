"""A headless Chromium over its debugging pipe: what a page logs, what it fetches, what it looks like.

The Chrome DevTools Protocol over two pipes is a screenful of code; a driver package would be 40 MB and a
download of its own.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60.0


def find_browser() -> str | None:
    """The browser to drive: ``ADSML_BROWSER``, or the first one that is installed."""
    named = os.environ.get("ADSML_BROWSER")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One open page.

    Attributes
    ----------
    logged
        What it wrote to the console at any level, errors of loading among it.
    fetched
        Every URL it asked for, its own among them.
    """

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._rest = b""
        self._last = 0
        self._session: str | None = None
        self._seen: list[str] = []
        self.logged: list[str] = []
        self.fetched: list[str] = []

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def attach(self) -> None:
        """Take over the first tab."""
        targets = self.send("Target.getTargets")["targetInfos"]
        target = next(one for one in targets if one["type"] == "page")
        found = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def open(self, page: Path | str, *, width: int, height: int = 900, dark: bool = False) -> float:
        """Open a file or URL and wait until it is loaded; the seconds that took."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self._seen.clear()
        began = time.monotonic()
        self.send("Page.navigate", url=page if isinstance(page, str) else page.absolute().as_uri())
        while "Page.loadEventFired" not in self._seen:
            self._receive()
        self.frames()
        return time.monotonic() - began

    def frames(self) -> None:
        """Wait for two frames: after them the page is laid out and painted, and what waited for that has run."""
        self.run(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
        )

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def picture(self, path: Path) -> None:
        """What is on the screen, as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], PATIENCE)
            data = os.read(self._back, 1 << 20) if ready else b""
            if not data:
                raise TimeoutError("the browser does not answer")
            self._rest += data
        raw, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.consoleAPICalled":
                self.logged.append(str([one.get("value") for one in params["args"]]))
            case "Runtime.exceptionThrown":
                self.logged.append(str(params["exceptionDetails"].get("text")))
            case "Log.entryAdded":
                self.logged.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.fetched.append(params["request"]["url"])
            case str(method):
                self._seen.append(method)


@contextmanager
def browser(executable: str) -> Iterator[Page]:
    """A page of a fresh headless browser with a profile of its own."""
    to_read, to_write = os.pipe()
    back_read, back_write = os.pipe()

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The browser wants its pipes at 3 and 4; a shell moves them there.
        process = subprocess.Popen(
            [
                "bash", "-c", f'exec "$@" 3<&{to_read} 4>&{back_write}', "bash",
                executable, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--no-first-run", "--disable-background-networking", "--remote-debugging-pipe",
                f"--user-data-dir={profile}", "about:blank",
            ],
            pass_fds=(to_read, back_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(back_write)
        try:
            page = Page(to_write, back_read)
            page.attach()
            yield page
        finally:
            with suppress(OSError):
                os.write(to_write, b'{"id": 0, "method": "Browser.close"}\0')
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(to_write)
            os.close(back_read)
