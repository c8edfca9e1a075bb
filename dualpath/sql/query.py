"""What a query declares, in plain data: `read` makes it of SQL, `write` makes a feature repo of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column of the events: its kind is one of `dualpath.kinds`, a decimal has a scale."""

    name: str
    kind: str
    scale: int = 0
    required: bool = False


@dataclass(frozen=True)
class Aggregated:
    """One aggregate over one window. `of` and `where` are SQL over an event; `window` is as Python spells it.

    `of_nothing` says what it is for no event where SQL has NULL; empty if SQL has the same.
    """

    aggregate: str
    of: str | None
    where: str | None
    window: str
    options: tuple[tuple[str, int], ...] = ()
    of_nothing: str = ""


@dataclass(frozen=True)
class Levels:
    """A CASE over aggregates: conditions in Python over features, each with its value, and the value of all others."""

    name: str
    cases: tuple[tuple[str, object], ...]
    default: object


@dataclass(frozen=True)
class Query:
    """All of it: `features` and `hidden` ones, which only levels are made of, by name."""

    name: str
    source: str
    keys: tuple[str, ...]
    time: str
    columns: tuple[Column, ...]
    features: dict[str, Aggregated]
    hidden: dict[str, Aggregated]
    levels: tuple[Levels, ...]
    output: tuple[str, ...]
    """The names of features and levels in the order of the query."""
