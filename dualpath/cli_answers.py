"""The commands about answers: what a changed declaration makes of them, serving them, that served and training values
agree, what an answer knew, and why two differ."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dualpath.console.command import command
from dualpath.console.options import KafkaOption, KafkaOptions
from dualpath.console.report import Report

if TYPE_CHECKING:
    from dualpath.repo import Repo

app = typer.Typer()
SinceOption = Annotated[
    str, typer.Option(metavar="INSTANT", help="The first instant, ISO-8601, UTC if it has no zone.")
]
ServiceOption = Annotated[str | None, typer.Option(help="A feature service; by default all whose answers are logged.")]


@command(app)
def plan(repo: "Repo") -> Report:
    """Say what the repo's files would make of records and answers if they were applied; change nothing.

    Exits with 1 if `feast apply` will refuse them.
    """
    from dualpath.console import plan

    return plan.run(repo)


@command(app, extra="serving")
def serve(
    repo: "Repo",
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 6570,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TOML file of keys and limits; see docs/serving.md.")
    ] = None,
    kafka: KafkaOption = None,
    kafka_option: KafkaOptions = None,
) -> Report:
    """Serve features over HTTP, to those who have a key, until Ctrl-C.

    A repo with a ranking.yaml also decides, and keeps its decisions in Kafka with --kafka.
    """
    from dualpath.console import kafka as topics
    from dualpath.console import serve

    client = topics.client(kafka, kafka_option) if kafka else None
    return serve.run(repo, host=host, port=port, settings=settings, kafka=client)


@command(app, extra="serving")
def learn(
    repo: "Repo",
    once: Annotated[bool, typer.Option("--once", help="End when all of the log is learned.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How often to look.")] = 1.0,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, metavar="N", help="Serve metrics to Prometheus there; 0: any port.")
    ] = None,
) -> Report:
    """Learn from the log what came of decisions, and publish the policies, until Ctrl-C."""
    from dualpath.console import learn

    return learn.run(repo, every=None if once else interval, metrics_port=metrics_port)


@command(app, extra="serving")
def experiment(repo: "Repo") -> Report:
    """Say what the experiment of the ranking shows: with a covariate, and for any number of looks."""
    from dualpath.console import experiment

    return experiment.run(repo)


@command(app, extra="serving")
def replay(repo: "Repo", since: SinceOption) -> Report:
    """Make decisions of the log again, and compare every bit; and learn again what they have taught."""
    from dualpath.console import learn

    return learn.replayed(repo, since)


@command(app)
def parity(
    repo: "Repo",
    cells: Annotated[int, typer.Option(min=1, help="How many values to compare at least.")] = 100_000,
    oracle_cells: Annotated[int, typer.Option(min=0, help="How many of them to hold against the oracle.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Which entities and instants are asked for.")] = 0,
) -> Report:
    """Compare served values with training values, bit by bit, and a sample with a naive oracle."""
    from dualpath.console import jobs

    return jobs.parity(repo, cells=cells, oracle_cells=oracle_cells, seed=seed)


@command(app)
def audit(repo: "Repo", since: SinceOption, service: ServiceOption = None) -> Report:
    """Derive every logged answer again from what it knew, and compare the bits.

    Exits with 1 if one differs, or does not say what it knew.
    """
    from dualpath.console import audit

    return audit.run(repo, since, service)


@command(app)
def explain(
    repo: "Repo",
    feature: Annotated[str, typer.Argument(metavar="VIEW:FEATURE")],
    entity: Annotated[list[str], typer.Option(metavar="KEY=VALUE", help="A join key; once for each of the view.")],
    as_of: Annotated[str, typer.Option(metavar="INSTANT", help="The instant of the answer, ISO-8601.")],
    known: Annotated[
        str | None,
        typer.Option(metavar="INSTANT|TOKEN", help="What the answer knew: by when events had arrived, or its token."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="final|INSTANT|TOKEN|value:JSON", help="Another knowledge, or the value that was seen."),
    ] = None,
) -> Report:
    """Say which events make a value, which do not count and why; with --against, what makes the difference."""
    from dualpath.console import explain

    return explain.run(repo, feature, entity, as_of, known, against)


@command(app)
def drift(
    repo: "Repo",
    since: SinceOption,
    until: Annotated[str | None, typer.Option(metavar="INSTANT", help="The first instant that does not count.")] = None,
    service: ServiceOption = None,
    training: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A training set as Parquet; by default what was served, known in full."),
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the figures there too, in the text format of Prometheus.")
    ] = None,
) -> Report:
    """Compare the distributions of served and training values, and name what makes them differ."""
    from dualpath.console import drift

    return drift.run(repo, since, until, service, training, metrics)
