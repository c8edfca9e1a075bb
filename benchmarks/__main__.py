"""The command: `python -m benchmarks [NAME ...] [--json]`; `BENCHMARKS` has the names."""

import importlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.measure import Figure, table

BENCHMARKS = (
    "serving",
    "http",
    "kernel",
    "texts",
    "known",
    "hindsight",
    "bandit",
    "experiments",
    "evaluation",
    "personalisation",
    "growth",
    "training_sets",
    "nights",
    "freshness",
    "ids",
    "commits",
    "log_compaction",
    "object_store",
    "decoding",
    "parity",
    "status",
    "streaming",
    "capacity",
)


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Which to run; all by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
    rate: Annotated[float, typer.Option(min=100, help="Of freshness: events a second.")] = 2_000,
    seconds: Annotated[float, typer.Option(min=1, help="Of freshness: for how long, after the warm-up.")] = 60,
    users: Annotated[int, typer.Option(min=1, help="Of freshness: of how many users.")] = 10_000,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of freshness and hindsight: a picture, PNG.")
    ] = None,
    events: Annotated[int, typer.Option(min=100_000, help="Of streaming: how many events.")] = 6_000_000,
) -> None:
    """Print every figure beside its peers; a ratio says how many times longer than dualpath a peer takes."""
    unknown = set(names or ()) - set(BENCHMARKS)
    if unknown:
        raise typer.BadParameter(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}.")
    options: dict[str, dict[str, Any]] = {
        "freshness": {"per_second": rate, "seconds": seconds, "users": users, "plot": plot},
        "hindsight": {"plot": plot},
        "streaming": {"events": events},
    }
    found = {
        name: list(importlib.import_module(f"benchmarks.{name}").run(**options.get(name, {})))
        for name in names or BENCHMARKS
    }
    if as_json:
        print(json.dumps({name: [f.to_dict() for f in figures] for name, figures in found.items()}, indent=1))
        return
    every = [each for figures in found.values() for each in figures]
    if timed := [each for each in every if isinstance(each, Figure)]:
        Console().print(table(timed))
    for sheet in every:
        if not isinstance(sheet, Figure):
            Console().print(sheet)


if __name__ == "__main__":
    typer.run(main)
