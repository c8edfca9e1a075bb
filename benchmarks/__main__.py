"""The command: `python -m benchmarks [serving|kernel ...] [--json]`."""

import importlib
import json
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.measure import table

BENCHMARKS = ("serving", "kernel")


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which to run: serving, kernel; all if none is named.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Print every figure beside its peers; a ratio says how many times longer than dualpath a peer takes."""
    unknown = set(names or ()) - set(BENCHMARKS)
    if unknown:
        raise typer.BadParameter(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}.")
    found = {name: list(importlib.import_module(f"benchmarks.{name}").run()) for name in names or BENCHMARKS}
    if as_json:
        print(json.dumps({name: [f.to_dict() for f in figures] for name, figures in found.items()}, indent=1))
    else:
        Console().print(table(figure for figures in found.values() for figure in figures))


if __name__ == "__main__":
    typer.run(main)
