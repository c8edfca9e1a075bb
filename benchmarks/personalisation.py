"""The ranking application under load: real Redis, real Kafka, real HTTP, requests at a set rate whatever comes back.

One reader and 50 candidates a request. A request is due at its time, and its latency counts from then: a slow answer
delays nothing and hides nothing (an open loop). The stages are those that the application measures itself. In the last
round Redis stands still for a while.
"""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import uvloop

from benchmarks.measure import Sheet, spell
from dualpath.online.connection import connect, embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.runtime.kafka import Broker, create_topic
from parity_tests.servers import free_port
from parity_tests.serving.newsroom import NEWS, applied, filled

RATES, SECONDS = (50, 100, 200), 20.0
OUTAGE_SECONDS = 10.0
CANDIDATES = [f"a{n}" for n in range(50)]


def run() -> Iterator[Sheet]:
    """Latencies and CPU at each rate, and what an outage of Redis does."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as (repo, process, url):
        gc.collect()
        gc.freeze()  # the requests come from this process: it is not to stand still either
        uvloop.run(requests(url, 50, 5.0))  # compiles what the first requests need
        for rate in RATES:
            before, began = process.cpu_times(), stages(url)
            found = uvloop.run(requests(url, rate, SECONDS))
            spent = process.cpu_times()
            cpu = (spent.user + spent.system - before.user - before.system) / len(found)
            p50, p99 = quantiles(found)
            took = {name: value - began.get(name, 0.0) for name, value in stages(url).items()}
            yield Sheet(
                f"{rate} requests a second for {SECONDS:.0f} s, 1 reader and {len(CANDIDATES)} candidates",
                {
                    "p50": spell(p50),
                    "p99": spell(p99),
                    "errors": str(errors(found)),
                    "degraded": str(degraded(found)),
                    "CPU a request": spell(cpu),
                    **{f"mean of {name}": spell(total / len(found)) for name, total in took.items()},
                },
                {"rate": rate, "p50": p50, "p99": p99, "errors": errors(found), "cpu": cpu, "stages": took},
            )
        yield outage(repo, url)


def outage(repo: Repo, url: str) -> Sheet:
    """Requests while Redis stands still."""
    server = connect(repo.redis_address).info("server")["process_id"]

    async def during() -> list[tuple[float, int, str | None]]:
        loop = asyncio.get_running_loop()
        loop.call_later(2.0, os.kill, server, signal.SIGSTOP)
        loop.call_later(2.0 + OUTAGE_SECONDS, os.kill, server, signal.SIGCONT)
        return await requests(url, 100, OUTAGE_SECONDS + 6)

    found = uvloop.run(during())
    p50, p99 = quantiles(found)
    return Sheet(
        f"100 requests a second, Redis standing still for {OUTAGE_SECONDS:.0f} s of {OUTAGE_SECONDS + 6:.0f}",
        {"p50": spell(p50), "p99": spell(p99), "errors": str(errors(found)), "without features": str(degraded(found))},
        {"p50": p50, "p99": p99, "errors": errors(found), "degraded": degraded(found)},
    )


async def requests(url: str, rate: float, seconds: float) -> list[tuple[float, int, str | None]]:
    """Latency, HTTP status and `degraded` of each request; 0 is the status of one that was not answered."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx.AsyncClient(base_url=url, timeout=5.0, limits=limits) as client:
        began = time.perf_counter()

        async def one(number: int) -> tuple[float, int, str | None]:
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            name = f"{url} {began} {number}"
            body = {"request_id": name, "user_id": f"r{number % 500}", "device": "mobile", "candidates": CANDIDATES}
            try:
                answer = await client.post("/rank", json=body)
                told = answer.json().get("degraded") if answer.is_success else None
                return time.perf_counter() - due, answer.status_code, told
            except httpx.HTTPError:
                return time.perf_counter() - due, 0, None

        return [*await asyncio.gather(*(one(number) for number in range(int(rate * seconds))))]


def quantiles(found: list[tuple[float, int, str | None]]) -> tuple[float, float]:
    """Median and 99th percentile of the latencies, seconds."""
    low, high = np.quantile([latency for latency, _, _ in found], (0.5, 0.99))
    return float(low), float(high)


def errors(found: list[tuple[float, int, str | None]]) -> int:
    """Requests that were refused, failed or not answered."""
    return sum(status != 200 for _, status, _ in found)


def degraded(found: list[tuple[float, int, str | None]]) -> int:
    """Answers without features."""
    return Counter(told for _, _, told in found)["features"]


def stages(url: str) -> dict[str, float]:
    """The seconds that the application has spent in each stage."""
    found = {}
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        if line.startswith("dualpath_serving_stage_seconds_sum"):
            labels, _, value = line.partition(" ")
            found[labels.partition('stage="')[2].partition('"')[0]] = float(value)
    return found


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Repo, psutil.Process, str]]:
    """The application on a repo whose state was written without a stream, with a broker for its decisions."""
    repo = applied(folder / "feature_repo")
    filled(repo, time.time())
    port, program = free_port(), [sys.executable, "-m", "dualpath.cli", "serve", "--repo", str(repo.folder)]
    with Broker(folder / "kafka") as broker:
        create_topic(broker.address, "decisions", partitions=2)
        settings = ["--port", str(port), "--kafka", broker.address, "--settings", str(NEWS / "settings.toml")]
        process, url = subprocess.Popen([*program, *settings]), f"http://127.0.0.1:{port}"
        try:
            while not answers(url):
                if process.poll() is not None:
                    raise SystemExit("the application has ended")
            yield repo, psutil.Process(process.pid), url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
            redis.stop(embedded_folder(repo.store.config))


def answers(url: str) -> bool:
    """Whether the application answers."""
    try:
        return httpx.get(f"{url}/livez", timeout=1.0).is_success
    except httpx.HTTPError:
        time.sleep(0.1)
        return False
