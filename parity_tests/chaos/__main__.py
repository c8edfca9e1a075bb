"""`python -m parity_tests.chaos`: play the schedule of a seed and print its certificate."""

import os
import shutil
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from dualpath.console.report import Report, busy, finish, table
from dualpath.files.places import place
from dualpath.repo import Repo
from dualpath.runtime import jars
from parity_tests.chaos.orders import declare
from parity_tests.chaos.schedule import FILE, IN_STORE, Action, Outcome, drawn, search
from parity_tests.conftest import CHECKOUT
from parity_tests.startup.s3 import BUCKET, Server


def main(
    seed: Annotated[int, typer.Option(help="What the schedule is drawn from.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="How many actions.")] = 60,
    kafka: Annotated[bool, typer.Option("--kafka", help="Through a real broker instead of a folder.")] = False,
    s3: Annotated[bool, typer.Option("--s3", help="With all data in an S3 server instead of a folder.")] = False,
    actions: Annotated[str, typer.Option(help="These actions, as a failure prints them, instead of a seed's.")] = "",
    whole: Annotated[bool, typer.Option("--whole", help="Do not cut a failing schedule down.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Break everything in an order drawn from a seed, and print that no row was lost and no bit differs."""

    def work() -> Report:
        with ExitStack() as held:
            folder, data = Path(held.enter_context(TemporaryDirectory())), ""
            if s3:
                server = held.enter_context(Server(folder / "s3"))
                os.environ.update(server.environ)
                data = f"s3://{BUCKET}/{IN_STORE}"
            return played(folder, data)

    def played(folder: Path, data: str) -> Report:
        with busy("Starting Spark"):
            from dualpath.spark.session import session

            conf = jars.settings(os.environ) if kafka else None
            spark = session("dualpath chaos", cores=2, conf=conf, data=place(data))
        schedule = list(map(Action.read, actions.split())) or drawn(seed, steps, kafka=kafka)
        began = time.monotonic()
        repo = applied(folder, data=data)
        outcome = search(spark, repo, schedule, kafka=kafka, whole=whole, say=progress)
        seconds = time.monotonic() - began
        data = {"passed": True, "seed": seed, "seconds": round(seconds, 1), **asdict(outcome), "differing": 0}
        return Report(data, shown(outcome, seed, seconds))

    raise typer.Exit(0 if finish(work, as_json) else 1)


def progress(action: str, done: int, total: int) -> None:
    """A line for each action: a schedule takes minutes."""
    print(f"{done}/{total} {action}", file=sys.stderr, flush=True)


def applied(folder: Path, *, orders: bool = True, data: str = "") -> Path:
    """A copy of the feature repo, with or without the orders, applied; `data` is where it keeps its data, if not in the
    folder."""
    copied = folder / "feature_repo"
    shutil.copytree(CHECKOUT / "feature_repo", copied, ignore=shutil.ignore_patterns("data", "__pycache__"))
    if orders:
        declare(copied)
    if data:
        settings = copied / FILE
        settings.write_text(settings.read_text().replace("  path: data\n", f"  path: {data}\n"))
    Repo(copied).apply()
    return copied


def shown(outcome: Outcome, seed: int, seconds: float) -> list[object]:
    """The certificate as it is printed."""
    kinds = table("action", "times", numbers=("times",))
    for kind, times in sorted(outcome.actions.items()):
        kinds.add_row(kind.replace("_", " "), f"{times:,}")
    heads = ("rows", "accepted", "duplicate", "dead letter", "cells", "differing")
    rows = table(*heads, numbers=heads)
    numbers = (outcome.rows, outcome.accepted, outcome.duplicate, outcome.dead_letter, outcome.cells, 0)
    rows.add_row(*(f"{number:,}" for number in numbers))
    return [
        kinds,
        rows,
        f"Seed {seed}, {outcome.actions.total()} actions in {seconds:.0f} s: every row has one outcome.",
    ]


if __name__ == "__main__":
    typer.run(main)
