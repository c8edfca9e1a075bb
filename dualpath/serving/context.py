"""The context of a decision: a row of bounded integers for each candidate, made of features.

A coordinate is declared once, in `ranking.yaml`. The application and the replay evaluate the same declaration on
the same features, so both get the same integers. Each lies between 0 and `SCALE`, which stands for 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from dualpath.windows import DAY, SECOND

SCALE = 1024
"""What a coordinate of 1 is as an integer."""


@dataclass(frozen=True)
class Inputs:
    """What coordinates are made of.

    `reader` has one value for each feature of the reader, `candidates` a list of K. Features are named `view:feature`.
    `as_of` is microseconds UTC.
    """

    as_of: int
    device: str
    reader: Mapping[str, Any]
    candidates: Mapping[str, Sequence[Any]]
    rows: int

    def column(self, name: str) -> Sequence[Any]:
        """A feature of each candidate; a reader's is the same for all."""
        return self.candidates[name] if name in self.candidates else [self.reader[name]] * self.rows


class _Coordinate(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str

    @property
    def features(self) -> tuple[str, ...]:
        """The features that it is made of."""
        return ()

    def of(self, inputs: Inputs, before: Mapping[str, np.ndarray]) -> np.ndarray:
        """int64[K]; `before` has the coordinates that are declared before it."""
        raise NotImplementedError


class Constant(_Coordinate):
    """1 for every candidate: what a policy expects of an article it knows nothing of."""

    kind: Literal["constant"]

    def of(self, inputs: Inputs, before: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.full(inputs.rows, SCALE, dtype=np.int64)


class Share(_Coordinate):
    """The share that the candidate's own text has in a reader's map, as its category has in the reader's interests."""

    kind: Literal["share"]
    feature: str
    by: str

    @property
    def features(self) -> tuple[str, ...]:
        return self.feature, self.by

    def of(self, inputs: Inputs, before: Mapping[str, np.ndarray]) -> np.ndarray:
        weights = inputs.reader[self.feature] or {}
        whole = sum(weights.values())
        # Interpreted one text at a time, so that training and serving round alike.
        share = {text: int(SCALE * weight / whole) for text, weight in weights.items()} if whole > 0 else {}
        return np.array([min(share.get(text, 0), SCALE) for text in inputs.column(self.by)], dtype=np.int64)


class Ratio(_Coordinate):
    """One count over another, drawn towards `prior` of `weight` cases, as clicks over impressions."""

    kind: Literal["ratio"]
    feature: str
    to: str
    prior: Annotated[float, Field(ge=0, le=1)] = 0.1
    weight: PositiveInt = 20

    @property
    def features(self) -> tuple[str, ...]:
        return self.feature, self.to

    def of(self, inputs: Inputs, before: Mapping[str, np.ndarray]) -> np.ndarray:
        part, whole = (_counts(inputs.column(name)) for name in (self.feature, self.to))
        prior = int(self.prior * SCALE) * self.weight
        return np.minimum((part * SCALE + prior) // (whole + self.weight), SCALE)


class Age(_Coordinate):
    """How new an instant is: 1 at `as_of`, 1/2 after `half` seconds, 1/3 after twice that; 0 if there is none."""

    kind: Literal["age"]
    feature: str
    half: PositiveInt

    @property
    def features(self) -> tuple[str, ...]:
        return (self.feature,)

    def of(self, inputs: Inputs, before: Mapping[str, np.ndarray]) -> np.ndarray:
        seen, half = inputs.column(self.feature), self.half * SECOND
        ages = np.array([inputs.as_of - t if t is not None else -1 for t in seen], dtype=np.int64)
        return np.where(ages < 0, 0, SCALE * half // (half + np.maximum(ages, 0)))


class Level(_Coordinate):
    """A count, of `most` at most, as a part of that."""

    kind: Literal["level"]
    feature: str
    most: PositiveInt

    @property
    def features(self) -> tuple[str, ...]:
        return (self.feature,)

    def of(self, inputs: Inputs, before: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.minimum(_counts(inputs.column(self.feature)), self.most) * SCALE // self.most


class Device(_Coordinate):
    """1 if the request comes from this device."""

    kind: Literal["device"]
    device: str

    def of(self, inputs: Inputs, before: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.full(inputs.rows, SCALE if inputs.device == self.device else 0, dtype=np.int64)


class Hours(_Coordinate):
    """1 from one hour of the day to another, UTC; `first` may be the later one, as in 22 to 6."""

    kind: Literal["hours"]
    first: Annotated[int, Field(ge=0, le=23)]
    until: Annotated[int, Field(ge=0, le=24)]

    def of(self, inputs: Inputs, before: Mapping[str, np.ndarray]) -> np.ndarray:
        hour = inputs.as_of % DAY // (3_600 * SECOND)
        inside = self.first <= hour < self.until if self.first < self.until else not self.until <= hour < self.first
        return np.full(inputs.rows, SCALE if inside else 0, dtype=np.int64)


class Product(_Coordinate):
    """Two coordinates before it, multiplied: interest of a reader who is on the move, say."""

    kind: Literal["product"]
    left: str
    right: str

    def of(self, inputs: Inputs, before: Mapping[str, np.ndarray]) -> np.ndarray:
        return before[self.left] * before[self.right] // SCALE


Coordinate = Annotated[Constant | Share | Ratio | Age | Level | Device | Hours | Product, Field(discriminator="kind")]


class Context(BaseModel):
    """The coordinates, in order. `hidden` ones are there for products alone, and are left out of the vector."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    coordinates: Annotated[tuple[Coordinate, ...], Field(min_length=1, max_length=64)]
    hidden: frozenset[str] = frozenset()

    @model_validator(mode="after")
    def _names_agree(self) -> "Context":
        seen: set[str] = set()
        for each in self.coordinates:
            if each.name in seen:
                raise ValueError(f"coordinate '{each.name}' is declared twice; rename one.")
            if isinstance(each, Product) and (lacking := {each.left, each.right} - seen):
                raise ValueError(
                    f"coordinate '{each.name}' multiplies {', '.join(sorted(lacking))}; declare it before."
                )
            seen.add(each.name)
        if unknown := self.hidden - seen:
            raise ValueError(f"hidden names {', '.join(sorted(unknown))}, which is no coordinate.")
        if not self.names:
            raise ValueError("every coordinate is hidden; show at least one.")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the vector's entries."""
        return tuple(each.name for each in self.coordinates if each.name not in self.hidden)

    @property
    def features(self) -> tuple[str, ...]:
        """Every feature that some coordinate is made of."""
        return tuple(dict.fromkeys(name for each in self.coordinates for name in each.features))

    def matrix(self, inputs: Inputs) -> np.ndarray:
        """int64[K, d]: the vector of each candidate."""
        found: dict[str, np.ndarray] = {}
        for each in self.coordinates:
            found[each.name] = each.of(inputs, found)
        return np.stack([found[name] for name in self.names], axis=1)


def _counts(values: Sequence[Any]) -> np.ndarray:
    """Counts as int64; a missing one is 0."""
    return np.array([value or 0 for value in values], dtype=np.int64)
