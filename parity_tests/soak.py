"""`python -m parity_tests.soak --events N`: many events through a real broker while everything is killed by turns.

The stream is the command `dualpath stream`, in a process that is killed and started again; nights run beside it.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import tenacity
import typer
from confluent_kafka import Producer
from pyspark.sql import SparkSession

from dualpath.console.report import Report, bar, busy, finish, table
from dualpath.demo.generate import generate
from dualpath.errors import StateError, UnavailableError
from dualpath.jobs.build import build
from dualpath.jobs.nightly import nightly
from dualpath.log import audit
from dualpath.log.generation import checkpoint
from dualpath.online.connection import embedded_folder
from dualpath.parity.check import check
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.runtime.kafka import Broker, create_topic
from parity_tests import faults
from parity_tests.chaos.__main__ import applied
from parity_tests.conftest import CHECKOUT, SOURCE
from parity_tests.invariants import FIELDS

START = datetime(2020, 1, 1, tzinfo=UTC)
TOPIC, PARTITIONS = "soak", 4
PATIENCE = 1_800
"""Seconds in which the stream must have read on."""
AGAIN, POISON = 0.03, 0.0002
"""Shares of messages that are sent twice, and that are no events."""


class Soak:
    """A shop with a broker; chunk n of the events is its n-th day."""

    def __init__(self, folder: Path, seed: int, chunk: int) -> None:
        self.folder, self.chunk, self.seed, self.draw = folder, chunk, seed, random.Random(seed)
        self.repo = Repo(applied(folder, orders=False))
        self.source, self.storage = self.repo.sources[SOURCE], self.repo.storage(SOURCE)
        self.broker, self.process = Broker(folder / "kafka"), None
        self.sent, self.poison, self.days = 0, 0, 0
        self.faults: Counter[str] = Counter()
        (folder / "sent").mkdir()

    # --- the two ends

    def produce(self) -> None:
        """Send the next day's events, some of them twice and all of them shuffled."""
        start = START + timedelta(days=self.days)
        events = generate(
            users=self.chunk // 50, events=self.chunk, products=500, categories=20,
            start=start, days=1, seed=self.seed + self.days,
        )  # fmt: skip
        pq.write_table(events, self.folder / "sent" / f"{self.days:05d}.parquet")
        lines, random_ = faults.payloads(events), np.random.default_rng(self.seed + self.days)
        lines += [lines[i] for i in random_.integers(0, len(lines), int(AGAIN * len(lines)))]
        broken = [b"no event"] * max(1, int(POISON * len(lines)))
        producer = Producer({"bootstrap.servers": self.broker.address, "enable.idempotence": True, "linger.ms": 20})
        for number in random_.permutation(len(lines) + len(broken)).tolist():
            while True:
                try:
                    producer.produce(TOPIC, lines[number] if number < len(lines) else broken[0])
                    break
                except BufferError:  # as fast as the broker takes them
                    producer.poll(0.1)
        assert producer.flush(300) == 0
        self.sent += len(lines) + len(broken)
        self.poison += len(broken)
        self.days += 1

    def stream(self, *more: str) -> None:
        """Start the stream."""
        words = ["stream", "--repo", self.repo.folder, "--kafka", self.broker.address, "--topic", TOPIC]
        words += ["--interval", "0", "--max-offsets", self.chunk // 2, *more]
        command = [sys.executable, "-m", "dualpath.cli", *map(str, words)]
        with (self.folder / "stream.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=subprocess.STDOUT)

    def read(self) -> int:
        """Rows the stream has finished."""
        return faults.counts(self.repo)["rows_read"]

    def wait(self, rows: int) -> None:
        """Wait until so many rows are read; raises if the stream ends of itself or does not get there."""

        def there() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"the stream has ended: {(self.folder / 'stream.log').read_text()[-2_000:]}")
            return self.read() >= rows

        patiently = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda met: not met),
            stop=tenacity.stop_after_delay(PATIENCE),
            wait=tenacity.wait_fixed(0.2),
        )
        patiently(there)

    # --- what befalls it

    def kill_driver(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.stream()

    def kill_redis(self) -> None:
        faults.kill_redis(self.repo)

    def empty_redis(self) -> None:
        faults.kill_redis(self.repo, kept=False)

    def kill_broker(self) -> None:
        faults.kill_broker(self.broker)
        self.broker.start()

    def lose_checkpoint(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        lost = checkpoint(self.storage, self.storage.reached()[1].query)

        def gone() -> bool:
            """The JVM outlives its driver for a moment, and may write meanwhile."""
            shutil.rmtree(lost, ignore_errors=True)
            return not lost.exists()

        faults.until(gone)
        self.stream("--from-snapshot")

    def inject(self) -> None:
        """One of them, in the middle of what was just sent."""
        kinds: dict[Callable[[], None], int] = {
            self.kill_driver: 4, self.kill_redis: 3, self.empty_redis: 1, self.kill_broker: 2, self.lose_checkpoint: 1,
        }  # fmt: skip
        [fault] = self.draw.choices(list(kinds), list(kinds.values()))
        self.wait(int(self.sent - self.chunk * self.draw.random()))
        fault()
        self.faults[fault.__name__.replace("_", " ")] += 1

    def night(self, spark: SparkSession) -> None:
        """Close the last day that is over; while the stream mends something, or Redis loads, the night is refused."""
        day = date.fromisoformat(max(self.storage.arrival_days())) - timedelta(days=4)
        if day.isoformat() in self.storage.arrival_days():
            try:
                nightly(spark, self.repo, self.source, day)
                self.faults["night"] += 1
            except (StateError, UnavailableError):
                self.faults["night, refused"] += 1

    # --- the end

    def finish(self) -> None:
        """Let the stream read to the end, and stop it as an operator would."""
        self.wait(self.sent)
        self.process.terminate()
        ended = self.process.wait(PATIENCE)
        # One that was killed when all was read may still be starting, and knows of no signal yet.
        assert ended in (0, -signal.SIGTERM), f"a stream that is asked to stop exits with {ended}"

    def wrong(self) -> list[str]:
        """Where the counts, the files, or the events of the log are not what was sent."""
        found, fields = faults.counts(self.repo), ", ".join(FIELDS)
        log = self.storage.paths()
        with duckdb.connect() as connection:
            sent = f"SELECT DISTINCT {fields} FROM read_parquet('{self.folder}/sent/*.parquet')"
            held = f"SELECT {fields} FROM read_parquet({log}, hive_partitioning = false)"
            sides = {"accepted but never sent": (held, sent), "sent but not accepted": (sent, held)}
            sides = {
                name: connection.sql(f"SELECT count(*) FROM (({a}) EXCEPT ALL ({b}))").fetchall()[0][0]
                for name, (a, b) in sides.items()
            }
            [(events,)] = connection.sql(f"SELECT count(*) FROM ({sent})").fetchall()
        right = {"rows_read": self.sent, "dead_letter": self.poison, "accepted": events}
        right["duplicate"] = self.sent - self.poison - events
        wrong = [f"{name} is {found[name]:,}, not {n:,}" for name, n in right.items() if found[name] != n]
        wrong += [f"{count:,} events {name}" for name, count in sides.items() if count]
        return wrong + audit.faults(self.storage, self.storage.accounts(), opened=True)


def main(
    events: Annotated[int, typer.Option(min=10_000, help="How many events at least.")] = 10_000_000,
    chunk: Annotated[int, typer.Option(min=5_000, help="How many of them make a day.")] = 100_000,
    cells: Annotated[int, typer.Option(min=1, help="How many values are compared at least.")] = 200_000,
    seed: Annotated[int, typer.Option(help="What events and faults are drawn from.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Stream events through Kafka while everything is killed by turns; print that each counted once, the same twice."""

    def work() -> Report:
        with busy("Starting Spark"):
            from dualpath.spark.session import session

            spark = session("dualpath soak", cores=2)
        with TemporaryDirectory(prefix="soak-") as folder, bar() as say:
            soak = Soak(Path(folder), seed, chunk)
            try:
                soak.broker.start()
                return run(soak, spark, events, cells, say)
            finally:
                if soak.process and soak.process.poll() is None:
                    os.kill(soak.process.pid, signal.SIGKILL)
                    soak.process.wait()
                soak.broker.stop()
                redis.stop(embedded_folder(soak.repo.store.config))

    raise typer.Exit(0 if finish(work, as_json) else 1)


def run(soak: Soak, spark: SparkSession, events: int, cells: int, say: Callable[[str, int, int], None]) -> Report:
    """The days by turns, and the proof."""
    create_topic(soak.broker.address, TOPIC, partitions=PARTITIONS, config={"message.timestamp.type": "LogAppendTime"})
    began, days = time.monotonic(), -(-events // soak.chunk)
    soak.produce()
    soak.stream()
    for day in range(1, days + 1):
        say("days", day - 1, days)
        soak.inject()
        if day % 2 == 0:
            soak.night(spark)
        if day < days:
            soak.produce()
    soak.finish()
    seconds = time.monotonic() - began
    say("proof", 0, 1)
    wrong = soak.wrong()
    build(spark, soak.repo, soak.source)
    proof = check(Repo(soak.repo.folder), cells=cells, oracle_cells=1_000, seed=soak.seed)
    counts = faults.counts(soak.repo)
    figures: dict[str, Any] = {
        "events": soak.chunk * days,
        "seconds": round(seconds),
        "events/s": round(soak.sent / seconds),
        **{name: counts[name] for name in ("rows_read", "accepted", "duplicate", "dead_letter", "late")},
        "cells": proof.cells,
        "differing": proof.differing + proof.oracle_differing,
    }
    shown = table(*(name.replace("_", " ") for name in figures), numbers=[n.replace("_", " ") for n in figures])
    shown.add_row(*(f"{figure:,}" for figure in figures.values()))
    kinds = table("fault", "times", numbers=("times",))
    for kind, times in sorted(soak.faults.items()):
        kinds.add_row(kind, f"{times:,}")
    passed = proof.passed and not wrong
    data = {"passed": passed, "seed": soak.seed, **figures, "faults": soak.faults}
    return Report(data, [kinds, shown], passed, [*wrong, *proof.examples])


if __name__ == "__main__":
    typer.run(main)
