"""A server of the live page that answers `/live` with whatever a test says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from parity_tests.conftest import CHECKOUT

PAGE = CHECKOUT / "dualpath/serving/page"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}

Answer = Callable[[str], tuple[int, bytes]]
"""From the reader asked for to a status and a body."""


class PageServer(ThreadingHTTPServer):
    """Serves the files of the page, and `answer` to `/live`; `asked` are the readers asked for so far,
    `key` is what the last one showed who asks."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.asked: list[str] = []
        self.key: str | None = None
        self.answer: Answer = lambda reader: (503, b"")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def says(self, made: dict[str, Any] | Callable[[str], dict[str, Any]]) -> None:
        """Answer with a document, or with one made for the reader."""
        self.answer = lambda reader: (200, json.dumps(made(reader) if callable(made) else made).encode())


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path == "/live":
            reader = parse_qs(asked.query).get("user_id", [""])[0]
            self.server.asked.append(reader)
            self.server.key = self.headers.get("Authorization")
            self._send(*self.server.answer(reader), "application/json")
        else:
            file = PAGE / (asked.path[1:] or "index.html")
            self._send(200, file.read_bytes(), TYPES[file.suffix])

    def _send(self, status: int, body: bytes, kind: str) -> None:
        with suppress(ConnectionError):  # a page that was closed, or has given up
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@contextmanager
def serving(port: int = 0) -> Iterator[PageServer]:
    """A server at work, at a free port for 0."""
    with PageServer(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
