"""What the quality gate found each night, kept as `gate/{day}.json` beside the log, with its page `gate/{day}.html`."""

import json
from collections.abc import Collection, Iterator
from typing import Any

from dualpath.files.durable import write_atomically
from dualpath.files.places import matching
from dualpath.log.storage import Storage

KIND = "gate"


def keep(storage: Storage, day: str, result: dict[str, Any], page: str) -> None:
    """Keep the result of a night's check, and its page, in place of an earlier one of the same day.

    `result` has `passed`, `checked`, `failures` and, as `days`, the number of events of each arrival day.
    """
    folder = storage.folder(KIND)
    write_atomically(folder / f"{day}.html", page)
    write_atomically(folder / f"{day}.json", json.dumps({"day": day, **result}, indent=1, default=str))


def kept(storage: Storage) -> Iterator[dict[str, Any]]:
    """Every night's check, oldest day first, with the path of its `page`."""
    for file in matching(storage.folder(KIND), "????-??-??.json"):
        yield json.loads(file.read_text()) | {"page": str(file.with_name(f"{file.stem}.html"))}


def last(storage: Storage) -> dict[str, Any] | None:
    """The check of the latest day; None: there was none yet."""
    return max(kept(storage), key=lambda each: each["day"], default=None)


def volumes(storage: Storage, before: str) -> list[int]:
    """The number of events of each arrival day with some that has passed its gate before a day, ISO, oldest first."""
    days: dict[str, int] = {}
    for each in kept(storage):
        if each["passed"]:
            days |= each["days"]
    return [rows for day, rows in sorted(days.items()) if day < before and rows]


def forget_values(storage: Storage, days: Collection[str]) -> None:
    """Remove values of rows from the checks of some arrival days: examples, and pages."""
    for each in [*kept(storage)]:
        named = {each["day"], *each.get("days", {})}
        if named.isdisjoint(days) or each.get("erased"):
            continue
        result = {name: value for name, value in each.items() if name not in ("day", "page")}
        result["failures"] = [failure | {"examples": []} for failure in each["failures"]]
        page = "<!doctype html><title>Erased</title><p>Rows of these days were erased, and this page with them.</p>"
        keep(storage, each["day"], result | {"erased": True}, page)
