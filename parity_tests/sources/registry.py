"""A fake schema registry: it answers Confluent's two questions over HTTP, from what a test puts into it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FakeRegistry:
    """Its address; the answer to each path; the paths that were asked for, and how the askers gave their names.

    While `fails` is above zero, it answers 503 instead and counts it down.
    """

    url: str
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    names: set[str | None] = field(default_factory=set)
    fails: int = 0
    only: str | None = None

    def put(self, number: int, schema: Any, **more: Any) -> None:
        self.answers[f"/schemas/ids/{number}"] = {"schema": json.dumps(schema), **more}

    def put_version(self, subject: str, version: int, schema: Any) -> None:
        text = json.dumps(schema)
        self.answers[f"/subjects/{subject}/versions/{version}"] = {
            "subject": subject,
            "version": version,
            "id": 1,
            "schema": text,
        }

    def answer(self, path: str, name: str | None) -> tuple[int, Any]:
        """The status and the body for a question."""
        self.asked.append(path)
        self.names.add(name)
        if self.fails:
            self.fails -= 1
            return 503, {"error_code": 50301, "message": "no leader"}
        if self.only and name != self.only:
            return 401, {"error_code": 401, "message": "Unauthorized"}
        if path not in self.answers:
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 200, self.answers[path]


@contextmanager
def registry() -> Iterator[FakeRegistry]:
    """A fake registry while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = made.answer(self.path.partition("?")[0], self.headers.get("Authorization"))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = FakeRegistry(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield made
        finally:
            server.shutdown()
