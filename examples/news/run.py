"""`make news`: a whole newsroom on this machine, until Ctrl-C or for some seconds, and then its proof.

Kafka, Redis, the stream, the learner and the application are processes of their own, as they would be in production;
readers and articles are simulated. Redis stands still for ten seconds along the way.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import httpx
import tenacity
import typer
from rich.console import Console

from dualpath.online.connection import connect, embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.runtime.kafka import Broker, create_topic, producer
from examples.news.simulate import Newsroom, run

HERE = Path(__file__).resolve().parent
REPO = HERE / "feature_repo"
TOPICS = ("articles", "impressions", "clicks", "decisions")
TIMEOUT_SECONDS = 120.0
"""How long the parts may take to start: Spark takes a while on a busy machine."""
OUTAGE_SECONDS = 10.0
say = Console().print


def command(*words: str) -> list[str]:
    """A command of dualpath's on the newsroom's repo."""
    return [sys.executable, "-m", "dualpath.cli", words[0], "--repo", str(REPO), *words[1:]]


@contextmanager
def running(name: str, *words: str) -> Iterator[None]:
    """A process of dualpath's, ended as Ctrl-C would; what it says is in `data/NAME.log`."""
    with (REPO / "data" / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command(*words), stdout=log, stderr=log, start_new_session=True)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(TIMEOUT_SECONDS)


def until(what: str, condition: Callable[[], bool]) -> None:
    """Wait for something to become true; ends the program with a sentence if it takes too long."""
    patiently = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda met: not met),
        stop=tenacity.stop_after_delay(TIMEOUT_SECONDS),
        wait=tenacity.wait_fixed(0.2),
    )
    try:
        patiently(condition)
    except tenacity.RetryError:
        raise SystemExit(f"{what} did not come up; see the logs in {REPO / 'data'}.") from None


class Client:
    """What the simulation needs: answers of the application, and a producer of events."""

    def __init__(self, url: str, broker: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=2.0)
        self.producer = producer({"bootstrap.servers": broker, "linger.ms": 5})

    def rank(self, asked: dict[str, Any]) -> Mapping[str, Any] | None:
        with suppress(httpx.HTTPError):
            answer = self.http.post("/rank", json=asked)
            if answer.is_success:
                found: dict[str, Any] = answer.json()
                return found
        return None

    def send(self, topic: str, event: Mapping[str, Any], key: str) -> None:
        self.producer.produce(topic, json.dumps(event), key=key)
        self.producer.poll(0)

    def ready(self) -> bool:
        with suppress(httpx.HTTPError):
            return self.http.get("/readyz").is_success
        return False


class Outage:
    """Redis stands still for a while, once, some time after the start."""

    def __init__(self, repo: Repo, after: float | None) -> None:
        self.process = connect(repo.redis_address).info("server")["process_id"]
        self.after, self.began = after, time.monotonic()
        self.stopped, self.over = False, after is None

    def happen(self) -> None:
        """Stop Redis, or let it go on, when it is time."""
        if self.over or self.after is None:
            return
        passed = time.monotonic() - self.began
        if passed >= self.after + OUTAGE_SECONDS:
            os.kill(self.process, signal.SIGCONT)
            self.over = True
            say("Redis is back.")
        elif passed >= self.after and not self.stopped:
            os.kill(self.process, signal.SIGSTOP)
            self.stopped = True
            say(f"Redis stands still for {OUTAGE_SECONDS:.0f} seconds; feeds keep their order meanwhile.")

    def end(self) -> None:
        """Let it go on in any case."""
        os.kill(self.process, signal.SIGCONT)


def main(
    seconds: Annotated[float, typer.Option(min=0, help="How long; 0: until Ctrl-C.")] = 0,
    rate: Annotated[float, typer.Option(min=0.1, help="Visits a second.")] = 20,
    port: Annotated[int, typer.Option(help="The port of the application.")] = 6570,
    outage: Annotated[float, typer.Option(help="Seconds until Redis stands still; below 0: never.")] = 45,
) -> None:
    """Open the newsroom."""
    shutil.rmtree(REPO / "data", ignore_errors=True)
    repo = Repo(REPO)
    say("Declaring the features: feast apply")
    repo.apply()
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as held:
        say("Starting Redis and Kafka")
        held.callback(redis.stop, embedded_folder(repo.store.config))
        _ = repo.redis_address
        address = held.enter_context(Broker(REPO / "data" / "kafka"))
        for topic in TOPICS:
            create_topic(address.address, topic, partitions=2, config={"message.timestamp.type": "LogAppendTime"})
        say("Starting the stream, the application and the learner")
        with ExitStack() as parts:
            parts.enter_context(running("stream", "stream", "--kafka", address.address, "--metrics-port", "6571"))
            serving = (
                "serve",
                "--kafka",
                address.address,
                "--port",
                str(port),
                "--settings",
                str(HERE / "settings.toml"),
            )
            parts.enter_context(running("serve", *serving))
            parts.enter_context(running("learn", "learn", "--metrics-port", "6572"))
            client = Client(url, address.address)
            until("The application", client.ready)
            say(f"The newsroom is open: {url}")
            newsroom, stood = Newsroom(client.rank, client.send), Outage(repo, outage if outage >= 0 else None)
            parts.callback(stood.end)

            def wait(pause: float) -> None:
                stood.happen()
                time.sleep(pause)

            with suppress(KeyboardInterrupt):
                file = REPO / "data" / "simulation.json"
                run(newsroom, seconds=seconds or float("inf"), rate=rate, file=file, wait=wait)
            client.producer.flush(10)
            shown = ", ".join(f"{count:,} {variant}" for variant, count in newsroom.made.items())
            missed = ", ".join(f"{clicks:.0f} {variant}" for variant, clicks in newsroom.missed.items())
            say(f"Closing: {shown} decisions; clicks missed against the best choice: {missed}")
        say("Reading what is left, then the proof: every decision again, bit for bit")
        for words in (
            ("stream", "--kafka", address.address, "--once"),
            ("batch",),
            ("replay", "--since", "2000-01-01"),
        ):
            if subprocess.run(command(*words)).returncode:
                raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
