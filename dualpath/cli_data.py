"""The commands that change what is stored: the erasure of a person, and the migration from the previous version."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dualpath.console.command import command
from dualpath.console.options import KafkaOption, KafkaOptions
from dualpath.console.report import Report

if TYPE_CHECKING:
    from dualpath.repo import Repo

app = typer.Typer()


@command(app, extra="spark")
def erase(
    repo: "Repo",
    key: Annotated[
        list[str] | None, typer.Option("--key", metavar="NAME=VALUE", help="A join key and its value; repeatable.")
    ] = None,
    keys_from: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with one NAME=VALUE on each line.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    kafka: KafkaOption = None,
    kafka_option: KafkaOptions = None,
) -> Report:
    """Remove everything of an entity, such as a person, from files and Redis, and rebuild what was computed of it.

    No stream and no night may run. With --kafka it says how long topics keep what they still have.
    """
    from dualpath.console import erase

    return erase.run(repo, key or [], keys_from, dry_run, kafka, kafka_option)


@command(app, extra="spark")
def migrate(repo: "Repo") -> Report:
    """Bring the data of the previous version over; it goes on where it was cut off.

    No stream and no night may run. Nothing is removed before every row and every count was found again.
    """
    from dualpath.console import migrate

    return migrate.run(repo)
