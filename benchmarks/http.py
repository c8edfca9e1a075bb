"""Features over HTTP: `dualpath serve` beside `feast serve`, on one repo and one Redis, in turns within one run.

Both servers have one process and are asked over one connection each; every pair of answers is compared. The processor
time is that of the server's processes, which the system counts in hundredths of a second, so it is taken for many
requests at once.
"""

import hashlib
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tenacity

from benchmarks import shop
from benchmarks.measure import Figure, Sheet, spell
from benchmarks.serving import LOADS, PROJECT, USERS, activity, opened, write_state
from dualpath.declare import view_of
from dualpath.runtime import redis as embedded

ENTITIES = (1, 21)
BLOCKS, REQUESTS = 8, 250
"""How often each server has its turn, and how many requests that is; the first turn is not counted."""
HOST = "127.0.0.1"
SECRET = "of the benchmark"
STORE = """\
project: {project}
provider: local
registry: {{path: {project}.db, cache_ttl_seconds: 0}}
online_store:
  type: dualpath.feast.online.DualpathRedisOnlineStore
  connection_string: {address}
  online_lookback_seconds: null
entity_key_serialization_version: 3
"""
SETTINGS = """\
[[keys]]
name = "benchmark"
sha256 = "{sha256}"
scopes = ["features"]
rate = 1e9
burst = 1000000000
"""


@dataclass(frozen=True)
class Server:
    """A server, one connection to it, and what is posted where."""

    process: psutil.Process
    connection: http.client.HTTPConnection
    path: str
    headers: Mapping[str, str]

    def ask(self, body: bytes) -> bytes:
        """The bytes of the answer."""
        self.connection.request("POST", self.path, body, dict(self.headers))
        answer = self.connection.getresponse()
        said = answer.read()
        if answer.status != http.client.OK:
            raise AssertionError(said.decode())
        return said

    def cpu(self) -> float:
        """Seconds that its processes have computed so far."""
        each = [self.process, *self.process.children(recursive=True)]
        return sum(times.user + times.system for times in (p.cpu_times() for p in each))


def run() -> Iterator[Figure | Sheet]:
    """For each number of entities the durations, and the processor time."""
    load = next(iter(LOADS))
    declared = view_of(activity)
    assert declared is not None, "it is windowed"
    features = [f"{activity.name}:{f.name}" for f in declared.features]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        address = embedded.ensure(root / "redis")
        try:
            write_state(address, LOADS[load])
            opened(root, PROJECT, "dualpath.feast.online.DualpathRedisOnlineStore", address).apply(
                [shop.user, activity]
            )
            (root / "feature_store.yaml").write_text(STORE.format(project=PROJECT, address=address))
            digest = hashlib.sha256(SECRET.encode()).hexdigest()
            (root / "serving.toml").write_text(SETTINGS.format(sha256=digest))
            with ExitStack() as held:
                servers = {name: held.enter_context(make(root)) for name, make in PEERS.items()}
                for entities in ENTITIES:
                    work = f"{entities} entit{'y' if entities == 1 else 'ies'} x {len(features)} features, HTTP, {load}"
                    yield from _turns(work, servers, features, entities)
        finally:
            embedded.stop(root / "redis")


def _turns(work: str, servers: Mapping[str, Server], features: list[str], entities: int) -> Iterator[Figure | Sheet]:
    rng = np.random.default_rng(1)
    at = f"{np.datetime64(shop.AS_OF, 'us')}Z"
    seconds: dict[str, list[float]] = {name: [] for name in servers}
    cpu: dict[str, float] = dict.fromkeys(servers, 0.0)
    for turn in range(BLOCKS + 1):
        asked = []
        for _ in range(REQUESTS):
            users = [shop.name(n) for n in rng.choice(USERS, entities, replace=False).tolist()]
            rows = {"user_id": users, "event_timestamp": [at] * entities}
            asked.append(json.dumps({"features": features, "entities": rows}).encode())
        answers: dict[str, list[bytes]] = {name: [] for name in servers}
        for name in [*servers][:: 1 if turn % 2 else -1]:
            server, taken = servers[name], []
            server.connection.close()  # servers close those that lay idle for a turn; this opens a new one
            before = server.cpu()
            for body in asked:
                begin = time.perf_counter()
                answers[name].append(server.ask(body))
                taken.append(time.perf_counter() - begin)
            if turn:
                seconds[name] += taken
                cpu[name] += server.cpu() - before
        for ours, theirs in zip(*answers.values(), strict=True):
            _compare(json.loads(ours), json.loads(theirs))
    yield Figure(work, {name: np.array(each) for name, each in seconds.items()})
    per_request = {name: each / (BLOCKS * REQUESTS) for name, each in cpu.items()}
    first = next(iter(per_request.values()))
    yield Sheet(
        f"{work}: processor time of the server, a request",
        {name: f"{spell(each)}, ratio {each / first:.2f}" for name, each in per_request.items()},
        {"cpu_seconds": per_request, "ratios": {name: each / first for name, each in per_request.items()}},
    )


def _compare(ours: Any, theirs: Any) -> None:
    columns = dict(zip(theirs["metadata"]["feature_names"], (v["values"] for v in theirs["results"]), strict=True))
    if ours["results"] != columns:
        raise AssertionError(f"the servers disagree:\n{ours['results']}\n{columns}")


@contextmanager
def _started(path: str, headers: Mapping[str, str], *words: str) -> Iterator[Server]:
    """A server that answers, which ends with the block."""
    port = int(words[-1])
    process = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    connection = http.client.HTTPConnection(HOST, port)
    try:
        for attempt in tenacity.Retrying(
            stop=tenacity.stop_after_delay(120),
            wait=tenacity.wait_fixed(0.2),
            retry=tenacity.retry_if_exception_type(OSError),
        ):
            with attempt:
                connection.connect()
        yield Server(psutil.Process(process.pid), connection, path, {"Content-Type": "application/json", **headers})
    finally:
        connection.close()
        process.terminate()
        process.wait(30)


def _free_port() -> str:
    with socket.socket() as free:
        free.bind((HOST, 0))
        return str(free.getsockname()[1])


PEERS = {
    "dualpath serve": lambda root: _started(
        "/features",
        {"Authorization": f"Bearer {SECRET}"},
        *("dualpath.cli", "serve", "--repo", str(root), "--settings", str(root / "serving.toml")),
        *("--port", _free_port()),
    ),
    # By default Feast starts its worker again after a thousand requests.
    "feast serve": lambda root: _started(
        "/get-online-features",
        {},
        *(
            "feast.cli.cli",
            "--chdir",
            str(root),
            "serve",
            "--no-access-log",
            "--max-requests",
            "0",
            "--port",
            _free_port(),
        ),
    ),
}
