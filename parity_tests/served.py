"""Feast's own commands and servers, in processes of their own, as its users run them."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tenacity

from dualpath.repo import Repo
from parity_tests.startup import prepared


def feast(repo: Repo, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Feast's command line on a repo."""
    command = [sys.executable, "-m", "feast.cli.cli", "--chdir", str(repo.folder), *words]
    return subprocess.run(command, env=users_environ(), capture_output=True, text=True)


def users_environ() -> dict[str, str]:
    """The environment of a command that imports Feast itself, as a user's does."""
    return {name: value for name, value in os.environ.items() if name != prepared.ADDRESS}


@contextmanager
def running(
    repo: Repo, command: str, ready: str | None, *more: str, python: Path | str = sys.executable
) -> Iterator[str]:
    """One of Feast's servers on a free port, once it answers at `ready`, or takes connections; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [python, "-m", "feast.cli.cli", "--chdir", str(repo.folder), command, "--port", str(port), *more]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        if ready is None:
            patiently(lambda: socket.create_connection(("127.0.0.1", port)).close())
        else:
            patiently(lambda: urllib.request.urlopen(f"{address}{ready}").close())
        yield address
    finally:
        process.terminate()
        process.wait(30)


@tenacity.retry(
    stop=tenacity.stop_after_delay(120),
    wait=tenacity.wait_fixed(0.2),
    retry=tenacity.retry_if_exception_type(OSError),
    reraise=True,
)
def patiently(connect: Callable[[], None]) -> None:
    """Connect to a server that is starting."""
    connect()


def post(url: str, body: Any) -> tuple[int, Any]:
    """The status and the decoded JSON that a server answers with."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answered:
            return answered.status, json.loads(answered.read() or b"null")
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read() or b"null")


def values(answer: Any, maps: Collection[str] = ()) -> dict[str, list[Any]]:
    """The values of each name in an answer of Feast's server, which sends `maps` as JSON in texts."""
    named = zip(answer["metadata"]["feature_names"], answer["results"], strict=True)
    found = {name: result["values"] for name, result in named}
    return {n: [json.loads(text) for text in column] if n in maps else column for n, column in found.items()}
