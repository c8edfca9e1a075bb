"""Feast's servers of a side, and what they answer over HTTP and to Feast's remote stores."""

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import tenacity
import yaml
from feast import FeatureStore

from parity_tests.differential import online, training
from parity_tests.differential.data import NOON, START, instants
from parity_tests.differential.differences import DIFFERENCES
from parity_tests.differential.plain import exact, rows
from parity_tests.differential.refused import REFUSED
from parity_tests.differential.sides import NOW, Case, RejectedError, Side

KEYED = ["hourly:trips", "hourly:acc_rate"]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(sides: Sequence[Side], folder: Path) -> Iterator[dict[str, tuple[Side, Side]]]:
    """Start the online and the offline server of each side; answers each with its address, and its remote client."""
    with ExitStack() as stack:
        started = {}
        for side in sides:
            ports = free_port(), free_port()
            commands = zip(("serve", "serve_offline"), ports, strict=True)
            started[side] = ports, [stack.enter_context(running(side, *each, folder)) for each in commands]
        answer = {}
        for side, (ports, processes) in started.items():
            for port, process in zip(ports, processes, strict=True):
                listens(port, process)
            http = f"http://127.0.0.1:{ports[0]}"
            answer[side.name] = Side(side.name, side.store, http), remote(side, folder, *ports)
        yield answer


