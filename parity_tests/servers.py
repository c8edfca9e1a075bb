"""Redis servers of a test's own, and repos that are on them."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from dualpath.online.connection import connect
from dualpath.repo import Repo
from dualpath.runtime.redis import HOST, executable
from parity_tests import faults

PASSWORD = "s=cret"
NODES = 3
SLOTS = 16_384
BUS = 10_000
"""How far a node's port for its peers lies above that for clients."""


@dataclass(frozen=True)
class Server:
    """A Redis of the test's own."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(HOST, self.port, password=PASSWORD)


@contextmanager
def server(folder: Path, port: int, *options: str) -> Iterator[Server]:
    """One that wants the password; it answers once this is entered."""
    folder.mkdir()
    wanted = ("--port", str(port), "--bind", HOST, "--dir", str(folder), "--save", "", "--requirepass", PASSWORD)
    process = subprocess.Popen([executable(), *wanted, *options], stdout=subprocess.DEVNULL)
    try:
        started = Server(port, process)
        faults.until(lambda: _answers(started))
        yield started
    finally:
        process.terminate()
        process.wait()


def _answers(started: Server) -> bool:
    assert started.process.poll() is None, "the server has ended"
    with suppress(redis.ConnectionError):
        return bool(started.client.ping())
    return False


def free_port() -> int:
    """One whose port for peers is free too."""
    with closing(socket.socket()) as client, closing(socket.socket()) as peers:
        client.bind((HOST, 0))
        port = client.getsockname()[1]
        try:
            peers.bind((HOST, port + BUS))
        except (OSError, OverflowError):
            return free_port()
        return port


@contextmanager
def cluster(root: Path) -> Iterator[list[Server]]:
    """A cluster of three nodes, which ask each other for the password too."""
    options = ("--cluster-enabled", "yes", "--masterauth", PASSWORD, "--cluster-require-full-coverage", "yes")
    with ExitStack() as held:
        started = [held.enter_context(server(root / str(n), free_port(), *options)) for n in range(NODES)]
        for number, each in enumerate(started):
            share = range(SLOTS * number // NODES, SLOTS * (number + 1) // NODES)
            each.client.execute_command("CLUSTER ADDSLOTS", *share)
            each.client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            each.client.execute_command("CLUSTER MEET", HOST, started[0].port)
        faults.until(lambda: all(_settled(each) for each in started))
        yield started


def _settled(node: Server) -> bool:
    told = node.client.execute_command("CLUSTER INFO")
    return told["cluster_state"] == "ok" and told["cluster_known_nodes"] == str(NODES)


def repo_on(applied: Path, folder: Path, connection_string: str, kind: str = "redis") -> Repo:
    """An applied repo whose `feature_store.yaml` names these servers."""
    shutil.copytree(applied, folder)
    settings = folder / "feature_store.yaml"
    online = f'connection_string: "{connection_string}"\n  redis_type: {kind}'
    settings.write_text(settings.read_text().replace('connection_string: ""', online))
    return Repo(folder)


def on_cluster(applied: Path, folder: Path, nodes: Sequence[Server]) -> Repo:
    """An applied repo on a cluster, of which it is told some nodes."""
    named = ",".join(f"{HOST}:{each.port}" for each in nodes[:2])
    return repo_on(applied, folder, f"{named},password={PASSWORD}", "redis_cluster")


@contextmanager
def suspended(repo: Repo) -> Iterator[None]:
    """While its servers stand still, which take what is sent to them and say nothing."""
    client = connect(repo.redis_address)
    told = client.info("server", target_nodes="primaries") if repo.redis_address.endswith("=true") else None
    found = [each["process_id"] for each in told.values()] if told else [client.info("server")["process_id"]]
    for process in found:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in found:
            os.kill(process, signal.SIGCONT)
