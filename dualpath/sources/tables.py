"""What each kind of table that a dimension comes from gives: its present state, by name, and the versions in it."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import xxhash

from dualpath.dimension import Dimension
from dualpath.errors import InputError, UnavailableError
from dualpath.schema import EventSource
from dualpath.versions import Versions


@dataclass(frozen=True)
class State:
    """What a dimension's table holds at an instant.

    `name` is another one if the table holds something else, or is declared otherwise. `read` gives the versions; it
    takes those that were read of an earlier state, None if there are none.
    """

    name: str
    read: Callable[[Versions | None], Versions]


def named(dimension: Dimension, holds: Any) -> str:
    """The name of a state: of how the table is declared, and of something JSON-ready that tells what it holds."""
    return xxhash.xxh64_hexdigest(json.dumps([dimension.to_dict(), holds], sort_keys=True).encode())


def as_source(dimension: Dimension) -> EventSource:
    """The table as files of events are read. One whose column was renamed is broken, so it must have all of them."""
    columns = tuple(replace(each, required=True) for each in dimension.columns)
    time = dimension.valid_from
    fields = tuple(each for each in columns if each.name != time.name)
    return EventSource(dimension.name, fields, event_id=None, event_time=time.name, arrival_time=None, times=(time,))


def parsed(lines: Iterable[bytes]) -> Iterator[Any]:
    """Rows as JSON has them; None for a line that is none."""
    for line in lines:
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            yield None


@contextmanager
def naming(dimension: Dimension) -> Iterator[None]:
    """Let what is refused in a block say of which dimension it is."""
    own = f"dimension '{dimension.name}': "
    try:
        yield
    except (InputError, UnavailableError) as error:
        kind = InputError if isinstance(error, InputError) else UnavailableError
        raise kind(f"{own}{error.message.removeprefix(own)}") from None
