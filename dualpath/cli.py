"""The command line. Every command takes `--repo` and `--json`; what it does is in `dualpath.console`.

Spark, Feast and Great Expectations are imported by the commands that need them, so that help is instant.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from dualpath.console import repos
from dualpath.console.report import Report, finish

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A feature store on Feast and Spark whose training sets and served values are the same bits.",
)

RepoOption = Annotated[
    Path | None,
    typer.Option("--repo", metavar="DIR", help="The feature repo; by default ./feature_repo or the current folder."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object; everything else goes to stderr.")]
SourceOption = Annotated[str | None, typer.Option("--source", metavar="NAME", help="The event source meant.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", envvar="DUALPATH_DATA", help="The folder of the datasets.")
]
DAY: dict[str, Any] = {"metavar": "YYYY-MM-DD", "formats": ["%Y-%m-%d"]}


def main() -> None:
    """The console script."""
    app()


def report(work: Callable[[], Report], as_json: bool) -> None:
    """Do a command's work, say what came out, and exit with 0 or 1."""
    raise typer.Exit(0 if finish(work, as_json) else 1)


@app.command()
def demo(
    repo: RepoOption = None,
    as_json: JsonOption = False,
    fresh: Annotated[
        bool | None,
        typer.Option(
            "--fresh/--keep",
            help="Delete the repo's data first, or go on with it; by default only a demo's own data is deleted.",
        ),
    ] = None,
    cells: Annotated[int, typer.Option(min=1, help="How many values the parity check compares at least.")] = 120_000,
    data: DataOption = None,
) -> None:
    """Show the whole platform at work on a shop's events: declare, stream, publish, serve, train, prove."""

    def work() -> Report:
        opened = repos.opened(repo)
        from dualpath.console import demo

        return demo.run(opened, fresh=fresh, cells=cells, data=data)

    report(work, as_json)


@app.command()
def generate(
    repo: RepoOption = None,
    as_json: JsonOption = False,
    source: SourceOption = None,
    events: Annotated[int, typer.Option(help="How many events.")] = 10_000,
    users: Annotated[int, typer.Option(help="Of how many users.")] = 500,
    days: Annotated[int, typer.Option(help="Over how many days.")] = 7,
    seed: Annotated[int, typer.Option(help="One seed gives the same events every time.")] = 0,
    start: Annotated[datetime, typer.Option(**DAY, help="The first day, UTC.")] = datetime(2026, 3, 2),
) -> None:
    """Write generated shop events into the landing folder."""

    def work() -> Report:
        opened = repos.opened(repo)
        from dualpath.console import land

        chosen, first = repos.source(opened, source), start.replace(tzinfo=UTC)
        return land.generate(opened, chosen, events=events, users=users, days=days, seed=seed, start=first)

    report(work, as_json)


@app.command()
def ingest(
    what: Annotated[str, typer.Argument(metavar="FILE|DATASET", help="A .jsonl, .parquet or .csv file, or a dataset.")],
    repo: RepoOption = None,
    as_json: JsonOption = False,
    source: SourceOption = None,
    data: DataOption = None,
) -> None:
    """Copy the events of a file or a dataset into the landing folder.

    The lines of a .jsonl file travel as they are; the stream keeps broken ones in the dead-letter table.
    """

    def work() -> Report:
        opened = repos.opened(repo)
        from dualpath.console import land

        return land.ingest(opened, repos.source(opened, source), what, data)

    report(work, as_json)


@app.command()
def stream(
    repo: RepoOption = None,
    as_json: JsonOption = False,
    source: SourceOption = None,
    once: Annotated[bool, typer.Option("--once", help="End when everything that has landed is read.")] = False,
    interval: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How often to look for new events.")] = 1.0,
    files_per_batch: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many files a batch.")] = 16,
) -> None:
    """Read landed events into the event log and the online store, until Ctrl-C or, with --once, to their end."""

    def work() -> Report:
        opened = repos.opened(repo)
        from dualpath.console import stream

        every = None if once else timedelta(seconds=interval)
        return stream.run(opened, repos.sources(opened, source), interval=every, files_per_batch=files_per_batch)

    report(work, as_json)


@app.command()
def batch(
    repo: RepoOption = None,
    as_json: JsonOption = False,
    source: SourceOption = None,
    through: Annotated[
        datetime | None,
        typer.Option(**DAY, help="The last arrival day to build; all of them."),
    ] = None,
) -> None:
    """Bring the record files, which training sets read, up to date with the event log."""

    def work() -> Report:
        opened = repos.opened(repo)
        from dualpath.console import work

        chosen = repos.sources(opened, source)
        return work.batch(work.spark(), opened, chosen, through.date() if through else None)

    report(work, as_json)


@app.command()
def nightly(
    day: Annotated[
        datetime,
        typer.Option("--date", **DAY, help="The arrival day to close, UTC."),
    ],
    repo: RepoOption = None,
    as_json: JsonOption = False,
    source: SourceOption = None,
) -> None:
    """Close an arrival day: check its events, build its records, publish the snapshot that serving reads.

    If the quality gate refuses the day, nothing is built or published.
    """

    def work() -> Report:
        opened = repos.opened(repo)
        from dualpath.console import work

        return work.nightly(work.spark(), opened, repos.sources(opened, source), day.date())

    report(work, as_json)


@app.command()
def parity(
    repo: RepoOption = None,
    as_json: JsonOption = False,
    cells: Annotated[int, typer.Option(min=1, help="How many values to compare at least.")] = 100_000,
    oracle_cells: Annotated[int, typer.Option(min=0, help="How many of them to hold against the oracle.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Which entities and instants are asked for.")] = 0,
) -> None:
    """Compare served values with training values, bit by bit, and a sample with a naive oracle."""

    def work() -> Report:
        opened = repos.opened(repo)
        from dualpath.console import work

        return work.parity(opened, cells=cells, oracle_cells=oracle_cells, seed=seed)

    report(work, as_json)


@app.command()
def catalogue(
    repo: RepoOption = None,
    as_json: JsonOption = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write it there, as Markdown, instead of showing it."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if the file is not what would be written.")
    ] = False,
) -> None:
    """Describe every feature of the repo: what it is, its window, its type, its empty value and what it costs."""

    def work() -> Report:
        opened = repos.opened(repo)
        from dualpath.console import catalogue

        return catalogue.run(opened, output, check)

    report(work, as_json)


@app.command()
def status(repo: RepoOption = None, as_json: JsonOption = False) -> None:
    """Account for every row ever read, and say whether the counts add up with the files."""

    def work() -> Report:
        opened = repos.opened(repo)
        from dualpath.console import status

        return status.report(opened)

    report(work, as_json)


@app.command()
def doctor(repo: RepoOption = None, as_json: JsonOption = False) -> None:
    """Look at what dualpath needs from the machine: what is there, what is missing, what to do."""

    def work() -> Report:
        from dualpath.console import machine

        return machine.doctor(repos.folder(repo) if repo else repos.here())

    report(work, as_json)


@app.command()
def stop(repo: RepoOption = None, as_json: JsonOption = False) -> None:
    """End the repo's embedded Redis; its data stays."""

    def work() -> Report:
        opened = repos.opened(repo)
        from dualpath.console import machine

        return machine.stop(opened)

    report(work, as_json)


if __name__ == "__main__":
    main()
