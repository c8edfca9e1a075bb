"""The fields of events of several sources that count together: those of all, null in events of a source that lacks one.

>>> from dualpath.schema import EventSource, decimal, text
>>> clicks = EventSource("clicks", (text("user"), text("page")))
>>> orders = EventSource("orders", (text("user"), decimal("amount", scale=2)))
>>> sorted(union([clicks, orders], "view 'activity'"))
['amount', 'page', 'user']
>>> sorted(name for name, field in seen_from(clicks, [orders]).items() if isinstance(field, Absent))
['amount']
"""

from collections.abc import Mapping, Sequence

from dualpath.columns import folded
from dualpath.errors import DeclarationError
from dualpath.field import Field
from dualpath.schema import EventSource


class Absent(Field):
    """A field that a source lacks and another one of the view has: null in every event of the source."""


def union(sources: Sequence[EventSource], where: str) -> dict[str, Field]:
    """The fields of all sources by name, each as the first source that has it declares it.

    Raises `DeclarationError`, which begins with `where`, if two sources mean different things by a name.
    """
    found: dict[str, Field] = {}
    first: dict[str, tuple[Field, EventSource]] = {}
    for source in sources:
        for field in source.all_fields:
            other, of = first.setdefault(folded(field.name), (field, source))
            if _meaning(field) != _meaning(other):
                raise DeclarationError(
                    f"{where}: '{other.name}' is {_described(other)} in '{of.name}', and '{field.name}' is "
                    f"{_described(field)} in '{source.name}'; declare the two alike, or rename one."
                )
            found.setdefault(field.name, field)
    return found


def seen_from(source: EventSource, others: Sequence[EventSource]) -> Mapping[str, Field]:
    """The fields of an event of `source` in a view that has `others` too."""
    every = (field for other in others for field in other.all_fields)
    return {**{f.name: Absent(f.name, f.kind, f.scale) for f in every}, **source.by_name}


def _meaning(field: Field) -> tuple[str, str, int]:
    return field.name, field.kind, field.scale


def _described(field: Field) -> str:
    return f"{field.kind} of scale {field.scale}" if field.kind == "decimal" else field.kind
