"""The options that several commands share."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

RepoOption = Annotated[
    Path | None,
    typer.Option("--repo", metavar="DIR", help="The feature repo; by default ./feature_repo or the current folder."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object; everything else goes to stderr.")]
SourceOption = Annotated[str | None, typer.Option("--source", metavar="NAME", help="The event source meant.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", envvar="DUALPATH_DATA", help="The folder of the datasets.")
]
KafkaOption = Annotated[str | None, typer.Option("--kafka", metavar="HOST:PORT,...", help="Kafka's bootstrap servers.")]
KafkaOptions = Annotated[
    list[str] | None,
    typer.Option("--kafka-option", metavar="NAME=VALUE", help="A setting of Kafka's client, as for TLS; repeatable."),
]
InputsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE|FOLDER|PATTERN|DATASET",
        help="Files of .jsonl, .ndjson, .json, .csv or .tsv, all also as .gz or .zst, .parquet or .avro; Delta tables; "
        "or a dataset.",
    ),
]
DelimiterOption = Annotated[
    str | None,
    typer.Option(
        metavar="CHAR",
        parser=lambda text: text.replace(r"\t", "\t"),
        help=r"Between cells of CSV, such as ';' or '\t'; by default a comma, in .tsv a tab.",
    ),
]
QuoteOption = Annotated[str, typer.Option(metavar="CHAR", help="Around cells of CSV; '' if quotes mean nothing there.")]
NullOption = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help="A cell of CSV that is missing, instead of the empty one; repeatable."),
]
EncodingOption = Annotated[str, typer.Option(metavar="NAME", help="The encoding of CSV.")]


def day(text: str | date) -> date:
    """A day: `2026-03-04`, or `today` or `yesterday`, UTC; an option's default comes as the date it is."""
    if isinstance(text, date):
        return text
    today = datetime.now(UTC).date()
    relative = {"today": today, "yesterday": today - timedelta(days=1)}
    try:
        return relative.get(text) or datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise typer.BadParameter(f"'{text}' is no day; write it as 2026-03-04, or say today or yesterday.") from None


DAY: dict[str, Any] = {"metavar": "YYYY-MM-DD", "parser": day}
