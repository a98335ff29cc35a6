"""A page in a real headless Chromium, spoken to by the DevTools protocol over a pipe: no port, no network, no package.

Messages are JSON, each ended by a NUL; Chromium reads them from its descriptor 3 and answers on 4.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from edge.bench.chromium import OPTIONS

SILENCE_S = 120.0


class Browser:
    """One page. Leaving the `with` block ends the browser.

    Args:
        program: path of Chromium.

    Attributes:
        events: all that the browser told unasked, in order.
    """

    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="edge-page-", ignore_cleanup_errors=True)
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        own = ["--remote-debugging-pipe", f"--user-data-dir={self._profile.name}", "--hide-scrollbars"]
        if os.geteuid() == 0:
            own.append("--no-sandbox")

        def at_three_and_four() -> None:
            # Moved up first: either may be where the other one goes.
            high = [fcntl.fcntl(handle, fcntl.F_DUPFD, 64) for handle in (to_read, from_write)]
            for handle, place in zip(high, (3, 4), strict=True):
                os.dup2(handle, place)
                os.close(handle)

        self._process = subprocess.Popen(
            [program, *OPTIONS, *own, "about:blank"],
            close_fds=False,  # no other is inherited, as Python opens all so
            preexec_fn=at_three_and_four,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(from_write)
        self._to, self._from = to_write, from_read
        self._rest, self._count, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        try:
            target = self.ask("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Network", "Runtime", "Log"):
                self.ask(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        """Return the answer to one command."""
        self._count += 1
        order: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            order["sessionId"] = self._session
        os.write(self._to, json.dumps(order).encode() + b"\0")
        number = self._count
        answer = self._wait(lambda message: message.get("id") == number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, page: Path, *, width: int, dark: bool = False) -> None:
        """Open a file as a screen of that many pixels shows it, and wait until it is loaded."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        before = len(self.events)
        self.ask("Page.navigate", url=page.as_uri())
        loaded = [event for event in self.events[before:] if event["method"] == "Page.loadEventFired"]
        if not loaded:
            self._wait(lambda message: message.get("method") == "Page.loadEventFired")

    def value(self, expression: str) -> Any:
        """Return what an expression comes to in the page; the page's policy does not bind the debugger."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", "failed"))
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        told = {"key": key, "code": key, "windowsVirtualKeyCode": {"Tab": 9, "Enter": 13}[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **told, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **told)

    def shoot(self, target: Path, *, top: float = 0, height: int | None = None) -> None:
        """Write a picture of the page from `top` on: all of that, or so many pixels of it."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        left = size["height"] - top
        tall = left if height is None else min(height, left)
        clip = {"x": 0, "y": top, "width": size["width"], "height": tall, "scale": 1}
        data = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        target.write_bytes(base64.b64decode(data))

    def _wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        until = time.monotonic() + SILENCE_S
        while True:
            while b"\0" in self._rest:
                line, _, self._rest = self._rest.partition(b"\0")
                message: dict[str, Any] = json.loads(line)
                if "method" in message:
                    self.events.append(message)
                if wanted(message):
                    return message
            ready, _, _ = select.select([self._from], [], [], max(0.0, until - time.monotonic()))
            more = os.read(self._from, 1 << 20) if ready else b""
            if not more:
                raise RuntimeError("Chromium says nothing")
            self._rest += more

    def close(self) -> None:
        """End it."""
        try:
            self._session = ""
            self.ask("Browser.close")
            self._process.wait(20)
        except (RuntimeError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
