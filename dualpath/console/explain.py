"""`explain`: why a feature has its value, for one entity at one instant."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from dualpath.console.report import Report, table
from dualpath.errors import InputError
from dualpath.parity.explain import explain
from dualpath.plural import plural
from dualpath.repo import Repo

SHOWN = 20
"""Events that count, or make a difference, of which so many are shown; --json has all."""
NEAREST = 5
"""Rows of each cause that are shown; --json has more."""
COLUMNS = ("event", "happened", "arrived", "batch", "came from", "looked at")


def run(
    repo: Repo, ref: str, entity: Sequence[str], as_of: str, known: str | None = None, against: str | None = None
) -> Report:
    """Explain the feature `ref`, as VIEW:FEATURE, of the entity of some KEY=VALUE; see `dualpath.parity.explain`.

    The report is not ok if it is asked about a value that nothing gives.
    """
    data = explain(repo, ref, _entity(entity), as_of, known, against).to_dict()
    unknown = data["against"] is not None and data["against"]["known"] is None
    return Report(data, shown(data), not unknown, [_nothing(data)] if unknown else [])


def shown(data: Mapping[str, Any]) -> list[RenderableType]:
    """The report for people, of an explanation in its JSON-ready form."""
    who = ", ".join(f"{key}={value}" for key, value in data["entity"].items())
    left = data["window"]["left"]
    counted = data["counted"]
    parts: list[RenderableType] = [
        f"{data['view']}:{data['feature']} of {who} is {data['value']!r}.",
        f"as of   {_short(data['as_of'])}",
        f"known   {_short(data['known'])}",
        f"is      {data['declared']}",
        f"window  {f'({_short(left)}' if left else '(all time'}, {_short(data['window']['right'])}]",
        f"{plural(len(counted), 'event')} of it count{'s' if len(counted) == 1 else ''}"
        + (f", of which these are the last {SHOWN}:" if len(counted) > SHOWN else "."),
    ]
    if counted:
        parts.append(_rows(counted[-SHOWN:]))
    if data["left_out"]:
        totals = ", ".join(f"{each['total']:,} {cause}" for cause, each in data["left_out"].items())
        parts.append(f"Not counted: {totals}. The nearest are:")
        rows = [
            {**row, "cause": cause} for cause, each in data["left_out"].items() for row in each["nearest"][:NEAREST]
        ]
        parts.append(_rows(rows, "cause"))
    if data["against"] and data["against"]["known"]:
        parts += _contrast(data)
    return [*parts, *(f"Note: {note}" for note in data["notes"])]


def _contrast(data: Mapping[str, Any]) -> list[RenderableType]:
    """Why the other answer is another one."""
    other = data["against"]
    said = f"Known {_short(other['known'])}, the value is {other['value']!r}"
    if not other["events"]:
        return [f"{said}, the same bits."]
    rows = [{**row, "cause": f"{row['cause']} ({_short(row['lacked_by'])})"} for row in other["events"]]
    count = f"{plural(len(rows), 'event')} make{'s' if len(rows) == 1 else ''} the difference"
    some = f", of which these are the first {SHOWN}" if len(rows) > SHOWN else ""
    return [f"{said}. {count}{some}:", _rows(rows[:SHOWN], "cause")]


def _nothing(data: Mapping[str, Any]) -> str:
    return (
        f"nothing gives {data['against']['value']!r}: neither the whole log nor what was known after any micro-batch; "
        "so the declaration or the log has changed since, or it is the value of another entity or instant."
    )


def _rows(rows: Sequence[Mapping[str, Any]], *before: str) -> Table:
    made = table(*before, *COLUMNS)
    made.columns[len(before) + COLUMNS.index("happened")].no_wrap = True
    for row in rows:
        values = ", ".join(f"{sql}: {value}" for sql, value in row["values"].items())
        place = "" if row["origin"] is None else f"{row['origin']}:{row['position']}"
        happened, cells = _short(row["event_time"] or ""), [row[name] for name in before]
        seen, batch = row["reason"] or values, ":".join(filter(None, (row.get("source"), row["batch"])))
        made.add_row(*cells, row["event_id"] or "", happened, _arrived(row), batch, place, seen)
    return made


def _arrived(row: Mapping[str, Any]) -> str:
    """When a row arrived, from when it happened.

    >>> _arrived({"event_time": "2026-03-01T12:00:00.000000Z", "arrival_time": "2026-03-01T12:01:30.000000Z"})
    '0:01:30 later'
    """
    if row["event_time"] is None or row["arrival_time"] is None:
        return ""
    happened, arrived = (datetime.fromisoformat(row[name]) for name in ("event_time", "arrival_time"))
    if arrived == happened:
        return "at once"
    return f"{arrived - happened} later" if arrived > happened else f"{happened - arrived} earlier"


def _short(instant: str) -> str:
    """An instant without the zeros of its fraction; any other text as it is.

    >>> _short("2026-03-01T12:00:00.000000Z"), _short("2026-03-01T12:00:00.500000Z"), _short("q1b20")
    ('2026-03-01T12:00:00Z', '2026-03-01T12:00:00.5Z', 'q1b20')
    """
    return f"{instant[:-1].rstrip('0').rstrip('.')}Z" if instant.endswith("Z") else instant


def _entity(given: Sequence[str]) -> dict[str, str]:
    """Join keys and their values, of texts KEY=VALUE."""
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or key in found:
            wrong = f"names {key} again" if key in found else "is not KEY=VALUE"
            raise InputError(f"--entity: '{text}' {wrong}; give each join key once, as --entity user_id=ann.")
        found[key] = value
    return found
