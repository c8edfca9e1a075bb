"""What a query declares, in plain data: `read` makes it of SQL, `write` makes a feature repo of it."""

from dataclasses import dataclass

from dualpath.aggregates import Aggregate
from dualpath.schema import EventSource
from dualpath.windows import Window


@dataclass(frozen=True)
class Aggregated:
    """One aggregate over one window.

    `of_nothing` says what it is where SQL has NULL, if that is another value. `nullable`: SQL has NULL where `values`,
    the count of the values that SQL aggregates, is 0; None: there is no such feature.
    """

    aggregate: Aggregate
    over: Window
    of_nothing: str = ""
    nullable: bool = False
    values: "Aggregated | None" = None


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
    source: EventSource
    keys: tuple[str, ...]
    features: dict[str, Aggregated]
    hidden: dict[str, Aggregated]
    levels: tuple[Levels, ...]
    output: tuple[str, ...]
    """The names of features and levels in the order of the query."""
