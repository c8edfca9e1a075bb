"""The columns of the event log: its own, and one for each field, whatever the field's name is."""

import keyword

from dualpath.errors import DeclarationError

EVERY = ("event_id", "event_time", "arrival_time")
"""What every event has, in expressions too, so that no field can be called so."""
OWN = (
    *(*EVERY, "late", "arrival_day", "epoch", "batch", "query", "outcome", "account"),  # of the log
    *("payload", "reason", "admitted_at"),  # of a micro-batch
)
"""Columns that are not a field's."""
APART = "field-"
"""Before the name of a field whose column would be one of `OWN`; no field's name has a hyphen."""


def column(name: str) -> str:
    """The column of a field, by its name alone, so that no other field of a later declaration can take it over.

    >>> column("userId"), column("late"), column("Batch")
    ('userId', 'field-late', 'field-Batch')
    """
    return f"{APART}{name}" if folded(name) in _FOLDED else name


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


def check_name(name: str, where: str) -> None:
    """Raise `DeclarationError` unless `name` is a plain identifier (it becomes a column and a key).

    >>> check_name("2fast", "view '2fast'")
    Traceback (most recent call last):
    dualpath.errors.DeclarationError: view '2fast': '2fast' is not a plain name; use letters, digits and underscores.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
        raise DeclarationError(f"{where}: '{name}' is not a plain name; use letters, digits and underscores.")


_FOLDED = frozenset(map(folded, OWN))
