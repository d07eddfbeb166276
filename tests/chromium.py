"""Headless Chromium for tests, driven over its DevTools pipe: no driver, no port, no socket."""

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_chromium() -> str | None:
    """The browser's command, or None where there is none; CHROMIUM names another one."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One tab. Every call waits for its answer, and raises TimeoutError after `patience_s` seconds."""

    def __init__(self, to_browser: int, from_browser: int, patience_s: float = 60):
        self._out, self._in, self.patience_s = to_browser, from_browser, patience_s
        self._numbers, self._rest, self._session = itertools.count(1), b"", None
        self.log: list[str] = []  # what the page wrote to its console, and its uncaught errors
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a DevTools command and return its result; RuntimeError for one that fails."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self.patience_s
        while True:
            answer = self._read(deadline, method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                self.log.append(json.dumps(answer["params"]))

    def _read(self, deadline: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self._in, 1 << 16) if ready else b""
            if not piece:
                raise TimeoutError(f"Chromium {'ended during' if ready else 'does not answer'} {method}")
            self._rest += piece
        first, self._rest = self._rest.split(b"\0", 1)
        return json.loads(first)

    def run(self, code: str) -> Any:
        """The value of a JavaScript expression in the page, awaited if it is a promise."""
        answer = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{code}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + self.patience_s
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"never true: {condition}; console: {self.log}")
            time.sleep(0.05)

    def resize(self, width: int, height: int, *, is_dark: bool = False, scale: float = 1) -> None:
        """Give the tab a size in CSS pixels, and the light or dark colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, address: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.call("Page.navigate", url=address)
        self.wait(f"location.href === {json.dumps(address)} && document.readyState === 'complete'")

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in a file input, as a person would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def click(self, selector: str, fraction: tuple[float, float] = (0.5, 0.5)) -> None:
        """Press and release the mouse on an element, at a fraction of its width and height, with real input events."""
        find = f"const box = document.querySelector({json.dumps(selector)})"
        measure = "box.scrollIntoView({block: 'nearest'}); const {x, y, width, height} = box.getBoundingClientRect()"
        x, y, width, height = self.run(f"(() => {{ {find}; {measure}; return [x, y, width, height]; }})()")
        spot = {"x": x + width * fraction[0], "y": y + height * fraction[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **spot)

    def photograph(self) -> bytes:
        """The tab as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


@contextlib.contextmanager
def chromium(command: str, profile: Path) -> Iterator[Browser]:
    """Start Chromium with an empty profile in a folder, and end it with the block."""
    child_in, to_browser = os.pipe()
    from_browser, child_out = os.pipe()
    # The child's ends must be descriptors 3 and 4; out of the way first, so that neither overwrites the other.
    high_in, high_out = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (child_in, child_out))

    def place() -> None:
        os.dup2(high_in, 3)
        os.dup2(high_out, 4)

    options = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run"]
    options += [
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
    ]
    options += ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses its sandbox to root
    process = subprocess.Popen(
        [command, *options, "about:blank"], preexec_fn=place, pass_fds=(3, 4), stderr=subprocess.DEVNULL
    )
    for end in (child_in, child_out, high_in, high_out):
        os.close(end)
    try:
        browser = Browser(to_browser, from_browser)
        yield browser
        with contextlib.suppress(TimeoutError, OSError):
            browser.call("Browser.close")
    finally:
        for end in (to_browser, from_browser):
            os.close(end)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
