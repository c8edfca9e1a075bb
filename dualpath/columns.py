"""The columns of the event log: its own, and one for each field, whatever the field's name is."""

from collections.abc import Iterable

EVERY = ("event_id", "event_time", "arrival_time")
"""What every event has, in expressions too, so that no field can be called so."""
OWN = (
    *(*EVERY, "late", "arrival_day", "epoch", "batch", "query"),  # of the log
    *("payload", "reason", "admitted_at"),  # of a micro-batch
)
"""Columns that are not a field's."""


def columns(names: Iterable[str]) -> dict[str, str]:
    """The column of each field by its name: the name itself, or the name and a number if an engine would mix it up.

    Spark and DuckDB do not tell `userId` from `userid`. The first field keeps its name, so one that is declared later
    stands after it.

    >>> columns(["user", "userId", "userid", "late"])
    {'user': 'user', 'userId': 'userId', 'userid': 'userid_2', 'late': 'late_2'}
    """
    found: dict[str, str] = {}
    wanted = list(names)
    # A name that is free is never given to another field.
    taken = {*map(folded, OWN), *map(folded, wanted)}
    free = {folded(name) for name in wanted}.difference(map(folded, OWN))
    for name in wanted:
        column, number = name, 2
        if folded(name) in free:
            free.remove(folded(name))
        else:
            while folded(column) in taken:
                column, number = f"{name}_{number}", number + 1
            taken.add(folded(column))
        found[name] = column
    return found


def folded(name: str) -> str:
    r"""A name without regard to case, at least as loosely as any engine compares names.

    >>> folded("userId") == folded("USERID"), folded("\N{KELVIN SIGN}ey") == folded("key")
    (True, True)
    """
    # As Java's `equalsIgnoreCase`: letter by letter, through upper case.
    return "".join(map(_letter, name.lower()))


def _letter(letter: str) -> str:
    upper = letter.upper() if len(letter.upper()) == 1 else letter
    return upper.lower() if len(upper.lower()) == 1 else upper
