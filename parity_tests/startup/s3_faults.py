"""A proxy before an S3 server, which on command does what networks and S3 do on bad days.

It hands on every request as it came, with its Host, which the signature covers. A fault is for the requests of one
method, or of all, whose key begins with a prefix; a listing's key is the prefix that it asks for. The first fault that
fits a request is what happens to it.
"""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from dualpath.runtime.kafka import HOST
from dualpath.runtime.service import Service
from parity_tests.startup.s3 import Server

OF_A_REQUEST = {"connection", "expect"}
OF_AN_ANSWER = {"connection", "content-length", "keep-alive", "transfer-encoding"}
"""Headers that speak of one connection only, or that the proxy writes itself."""


class Answer(NamedTuple):
    """What the client is told instead."""

    status: int
    code: str


SLOW_DOWN = Answer(503, "SlowDown")
EXPIRED = Answer(403, "ExpiredToken")


class Fault:
    """What happens to requests that fit it: the next `left` ones, or all."""

    def __init__(self, method: str, prefix: str, left: int | None, answer: Answer | None = None) -> None:
        self.method, self.prefix, self.left, self.answer = method, prefix, left, answer
        self.arrived, self.released = threading.Event(), threading.Event()

    def fits(self, method: str, key: str) -> bool:
        return self.method in ("", method) and key.startswith(self.prefix) and self.left != 0


class Held(NamedTuple):
    """Requests that wait: `arrived` is set with the first of them."""

    arrived: threading.Event


class Faults(Service):
    """The proxy before `server`; `with Faults(server) as faults` starts and stops it.

    `seen` has the method and the key of every request, whatever became of it.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.seen: list[tuple[str, str]] = []
        self._proxy = ThreadingHTTPServer((HOST, 0), _handler(self))

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._proxy.server_port}"

    @property
    def environ(self) -> dict[str, str]:
        """That of the server, with the proxy's address."""
        return self._server.environ | {"AWS_ENDPOINT_URL": self.url}

    @property
    def target(self) -> str:
        """The server's "HOST:PORT"."""
        return urlsplit(self._server.url).netloc

    def slow_down(self, times: int, *, method: str = "", prefix: str = "") -> None:
        """Answer the next requests with 503 SlowDown; the server does not see them."""
        self._add(Fault(method, prefix, times, SLOW_DOWN))

    def lose_answers(self, times: int, *, method: str = "PUT", prefix: str = "") -> None:
        """Have the server do what the next requests ask, and hang up without an answer."""
        self._add(Fault(method, prefix, times))

    @contextmanager
    def expired(self, *, method: str = "", prefix: str = "") -> Iterator[None]:
        """While this is entered, the credentials have expired: the answer to such requests is 403 ExpiredToken."""
        with self._added(Fault(method, prefix, None, EXPIRED)):
            yield

    @contextmanager
    def held(self, *, method: str = "", prefix: str = "") -> Iterator[Held]:
        """While this is entered, requests wait before they reach the server."""
        fault = Fault(method, prefix, None)
        with self._added(fault):
            try:
                yield Held(fault.arrived)
            finally:
                fault.released.set()

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    @contextmanager
    def _added(self, fault: Fault) -> Iterator[None]:
        self._add(fault)
        try:
            yield
        finally:
            with self._lock:
                self._faults.remove(fault)

    def met(self, method: str, key: str) -> Fault | None:
        """The fault that a request meets, if any; it counts."""
        with self._lock:
            self.seen.append((method, key))
            fault = next((each for each in self._faults if each.fits(method, key)), None)
            if fault and fault.left:
                fault.left -= 1
            return fault

    def start(self) -> None:
        """Answer requests."""
        threading.Thread(target=self._proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        self._proxy.shutdown()
        self._proxy.server_close()


def _handler(faults: Faults) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:  # the client has left
                self.close_connection = True

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = faults.met(self.command, _key(self.path))
            if fault and fault.answer:
                self._tell(fault.answer)
                return
            if fault and fault.left is None:
                fault.arrived.set()
                fault.released.wait()
            response, found = self._forward(body)
            if fault and fault.left is not None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            length = response.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(found))
            self._send(response.status, response.getheaders(), length, found)

        do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - the library's names

        def _forward(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
            there = http.client.HTTPConnection(faults.target)
            try:
                there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in OF_A_REQUEST:
                        there.putheader(name, value)
                there.endheaders(body)
                response = there.getresponse()
                return response, response.read()
            finally:
                there.close()

        def _tell(self, answer: Answer) -> None:
            said = f"<Error><Code>{answer.code}</Code><Message>{answer.code}</Message></Error>".encode()
            found = b"" if self.command == "HEAD" else said
            self._send(answer.status, [("Content-Type", "application/xml")], str(len(said)), found)

        def _send(self, status: int, headers: list[tuple[str, str]], length: str, body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in OF_AN_ANSWER:
                    self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: `seen` has it."""

    return Handler


def _key(path: str) -> str:
    """The key of a request's path, "/BUCKET/KEY", or the prefix that a listing asks for."""
    split = urlsplit(path)
    key = unquote(split.path.lstrip("/").partition("/")[2])
    return key or parse_qs(split.query).get("prefix", [""])[0]
