"""The web server behind a page under test: on this machine's loopback, behind a secret, with a fixed list of files.

It gives nothing but what it was told to give, takes nothing but the events and arrays that it waits for, and keeps a
list of all else that it was asked for. Its headers isolate the page, which is what threads and the finer clock of a
browser need, and forbid it every address but this one.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import secrets
import threading
from collections.abc import Mapping
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, cast

__all__ = ["GONE", "WEB", "PageServer"]

WEB = Path(__file__).parent / "web"
GONE = None  # in the queue: the page is not there any more
MAX_EVENT = 4 << 20
MOST_REFUSED = 100
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
}


class PageServer:
    """A server for one visit of one page.

    Attributes:
        address: of the page, with the secret in it.
        lines: what the page posts as events, text, in order; `GONE` when its connection ends.
        blobs: what it posted by name.
        refused: requests that were none of the page's business, such as "GET /favicon.ico".
    """

    def __init__(self, files: Mapping[str, bytes], blobs: Mapping[str, int]) -> None:
        """Start to listen.

        Args:
            files: name -> content, next to the page's own files.
            blobs: name -> most bytes, of what the page may post.
        """
        own = {path.name: path.read_bytes() for path in sorted(WEB.iterdir()) if path.suffix in TYPES}
        self.files: dict[str, bytes] = {**own, **files}
        self.most = dict(blobs)
        self.lines: SimpleQueue[str | None] = SimpleQueue()
        self.blobs: dict[str, bytes] = {}
        self.refused: list[str] = []
        self.secret = secrets.token_urlsafe(16)
        self.closing = False
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.page = self
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.address = f"http://{self.host}/{self.secret}/index.html"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @cached_property
    def headers(self) -> dict[str, str]:
        """What every answer carries."""
        return {
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Embedder-Policy": "require-corp",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Content-Security-Policy": (
                "default-src 'none'; connect-src 'self'; style-src 'self'; worker-src 'self'; img-src data:; "
                f"script-src 'self' 'wasm-unsafe-eval' {import_map_hash(self.files['index.html'])}; "
                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ),
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }

    def close(self) -> None:
        """Stop listening. Safe to call twice."""
        self.closing = True
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> PageServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def import_map_hash(page: bytes) -> str:
    """Return the source expression that allows the one script inside a page, its import map.

    Source:
        Content Security Policy Level 3, section 2.3.1, hash-source.
    """
    found = re.findall(rb'<script type="importmap">(.*?)</script>', page, re.DOTALL)
    (text,) = found
    return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32
    page: PageServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that is killed breaks connections off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 600

    def do_GET(self) -> None:
        page = self._page
        name = self._name()
        if name == "alive":
            self._stay()
        elif name in page.files:
            self._answer(200, page.files[name], TYPES.get(Path(name).suffix, "application/octet-stream"))
        else:
            self._refuse()

    def do_POST(self) -> None:
        page, name = self._page, self._name()
        most = MAX_EVENT if name == "event" else page.most.get((name or "").removeprefix("blob/"))
        size = self.headers.get("Content-Length", "")
        # A foreign page could post here without being able to read; it cannot know the secret, nor fake this header.
        same = self.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
        if name is None or most is None or not same or not size.isdecimal() or int(size) > most:
            self._refuse()
            return
        content = self.rfile.read(int(size))
        if name == "event":
            page.lines.put(content.decode("utf-8", "replace"))
        else:
            page.blobs[name.removeprefix("blob/")] = content
        self._answer(200, b"", "text/plain")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    @property
    def _page(self) -> PageServer:
        return cast(_Server, self.server).page

    def _name(self) -> str | None:
        """Return what is asked for, without the secret; None for one who does not know it or means another host."""
        page = self._page
        start = f"/{page.secret}/"
        path = self.path.partition("?")[0]
        if self.headers.get("Host") != page.host or not path.startswith(start):
            return None
        return path[len(start) :]

    def _refuse(self) -> None:
        if len(self._page.refused) < MOST_REFUSED:
            self._page.refused.append(f"{self.command} {self.path.replace(self._page.secret, '...')}"[:200])
        self.close_connection = True
        self._answer(404, b"", "text/plain")

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response_only(status)
        for header, value in self._page.headers.items():
            self.send_header(header, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stay(self) -> None:
        """Hold a connection that ends with the page, be it closed or crashed."""
        self.send_response_only(200)
        for header, value in self._page.headers.items():
            self.send_header(header, value)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()  # without a length: until the connection closes
        self.wfile.flush()
        self.close_connection = True
        self.connection.settimeout(None)
        with contextlib.suppress(OSError):
            while self.connection.recv(1):
                pass
        if not self._page.closing:
            self._page.lines.put(GONE)
