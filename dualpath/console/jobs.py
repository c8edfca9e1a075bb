"""`batch`, `nightly` and `parity`: the jobs, started by hand or by a scheduler."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Any

from dualpath.console.report import CHECK_FAILED, Report, bar, busy, table
from dualpath.errors import DualpathError
from dualpath.offline.history import History, view_version
from dualpath.plural import plural
from dualpath.repo import Repo
from dualpath.schema import EventSource

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from dualpath.jobs.nightly import Night
    from dualpath.parity.check import Certificate


def spark(repo: Repo) -> "SparkSession":
    """Start the Spark session that reads a repo's data, or take the one that runs."""
    with busy("Starting Spark"):
        from dualpath.jobs.session import session_of

        return session_of(repo, "dualpath")


def batch(spark: "SparkSession", repo: Repo, sources: Sequence[EventSource], through: date | None) -> Report:
    """Bring the record files of the sources up to date."""
    from dualpath.jobs.build import build

    data: dict[str, Any] = {}
    shown: list[str] = []
    for source in sources:
        with busy(f"Building the record files of {source.name}"):
            built = build(spark, repo, source, through)
        files = sum(len(History(repo.root).paths(view_version(view))) for view in repo.views_of(source.name))
        data[source.name] = {"built": built, "files": files}
        shown.append(f"{source.name}: {_built(repo, source, built, files)}")
    return Report({"sources": data}, shown)


def _built(repo: Repo, source: EventSource, built: Sequence[str], files: int) -> str:
    if not repo.storage(source.name).arrival_days():
        return "the log holds no events yet; run `dualpath stream --once`."
    if not built:
        return f"up to date, {plural(files, 'file')}."
    return f"{days(built)} built; the records are in {plural(files, 'file')}."


def days(arrival_days: Sequence[str]) -> str:
    """Arrival days as words.

    >>> days(["2026-03-01"]), days(["2026-03-01", "2026-03-02"])
    ('arrival day 2026-03-01', '2 arrival days, 2026-03-01 to 2026-03-02,')
    """
    if len(arrival_days) == 1:
        return f"arrival day {arrival_days[0]}"
    return f"{plural(len(arrival_days), 'arrival day')}, {arrival_days[0]} to {arrival_days[-1]},"


def nightly(spark: "SparkSession", repo: Repo, sources: Sequence[EventSource], day: date) -> Report:
    """Run the nightly job of every source; one that is refused does not stop the others."""
    with busy("Loading the quality gate"):
        from dualpath.jobs.nightly import nightly as night

    nights: list[Night] = []
    refused: list[DualpathError] = []
    for source in sources:
        try:
            with busy(f"The night of {source.name}: gate, records, snapshot"):
                nights.append(night(spark, repo, source, day))
        except DualpathError as error:
            refused.append(error)
    data = {"day": day.isoformat(), "sources": {n.source: _night(n) for n in nights}}
    shown = [_nights(nights)] if nights else []
    shown += [f"{n.source}: nothing arrived on {day}; the snapshot goes on to it." for n in nights if n.quiet]
    code = refused[0].code if refused else CHECK_FAILED
    return Report(data, shown, not refused, [error.message for error in refused], code)


def _night(night: "Night") -> dict[str, Any]:
    return {
        "quiet": night.quiet,
        "checked": night.gate.checked,
        "built": night.built,
        "published": {p.view: {k: v for k, v in asdict(p).items() if k != "view"} for p in night.published},
    }


def _nights(nights: "Sequence[Night]") -> Any:
    numbers = ("rows checked", "days built", "records", "entities")
    shown = table("source", "gate", *numbers[:2], "view", *numbers[2:], "snapshot", numbers=numbers)
    for night in nights:
        left = [night.source, "passed", f"{night.gate.checked:,}", f"{len(night.built):,}"]
        for each in night.published:
            now = f"{each.day} now" if each.changed else "as before"
            right = (f"{each.records:,}", f"{each.entities:,}") if each.changed else ("-", "-")
            shown.add_row(*left, each.view, *right, now)
            left = [""] * 4
    return shown


def parity(repo: Repo, *, cells: int, oracle_cells: int, seed: int) -> Report:
    """Compare served with training values, and a sample with the oracle."""
    from dualpath.parity.check import check

    with bar() as progress:
        found = check(repo, cells=cells, oracle_cells=oracle_cells, seed=seed, progress=progress)
    return Report({"passed": found.passed, **asdict(found)}, _verdict(found), found.passed, _differences(found))


def _verdict(found: "Certificate") -> list[Any]:
    shown = table("view", "feature", "cells", "differing", numbers=("cells", "differing"))
    for row in found.rows:
        shown.add_row(row.view, row.feature, f"{row.cells:,}", f"{row.differing:,}")
    if not found.passed:
        return [shown]
    return [
        shown,
        f"Passed: {found.cells:,} served values are the bits of the training values, "
        f"{found.oracle_cells:,} of them also the oracle's (seed {found.seed}).",
    ]


def _differences(found: "Certificate") -> list[str]:
    if found.passed:
        return []
    said = (
        f"{found.differing:,} of {found.cells:,} served values differ from the training values, and "
        f"{found.oracle_differing:,} of {found.oracle_cells:,} from the oracle's."
    )
    return [said, *found.examples]
