"""`erase`: what is removed of a person, place by place, and what only others can remove."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from dualpath import extras
from dualpath.console import jobs, kafka
from dualpath.console.report import Report, busy, table
from dualpath.erasure import keys
from dualpath.erasure.job import Erased, erase
from dualpath.errors import InputError
from dualpath.plural import plural
from dualpath.repo import Repo


def run(
    repo: Repo,
    words: Sequence[str],
    file: Path | None,
    dry_run: bool,
    bootstrap: str | None,
    options: Sequence[str] | None,
) -> Report:
    """Erase the entities of some `NAME=VALUE` words, and of those in a file."""
    asked = keys.parse([*words, *_lines(file)], keys.known(repo))
    retention = None
    if bootstrap:
        extras.require("kafka")
        from dualpath.runtime import kafka as broker

        client = kafka.client(bootstrap, options)

        def retention(topics: list[str]) -> dict[str, timedelta | None]:
            return broker.retention(client, topics)

    with busy("Looking for what there is" if dry_run else "Erasing"):
        found = erase(repo, asked, partial(jobs.spark, repo), retention=retention, dry_run=dry_run)
    data = {"dry_run": dry_run, "keys": sorted(asked), "anything": found.anything, **asdict(found)}
    return Report(data, _shown(found, dry_run))


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        return [line for line in file.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}); write one NAME=VALUE on each line.") from None


def _shown(found: Erased, dry_run: bool) -> list[Any]:
    shown: list[Any] = []
    names = {"rows": "rows", "files": "files", "keys": "keys", "by_text": "by text alone", "nameless": "made nameless"}
    names = {n: h for n, h in names.items() if n != "nameless" or any(each.nameless for each in found.removed)}
    if found.anything:
        heads = tuple(names.values())
        places = table("there is" if dry_run else "removed", *heads, numbers=heads)
        for each in found.removed:
            counts = [getattr(each, name) for name in names]
            places.add_row(each.place, *(f"{count:,}" if count else "-" for count in counts))
        shown.append(places)
    if found.resumed:
        shown.append("An erasure that was cut off goes on." if dry_run else "An erasure that was cut off has gone on.")
    elif not found.anything:
        shown.append("There is nothing of this.")
    if found.unreadable:
        shown.append(
            f"{plural(found.unreadable, 'dead letter')} could not be read by any decoder and the key's text is not in "
            "them, so nobody can tell whose they are; they stay."
        )
    left = table("out of reach")
    for sentence in found.left:
        left.add_row(sentence)
    return [*shown, left]
