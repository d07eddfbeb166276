"""A real HTTP server on this machine that serves a folder with ranges, and misbehaves on demand.

It answers S3's HEAD and GET of an object as well: its first folders are the buckets.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    """Serves `root`; `requests` are (path, Range header) in the order they came."""

    daemon_threads = True

    def __init__(self, root: Path):
        self.root, self.requests = root, []
        self.has_ranges = True
        self.cuts: dict[str, int] = {}
        """By the ending of a path: so many answers end in the middle."""
        self.statuses: dict[str, list[int]] = {}
        """By the ending of a path: what the next answers are instead of the file; the last one stays."""
        self.flips: dict[str, int] = {}
        """By the ending of a path: so many answers have another first byte."""
        self.bytes_a_second: float | None = None
        self.hangs = False
        self.login: str | None = None
        """The only Authorization header that is let in; None: everyone is."""
        super().__init__(("127.0.0.1", 0), Handler)

    def url(self, name: str = "") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def count(self, ending: str) -> int:
        return sum(path.endswith(ending) for path, _ in self.requests)

    def handle_error(self, request, client_address):
        pass  # clients that hang up are what is tested


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        path = self.server.root / self.path[1:]
        self.send_response(200 if path.is_file() else 404)
        self.send_header("Content-Length", str(path.stat().st_size if path.is_file() else 0))
        self.end_headers()

    def do_GET(self):
        server: Server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        for ending, statuses in server.statuses.items():
            if self.path.endswith(ending) and statuses:
                status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
                if status != 200:
                    self.send_error(status)
                    return
        if server.login is not None and self.headers.get("Authorization") != server.login:
            self.send_error(401)
            return
        path = server.root / self.path[1:]
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        wanted, first, size = self.headers.get("Range"), 0, len(content)
        if wanted and server.has_ranges:
            start, _, stop = wanted.removeprefix("bytes=").partition("-")
            first, content = int(start), content[: int(stop) + 1] if stop else content
            if first >= len(content):
                self.send_error(416)
                return
        is_part = len(content) - first < size
        self.send_response(206 if is_part else 200)
        self.send_header("Content-Length", str(len(content) - first))
        if is_part:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{size}")
        self.end_headers()
        self._send(self._harmed(content[first:]))

    def _harmed(self, content: bytes) -> bytes:
        for ending in list(self.server.flips):
            if self.path.endswith(ending) and self.server.flips[ending]:
                self.server.flips[ending] -= 1
                content = bytes([content[0] ^ 1]) + content[1:]
        for ending in list(self.server.cuts):
            if self.path.endswith(ending) and self.server.cuts[ending]:
                self.server.cuts[ending] -= 1
                return content[: len(content) // 2]
        return content

    def _send(self, content: bytes) -> None:
        if self.server.hangs:
            self.wfile.write(content[:10])
            self.wfile.flush()
            time.sleep(30)
        elif self.server.bytes_a_second:
            for start in range(0, len(content), 50):
                self.wfile.write(content[start : start + 50])
                self.wfile.flush()
                time.sleep(50 / self.server.bytes_a_second)
        else:
            self.wfile.write(content)

    def log_message(self, *words):
        pass


@contextlib.contextmanager
def serving(root: Path) -> Iterator[Server]:
    """A server of the files under `root` while the block runs."""
    server = Server(root)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
