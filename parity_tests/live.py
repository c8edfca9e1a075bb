"""`python -m parity_tests.live --seconds N`: audits live traffic. A stream, events of now, and readers that ask at now.

A live server always knows less than the log will. Every answer is logged with what it knew, and derived again when all
is over: the bits must be the same. Without what it knew, some answers must differ, or nothing was shown.
"""

import json
import random
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from dualpath.console.report import Report, busy, finish, table
from dualpath.console.stream import end
from dualpath.errors import StateError
from dualpath.jobs.build import build
from dualpath.jobs.stream import start
from dualpath.online.connection import embedded_folder
from dualpath.parity import audit
from dualpath.parity.compare import differences
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources.directory import Directory
from parity_tests.chaos.__main__ import applied
from parity_tests.conftest import SOURCE, drain

ACTIONS, CATEGORIES = ("view_item", "add_to_cart", "purchase"), ("shoes", "bags", "hats")


@dataclass(frozen=True)
class Live:
    """What was asked, and what came of it: `late_rows` would differ without what they knew."""

    requests: int
    requests_a_second: float
    rows: int
    cells: int
    differing: int
    late_rows: int

    @property
    def passed(self) -> bool:
        """Whether every answer was derived again with its bits, and the knowledge mattered."""
        return self.cells > 0 and not self.differing and self.late_rows > 0


class Traffic:
    """Events of the present, about `users`, that land in a repo."""

    def __init__(self, repo: Repo, users: int, seed: int) -> None:
        self.users, self.draw, self.files = users, random.Random(seed), 0
        self.landing = repo.storage(SOURCE).folder("landing")
        self.landing.mkdir(parents=True, exist_ok=True)

    def land(self, events: int) -> None:
        """Land a file of events that happen now."""
        now = datetime.now(UTC)
        lines = []
        for _ in range(events):
            stamp = (now - timedelta(microseconds=self.draw.randrange(1_000_000))).isoformat()
            action, amount = self.draw.choice(ACTIONS), f"{self.draw.randrange(10_000) / 100:.2f}"
            event = {"user_id": f"u{self.draw.randrange(self.users)}", "action": action, "event_time": stamp}
            event |= {"arrival_time": now.isoformat(), "category": self.draw.choice(CATEGORIES)}
            lines.append(json.dumps(event | {"amount": amount, "order_value": amount, "quantity": 1}))
        staged = self.landing / f".{self.files}"
        staged.write_text("\n".join(lines) + "\n")
        staged.rename(self.landing / f"{self.files:06d}.jsonl")
        self.files += 1


def reader(repo: Repo, requests: int, every: float, users: int, seed: int) -> subprocess.Popen[str]:
    """A process that asks as `parity_tests.live_reader` says."""
    words = (repo.folder, requests, every, users, seed)
    command = [sys.executable, "-m", "parity_tests.live_reader", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def run(
    spark: SparkSession,
    repo: Repo,
    *,
    readers: int,
    every: float,
    interval: timedelta,
    requests: int,
    users: int = 50,
    events: int = 200,
) -> Live:
    """Stream, land a file each `interval`, and let every reader ask `requests` times, each `every` seconds.

    Then derive every answer again.
    """
    traffic, began = Traffic(repo, users, 1), time.time_ns() // 1000
    traffic.land(events)
    drain(spark, repo)
    query = start(spark, repo, repo.sources[SOURCE], Directory(traffic.landing, 1_000), interval=interval)
    with ExitStack() as held:
        held.callback(end, query)
        asking = [held.enter_context(reader(repo, requests, every, users, seed)) for seed in range(readers)]
        while running := [process for process in asking if process.poll() is None]:
            traffic.land(events)
            with suppress(subprocess.TimeoutExpired):
                running[0].wait(interval.total_seconds())
        times = [json.loads(process.communicate()[0] or "null") for process in asking]
    if None in times:
        raise StateError("a reader has failed; its traceback stands above.")
    drain(spark, repo)
    build(spark, repo, repo.sources[SOURCE])
    found, made = audit.audit(repo, began), readers * requests
    rate = made / (max(ended for _, ended in times) - min(first for first, _ in times))
    return Live(made, round(rate, 1), found.rows, found.compared, found.differing, late_rows(repo, began))


def late_rows(repo: Repo, since: int) -> int:
    """How many of the logged rows a training set would have otherwise, without what they knew."""
    [logged] = audit.services(repo)
    late = 0
    for rows in logged.batches(since):
        final = logged.derived(rows, {})
        sides = ({name: side[name].to_pylist() for name in final.column_names} for side in (rows, final))
        late += len({d.row for d in differences(*sides)})
    return late


def main(
    seconds: Annotated[float, typer.Option(min=1, help="How long.")] = 300,
    rate: Annotated[float, typer.Option(min=1, help="Requests a second.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Serve at now while events come, and derive every answer again from what it knew."""

    def work() -> Report:
        with busy("Starting Spark"):
            from dualpath.spark.session import session

            spark = session("dualpath live", cores=2)
        with TemporaryDirectory(prefix="live-") as folder:
            repo, readers = Repo(applied(Path(folder))), 2
            try:
                found = run(
                    spark,
                    repo,
                    readers=readers,
                    every=readers / rate,
                    interval=timedelta(seconds=1),
                    requests=int(seconds * rate / readers),
                    users=500,
                )
            finally:
                redis.stop(embedded_folder(repo.store.config))
        figures = asdict(found)
        shown = table(*(name.replace("_", " ") for name in figures), numbers=[n.replace("_", " ") for n in figures])
        shown.add_row(*(f"{figure:,}" for figure in figures.values()))
        errors = () if found.passed else ("answers were not derived again with their bits, or nothing was late",)
        return Report({"passed": found.passed, **figures}, [shown], found.passed, errors)

    raise typer.Exit(0 if finish(work, as_json) else 1)


if __name__ == "__main__":
    typer.run(main)
