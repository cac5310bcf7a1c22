"""A real Chromium that a test drives: its DevTools protocol over a WebSocket."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

TIMEOUT_S = 60
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # Every host but this machine resolves to nothing: a page that needs a CDN shows as empty. One name is an attacker's
    # that resolves to this machine (DNS rebinding).
    "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


def program() -> str:
    """The browser; without one the test fails in CI, and is skipped elsewhere."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        message = "Chromium is not installed (Debian: apt-get install chromium)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    return found


class PageError(Exception):
    """The browser could not do that; a page that is being left can do nothing, and may soon."""


class Page:
    """A tab. What goes wrong in it (scripts, blocked by the policy or not, and dialogs) is in `complaints`."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)
        self._session = ""
        self.complaints: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go there and wait until the page is read."""
        self._call("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url)})")

    def tell(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise PageError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression holds, whatever pages come meanwhile."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                if self.tell(expression):
                    return
            except PageError:
                pass
            assert time.monotonic() < deadline, f"not in time: {expression}\n{self.tell('document.body.innerText')}"
            time.sleep(0.05)

    def until_text(self, text: str) -> None:
        """Wait until a text is seen."""
        self.until(f"document.body.innerText.includes({json.dumps(text)})")

    def click(self, selector: str) -> None:
        """Click the first element, which must be there."""
        self.until(f"document.querySelector({json.dumps(selector)}) !== null")
        self.tell(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, selector: str, text: str) -> None:
        """Write into a field, or choose of a list."""
        self.until(f"document.querySelector({json.dumps(selector)}) !== null")
        field = f"document.querySelector({json.dumps(selector)})"
        self.tell(f"{field}.value = {json.dumps(text)}")
        self.tell(f"{field}.dispatchEvent(new Event('change', {{bubbles: true}}))")

    def choose_file(self, selector: str, file: Path) -> None:
        """Choose a file of this machine, as a person does in the browser's own dialog."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def look_like(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Be as large as that, and in the colours that a person prefers."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def hide(self, *, hidden: bool) -> None:
        """Let the page believe that its tab is (not) in front."""
        self.tell(
            f"Object.defineProperty(document, 'hidden', {{value: {json.dumps(hidden)}, configurable: true}});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )

    def picture(self, file: Path) -> None:
        """Save what is seen as PNG."""
        file.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def _call(self, method: str, **arguments: Any) -> Any:
        number = next(self._ids)
        message = {"id": number, "method": method, "params": arguments}
        self._connection.send(json.dumps({**message, **({"sessionId": self._session} if self._session else {})}))
        while True:
            answer = json.loads(self._connection.recv(timeout=TIMEOUT_S))
            if answer.get("id") == number:
                if "error" in answer:
                    raise PageError(f"{method}: {answer['error']}")
                return answer["result"]
            self._heed(answer)

    def _heed(self, event: dict[str, Any]) -> None:
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(str(event["params"]["exceptionDetails"]))
            case "Log.entryAdded" if event["params"]["entry"]["level"] == "error":
                self.complaints.append(str(event["params"]["entry"]))
            case "Page.javascriptDialogOpening":
                self.complaints.append(f"dialog: {event['params']['message']}")


@contextmanager
def chromium(profile: Path) -> Iterator[Callable[[], Page]]:
    """A browser that makes new tabs; it ends with the context.

    Args:
        profile: an empty folder.
    """
    process = subprocess.Popen(
        [program(), *OPTIONS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with connect(_address(profile, process), max_size=None) as connection:
            yield lambda: Page(connection)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    told = profile / "DevToolsActivePort"
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            port, path = told.read_text().splitlines()
        except (FileNotFoundError, ValueError):
            assert process.poll() is None, "the browser ended"
            assert time.monotonic() < deadline, "the browser does not answer"
            time.sleep(0.05)
        else:
            return f"ws://127.0.0.1:{port}{path}"
