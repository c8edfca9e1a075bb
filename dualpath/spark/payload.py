"""Payloads as Spark columns: one parse reads every declared path."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, StringType, StructField, StructType

from dualpath.columns import folded
from dualpath.paths import Steps


@dataclass
class _Shape:
    """What is declared at one place of a payload: a scalar if it has nothing below, else an object or a list."""

    below: dict[str | int, "_Shape"] = field(default_factory=dict)

    def takes(self, steps: Steps) -> bool:
        """Whether one parse can read a path beside those that it has: a place has one type, and Spark does not tell
        apart members that differ only in case."""
        if not steps or not self.below:
            return not steps and not self.below
        step, *rest = steps
        if isinstance(step, int) != isinstance(next(iter(self.below)), int):
            return False
        if isinstance(step, int):
            return next(iter(self.below.values())).takes(tuple(rest))
        if step in self.below:
            return self.below[step].takes(tuple(rest))
        return folded(step) not in {folded(name) for name in self.below if isinstance(name, str)}

    def add(self, steps: Steps) -> None:
        """Take in a path; all elements of a list have one shape."""
        if steps:
            self.below.setdefault(0 if isinstance(steps[0], int) else steps[0], _Shape()).add(steps[1:])

    @property
    def type(self) -> DataType:
        if not self.below:
            return StringType()
        if 0 in self.below:
            return ArrayType(self.below[0].type)
        return StructType([StructField(str(name), each.type) for name, each in self.below.items()])


class Parses:
    """The parses of a payload that together read all `places`: one, unless a member is declared both as a scalar and as
    an object or a list, or members differ only in case. `name` is that of the first one's column."""

    def __init__(self, places: Iterable[Steps], name: str = "__json") -> None:
        self.name = name
        self.shapes: list[_Shape] = []
        self.of: dict[Steps, int] = {}
        for place in dict.fromkeys(places):
            fits = (n for n, shape in enumerate(self.shapes) if shape.takes(place))
            number = next(fits, len(self.shapes))
            if number == len(self.shapes):
                self.shapes.append(_Shape())
            self.shapes[number].add(place)
            self.of[place] = number

    @property
    def names(self) -> list[str]:
        """The columns of `columns`; the first is null unless the payload is one JSON object."""
        return [f"{self.name}{number or ''}" for number in range(len(self.shapes))]

    def columns(self, value: Column) -> list[Column]:
        """The parsed payload."""
        # Spark's parser stops where the first value ends; only as one of two in a list is a payload read to its end.
        listed = F.concat(F.lit("["), value, F.lit(",{}]"))
        parsed = [F.from_json(listed, ArrayType(shape.type)) for shape in self.shapes]
        return [
            F.when(F.size(each) == 2, F.get(each, F.lit(0))).alias(name)
            for each, name in zip(parsed, self.names, strict=True)
        ]

    def text(self, place: Steps) -> Column:
        """The text at a place, of `columns`; null where there is none. An object or a list is its JSON text."""
        return at(F.col(self.names[self.of[place]]), place)

    def elements(self, place: Steps) -> Column:
        """The texts of a list's elements, an array; null where there is no list. Its first element must be a place."""
        return at(F.col(self.names[self.of[*place, 0]]), place)


def at(parsed: Column, place: Steps) -> Column:
    """What a parsed payload has at a place."""
    for step in place:
        parsed = F.get(parsed, F.lit(step)) if isinstance(step, int) else parsed.getField(step)
    return parsed
