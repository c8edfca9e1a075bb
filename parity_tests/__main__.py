"""`python -m parity_tests`: print the certificate of a seed."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dualpath.console.report import Report, bar, busy, finish, table
from parity_tests.certificate import Certificate, certify


def main(
    seed: Annotated[int, typer.Option(help="What declarations and events are drawn from.")] = 1,
    cases: Annotated[int, typer.Option(min=1, help="Cases for every aggregate and kind of column.")] = 60,
    views: Annotated[int, typer.Option(min=1, help="Declared views, of twenty features each.")] = 20,
    histories: Annotated[int, typer.Option(min=1, help="Histories that every view reads.")] = 300,
    rows: Annotated[int, typer.Option(min=1, help="Entities and instants at which each view is asked.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Draw declarations and events, compute every value on every path, and print that no bit differs."""

    def work() -> Report:
        with busy("Starting Spark"):
            from dualpath.spark.session import session

            spark = session("dualpath parity")
        with tempfile.TemporaryDirectory() as folder, bar() as say:
            sizes = {"cases": cases, "views": views, "histories": histories, "rows": rows}
            found = certify(spark, Path(folder) / "repo", seed=seed, say=say, **sizes)
        return Report({"passed": found.passed, **asdict(found)}, shown(found), found.passed, failures(found))

    raise typer.Exit(0 if finish(work, as_json) else 1)


def shown(found: Certificate) -> list[object]:
    """The certificate as it is printed."""
    numbers = ("cases", "cells", "differing")
    parts = table("part", *numbers, "SHA-256 of the values", numbers=numbers)
    for part in found.parts:
        parts.add_row(part.name, f"{part.cases:,}", f"{part.cells:,}", f"{part.differing:,}", part.digest[:16])
    versions = ", ".join(f"{name} {number}" for name, number in found.versions.items())
    return [parts, f"Seed {found.seed}. {versions}."]


def failures(found: Certificate) -> list[str]:
    """What differs, and a test of it to paste."""
    return [
        f"{part.differing:,} of {part.cells:,} cells of the {part.name} part differ."
        + "".join(f"\n\n{test}" for test in part.failures)
        for part in found.parts
        if part.differing
    ]


if __name__ == "__main__":
    typer.run(main)