@contextmanager
def running(side: Side, command: str, port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One server, which ends with the test; `folder` keeps what it says."""
    words = ["-m", "feast.cli.cli", "--chdir", str(side.folder), command, "--port", str(port)]
    with (folder / f"{side.name}-{command}.log").open("w") as log:
        process = subprocess.Popen([sys.executable, *words], stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


@tenacity.retry(
    stop=tenacity.stop_after_delay(240),
    wait=tenacity.wait_fixed(0.1),
    retry=tenacity.retry_if_exception_type(ConnectionError),
)
def listens(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server does."""
    assert process.poll() is None, f"{process.args} ended"
    socket.create_connection(("127.0.0.1", port)).close()


def remote(side: Side, folder: Path, http: int, flight: int) -> Side:
    """A client that has nothing but the registry and the servers' addresses."""
    settings = yaml.safe_load((side.folder / "feature_store.yaml").read_text())
    settings["online_store"] = {"type": "remote", "path": f"http://127.0.0.1:{http}", "connection_retries": 0}
    settings["offline_store"] = {"type": "remote", "host": "127.0.0.1", "port": flight}
    del settings["batch_engine"]
    home = folder / f"remote-{side.name}"
    home.mkdir()
    (home / "feature_store.yaml").write_text(yaml.safe_dump(settings))
    return Side(side.name, FeatureStore(repo_path=str(home)))


def post(side: Side, path: str, body: Any) -> Any:
    """The answer to a request; raises `RejectedError` with the status of an error."""
    data = json.dumps(body, default=str).encode()
    request = urllib.request.Request(f"{side.address}/{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        with error:
            raise RejectedError(error.code, error.read().decode()) from None


def asked(body: dict[str, Any]) -> Case:
    """The case of a read: each feature's values, statuses and times."""

    def ask(side: Side) -> Any:
        status, answer = post(side, "get-online-features", body)
        names = answer["metadata"]["feature_names"]
        return status, dict(
            sorted((name, exact(result)) for name, result in zip(names, answer["results"], strict=True))
        )

    return ask


def health(side: Side) -> Any:
    """Whether the server calls itself healthy."""
    with urllib.request.urlopen(f"{side.address}/health") as answer:
        return answer.status


def frame(driver: int, **columns: Any) -> dict[str, list[Any]]:
    """One row of a view that cases write, as JSON has it."""
    given = {"trips": [5], "acc_rate": [0.1], "event_timestamp": [NOW.isoformat()]}
    return {"driver_id": [driver], **given, **columns}


def push(driver: int, to: str) -> Case:
    """The case of a push: the status, what the source holds, and, if it went there, what is served."""

    def ask(side: Side) -> Any:
        status = post(side, "push", {"push_source_name": "pushed_push", "df": frame(driver), "to": to})
        found = rows(pq.read_table(side.source("pushed"), filters=[("driver_id", "=", driver)]))
        read = {"features": ["pushed:trips", "pushed:acc_rate"], "entities": {"driver_id": [driver]}}
        return status, found, asked(read)(side) if "online" in to else None

    return ask


def written(driver: int, view: str = "pushed", **columns: Any) -> Case:
    """The case of a write: the status and what is served then."""

    def ask(side: Side) -> Any:
        status = post(side, "write-to-online-store", {"feature_view_name": view, "df": frame(driver, **columns)})
        return status, asked({"features": [f"{view}:acc_rate"], "entities": {"driver_id": [driver]}})(side)

    return ask


def materialised(view: str, *paths: tuple[str, dict[str, Any]]) -> Case:
    """The case of requests to materialise: each one's status, and what is served then."""

    def ask(side: Side) -> Any:
        answers = []
        for path, body in paths:
            status = post(side, path, {"feature_views": [view], **body})
            read = {"features": KEYED, "entities": {"driver_id": [1001, 1002, 1003]}}
            answers.append((status, asked(read)(side)))
        return answers

    return ask


HOME = {"features": online.HOME, "entities": {"driver_id": [1001, 1002]}}
SPAN = {"start_ts": START.isoformat(), "end_ts": (START + timedelta(hours=4)).isoformat()}
BOTH = {"driver_id": [1001, 1002], "customer_id": ["ann", "ann"], "bonus": [5, None]}
HTTP: dict[str, Case] = {
    "health": health,
    "read": asked(HOME),
    "read every_type": asked({**HOME, "features": online.STATS}),
    "read full_names": asked({**HOME, "full_feature_names": True}),
    "read service": asked({"feature_service": "everything", "entities": BOTH}),
    "read aliases": asked({"feature_service": "journey", "entities": online.JOURNEY, "full_feature_names": True}),
    "read extra_keys": asked({**HOME, "entities": {"driver_id": [1001], "colour": ["red"]}}),
    "read later_instant": asked({**HOME, "entities": {"driver_id": [1001], "event_timestamp": [NOW.isoformat()]}}),
    "read version": asked({**HOME, "features": ["driver_home@v0:rent"]}),
    "read version_unknown": asked({**HOME, "features": ["driver_home@v9:rent"]}),
    "read unknown_feature": asked({**HOME, "features": ["driver_home:colour"]}),
    "read unknown_view": asked({**HOME, "features": ["nobody:rent"]}),
    "read unknown_service": asked({"feature_service": "nothing", "entities": BOTH}),
    "read missing_key": asked({**HOME, "entities": {"customer_id": ["ann"]}}),
    "read unequal_lengths": asked({"features": ["driver_orders:spent"], "entities": {**BOTH, "driver_id": [1001]}}),
    "read clash_of_names": asked({**HOME, "features": ["driver_stats:trips", "nightly:trips"]}),
    "read without_request_data": asked({**HOME, "features": ["in_pandas:rate_twice"]}),
    "read no_keys": asked({**HOME, "entities": {}}),
    "read no_json": lambda side: post(side, "get-online-features", []),
    "push online": push(3001, "online"),
    "push offline": push(3002, "offline"),
    "push online_and_offline": push(3003, "online_and_offline"),
    "push nowhere": push(3004, "nowhere"),
    "push to_nobody": lambda side: post(side, "push", {"push_source_name": "nobody", "df": frame(3005)}),
    "write": written(3010),
    "write without_a_column": written(3011, acc_rate=None),
    "write another_type": written(3012, acc_rate=["much"]),
    "write unknown_view": written(3013, view="nobody"),
    "materialize": materialised("hourly", ("materialize", SPAN)),
    "materialize then_incremental": materialised(
        "hourly", ("materialize", SPAN), ("materialize-incremental", {"end_ts": NOON.isoformat()})
    ),
    "materialize unknown_view": materialised("nobody", ("materialize", SPAN)),
    "materialize no_time": materialised("hourly", ("materialize", {})),
    "search": lambda side: post(side, "search", {"features": ["driver_stats:scores"], "query": [0.1], "top_k": 1}),
}  # fmt: skip


def remotely_written(side: Side) -> Any:
    """A write through the remote online store."""
    row = {"driver_id": 3020, "town": ["a"], "rent": [0.1], "event_timestamp": [NOW]}
    side.store.write_to_online_store("driver_home", pd.DataFrame(row))
    return online.requested(online.HOME, [{"driver_id": 3020}])(side)


def remotely_pushed(side: Side) -> Any:
    """A write through the remote offline store."""
    row = {"driver_id": [3021], "trips": [1], "acc_rate": [0.1], "event_timestamp": [NOW]}
    side.store.write_to_offline_store("appended", pd.DataFrame(row))
    features = ["appended:trips", "appended:acc_rate"]
    return training.of(features, lambda: pd.DataFrame({"driver_id": [3021], "event_timestamp": instants(NOW)}))(side)


REMOTE_TRAINING = [*training.FRAMES, "every_type", "full_names", "service", "on_demand_alone", "aliases", "ties"]
ANSWERED: dict[str, Case] = {
    **{name: case for name, case in online.CASES.items() if name.startswith("online ")},
    **{name: training.CASES[name] for name in (f"training {name}" for name in REMOTE_TRAINING)},
}
# Refusals lose their class on the way, so they are compared in the process and over HTTP.
REMOTE: dict[str, Case] = {
    **{f"remote {name}": c for name, c in ANSWERED.items() if name not in REFUSED and name not in DIFFERENCES},
    "remote write": remotely_written,
    "remote push": remotely_pushed,
}
