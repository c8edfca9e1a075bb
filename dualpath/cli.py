"""The command line. Each command is its options and a call of `dualpath.console`; `command` adds `--repo` and `--json`.

Spark, Feast and Great Expectations are imported by the commands that need them, so that help is instant.
"""

from datetime import UTC, date, datetime, time, timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dualpath import cli_answers, cli_data
from dualpath.console import options, repos
from dualpath.console.command import command
from dualpath.console.options import DAY, DataOption, JsonOption, KafkaOption, KafkaOptions, SourceOption
from dualpath.console.report import Report
from dualpath.errors import InputError

if TYPE_CHECKING:
    from dualpath.repo import Repo

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A feature store on Feast and Spark whose training sets and served values are the same bits.",
)


def main() -> None:
    """The console script."""
    app()


def shown_version(asked: bool) -> None:
    """Say the version and end."""
    if asked:
        print(f"dualpath {metadata.version('dualpath')}")
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=shown_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What every command has before its name."""


@command(app, extra="demo", opens=False)
def demo(
    folder: Path | None,
    fresh: Annotated[
        bool | None,
        typer.Option(
            "--fresh/--keep",
            help="Delete the repo's data first, or go on with it; by default only a demo's own data is deleted.",
        ),
    ] = None,
    cells: Annotated[int, typer.Option(min=1, help="How many values the parity check compares at least.")] = 120_000,
    data: DataOption = None,
    kafka: Annotated[bool, typer.Option("--kafka", help="With a real Kafka broker before the stream.")] = False,
) -> Report:
    """Show the whole platform at work on a shop's events: declare, stream, publish, serve, train, prove.

    Where there is no feature repo, the demo's own is written to ./feature_repo.
    """
    repo = repos.opened(folder or repos.made())
    from dualpath.console import demo

    return demo.run(repo, fresh=fresh, cells=cells, data=data, kafka=kafka)


@command(app)
def generate(
    repo: "Repo",
    source: SourceOption = None,
    events: Annotated[int, typer.Option(help="How many events.")] = 10_000,
    users: Annotated[int, typer.Option(help="Of how many users.")] = 500,
    days: Annotated[int, typer.Option(help="Over how many days.")] = 7,
    seed: Annotated[int, typer.Option(help="One seed gives the same events every time.")] = 0,
    start: Annotated[date, typer.Option(**DAY, help="The first day, UTC.")] = date(2026, 3, 2),
) -> Report:
    """Write generated shop events into the landing folder."""
    from dualpath.console import land

    chosen, first = repos.source(repo, source), datetime.combine(start, time(), UTC)
    return land.generate(repo, chosen, events=events, users=users, days=days, seed=seed, start=first)


@command(app)
def ingest(
    repo: "Repo",
    what: options.InputsArgument,
    source: SourceOption = None,
    delimiter: options.DelimiterOption = None,
    quote: options.QuoteOption = '"',
    null: options.NullOption = None,
    encoding: options.EncodingOption = "utf-8",
    data: DataOption = None,
) -> Report:
    """Copy the events of files, or of a dataset, into the landing folder; all of them or none.

    Lines of JSON travel as they are; the stream keeps broken ones, and broken rows of CSV, in the dead-letter table.
    A folder means the files in it and below, without those whose names begin with a dot or an underscore.
    """
    from dualpath.console import land
    from dualpath.sources.delimited import Dialect

    dialect = Dialect(delimiter, quote, tuple(null or [""]), encoding)
    return land.ingest(repo, repos.source(repo, source), what, data, dialect)


@command(app, extra="spark")
def stream(
    repo: "Repo",
    source: SourceOption = None,
    once: Annotated[bool, typer.Option("--once", help="End when everything that is there is read.")] = False,
    interval: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How often to look for new events.")] = 1.0,
    files_per_batch: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many files a batch.")] = 16,
    kafka: KafkaOption = None,
    topic: Annotated[
        str | None, typer.Option(metavar="NAME", help="The Kafka topic to read; else each source's, by its name.")
    ] = None,
    topic_pattern: Annotated[str | None, typer.Option(metavar="REGEX", help="Every topic of such a name.")] = None,
    kafka_option: KafkaOptions = None,
    max_offsets: Annotated[int | None, typer.Option(min=1, help="At most so many messages a batch.")] = None,
    starting_timestamp: Annotated[
        datetime | None, typer.Option(help="Where the first start begins, UTC; else at the earliest message.")
    ] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on though Kafka has deleted messages that were not read.")
    ] = False,
    from_snapshot: Annotated[
        bool,
        typer.Option("--from-snapshot", help="Fill the online store from the log first, and begin a new checkpoint."),
    ] = False,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, metavar="N", help="Serve metrics to Prometheus there; 0: any port.")
    ] = None,
) -> Report:
    """Read landed events, or with --kafka those of topics, into the event log and the online store.

    It runs until Ctrl-C or, with --once, to the end of what is there. After changing features, or if the checkpoint
    was lost, start with --from-snapshot.
    """
    from dualpath.console import kafka as topics
    from dualpath.console import stream

    every = None if once else timedelta(seconds=interval)
    # One topic is of one source; without its name, each source has the topic of its own name.
    chosen = [repos.source(repo, source)] if topic or topic_pattern else repos.sources(repo, source)
    payloads = topics.payloads(
        kafka,
        [each.name for each in chosen],
        topic=topic,
        pattern=topic_pattern,
        options=kafka_option,
        offsets_per_batch=max_offsets,
        starting_timestamp=starting_timestamp,
        accept_loss=accept_loss,
    )
    inputs: stream.Inputs
    if payloads is None:
        inputs = stream.landed(repo, repos.sources(repo, source), files_per_batch)
    else:
        inputs = [*zip(chosen, payloads, strict=True)]
    return stream.run(repo, inputs, interval=every, from_snapshot=from_snapshot, metrics_port=metrics_port)


@command(app, extra="kafka")
def produce(
    repo: "Repo",
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .jsonl file of events.")],
    kafka: Annotated[str, typer.Option("--kafka", metavar="HOST:PORT,...", help="Kafka's bootstrap servers.")],
    topic: Annotated[str, typer.Option(metavar="NAME", help="The topic to write; it must be there.")],
    source: SourceOption = None,
    rate: Annotated[float | None, typer.Option(min=0.001, metavar="N", help="Events a second.")] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.001, metavar="X", help="At the events' own pace, X times as fast.")
    ] = None,
    kafka_option: KafkaOptions = None,
) -> Report:
    """Send the events of a file to a Kafka topic; as fast as it takes them unless told a pace.

    The lines travel as they are; the stream keeps broken ones in the dead-letter table.
    """
    from dualpath.console import kafka as topics
    from dualpath.console import produce

    chosen, client = repos.source(repo, source), topics.client(kafka, kafka_option)
    return produce.produce(repo, chosen, file, topic, client, per_second=rate, speed=speed)


@command(app, extra="spark")
def batch(
    repo: "Repo",
    source: SourceOption = None,
    through: Annotated[
        date | None,
        typer.Option(**DAY, help="The last arrival day to build; all of them."),
    ] = None,
) -> Report:
    """Bring the record files, which training sets read, up to date with the event log."""
    from dualpath.console import jobs

    chosen = repos.sources(repo, source)
    return jobs.batch(jobs.spark(repo), repo, chosen, through)


@command(app, extra="gate")
def nightly(
    repo: "Repo",
    day: Annotated[
        date,
        typer.Option("--date", **DAY, help="The arrival day to close, UTC; also yesterday or today."),
    ],
    source: SourceOption = None,
) -> Report:
    """Close an arrival day: check its events, build its records, publish the snapshot that serving reads.

    If the quality gate refuses the day, nothing is built or published.
    """
    from dualpath.console import jobs

    return jobs.nightly(jobs.spark(repo), repo, repos.sources(repo, source), day)


@command(app, opens=False)
def declare(
    folder: Path | None,
    sql: Annotated[Path, typer.Option("--sql", metavar="FILE", help="The CREATE SOURCE and the query.")],
) -> Report:
    """Turn a streaming SQL query into a feature repo, and refuse by name what cannot be declared."""
    from dualpath.console import declare

    return declare.run(sql, folder or Path("feature_repo"))


@command(app)
def catalogue(
    repo: "Repo",
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write it there, as Markdown, instead of showing it."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if the file is not what would be written.")
    ] = False,
) -> Report:
    """Describe every feature of the repo: what it is, its window, its type, its empty value and what it costs."""
    from dualpath.console import catalogue

    return catalogue.run(repo, output, check)


@command(app)
def status(
    repo: "Repo",
    watch: Annotated[bool, typer.Option("--watch", help="Show the running stream's numbers until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How often --watch looks.")] = 1.0,
    files: Annotated[bool, typer.Option("--files", help="Open all files, not only the latest batches'.")] = False,
    as_json: JsonOption = False,
) -> Report:
    """Account for every row ever read, and say whether the counts add up with the files.

    With --watch, show instead what the running stream says of itself: rates, lag, durations, freshness.
    """
    if watch and as_json:
        raise InputError("--watch is for people and --json for programs; leave one of them out.")
    from dualpath.console import live, status

    if watch:
        live.watch(repo, interval=interval)
        return Report({})
    return status.report(repo, files=files)


@command(app, opens=False)
def doctor(folder: Path | None) -> Report:
    """Look at what dualpath needs from the machine: what is there, what is missing, what to do."""
    from dualpath.console import environment

    return environment.doctor(repos.folder(folder) if folder else repos.here())


@command(app)
def stop(repo: "Repo") -> Report:
    """End the repo's embedded Redis; its data stays."""
    from dualpath.console import environment

    return environment.stop(repo)


app.registered_commands += cli_answers.app.registered_commands + cli_data.app.registered_commands

if __name__ == "__main__":
    main()
