"""A view compiled: from records and instants to values. Serving and training both evaluate it."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from dualpath import kernel
from dualpath.aggregates.base import Groups, Output, Scalars
from dualpath.errors import InputError
from dualpath.expression import Type
from dualpath.record import Layout, layout
from dualpath.schema import NULL
from dualpath.view import Feature, View
from dualpath.windows import Window, edges


class FoldError(InputError):
    """A value that cannot be computed; `row` says for which of the rows asked."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


class ReductionPlace(NamedTuple):
    """Where the kernel's answer has one reduction: `place` among the gathered ones or among the others."""

    gathers: bool
    place: int
    nullable: bool


@dataclass(frozen=True)
class Compiled:
    """One feature: where its reductions are in the kernel's answer, and its types."""

    feature: Feature
    input: Type
    output: Output
    places: tuple[ReductionPlace, ...]

    @property
    def batch(self) -> Hashable:
        """Features with an equal one are finalised in one call; a feature that gathers, alone."""
        if any(place.gathers for place in self.places):
            return self.feature.name
        nullable = tuple(place.nullable for place in self.places)
        return replace(self.feature.aggregate, of=None, where=None), self.input, nullable


class Batch:
    """Features that are finalised in one call, their words one after the other."""

    def __init__(self, features: Sequence[Compiled]) -> None:
        self.features = features
        first = features[0]
        self.finalize = partial(first.feature.aggregate.finalize, of=first.input)
        alike = zip(*(c.places for c in features), strict=True)
        self.reductions = [(one[0].gathers, [each.place for each in one], one[0].nullable) for one in alike]


class Plan:
    """Evaluates features of a view.

    `features` limits the work to those named, in that order. `outputs` tells what each holds.
    """

    def __init__(self, view: View, features: tuple[str, ...] | None = None) -> None:
        self.view = view
        self.layout: Layout = layout(view)
        by_name = {f.name: f for f in view.features}
        chosen = [by_name[n] for n in features] if features is not None else list(view.features)
        self.windows: tuple[Window, ...] = tuple(dict.fromkeys(f.over for f in chosen))
        scalars: dict[tuple[int, ...], int] = {}
        groups: dict[tuple[int, ...], int] = {}
        self.compiled: list[Compiled] = []
        for feature in chosen:
            places = []
            window = self.windows.index(feature.over)
            for reduction in feature.aggregate.reductions(view.input_type(feature)):
                called = (reduction.operation, window, *reduction.slots(self.layout.slot))
                calls = groups if reduction.gathers else scalars
                place = calls.setdefault(called, len(calls))
                places.append(ReductionPlace(reduction.gathers, place, reduction.nullable))
            self.compiled.append(Compiled(feature, view.input_type(feature), view.output(feature), tuple(places)))
        self.scalars = np.array(list(scalars), dtype=np.int64).reshape(-1, 3)
        self.groups = np.array(list(groups), dtype=np.int64).reshape(-1, 5)
        batches: dict[Hashable, list[Compiled]] = {}
        for each in self.compiled:
            batches.setdefault(each.batch, []).append(each)
        self.batches = [Batch(features) for features in batches.values()]
        self.outputs: dict[str, Output] = {c.feature.name: c.output for c in self.compiled}

    def evaluate(
        self, words: np.ndarray, spans: np.ndarray, as_of: np.ndarray, limits: np.ndarray | None = None
    ) -> dict[str, Scalars | Groups]:
        """Values of every feature for every row, as arrays.

        words: int64[n, width], an entity's records together and sorted by time. spans: int64[m, 2], the
        records of each row's entity. as_of: int64[m], microseconds UTC. limits: int64[m]; with them, records have one
        word more, and count for a row if that is at most the row's limit. Or limits are int64[m, p], of p parts: then
        records have two words more, of which the last is the place of their part. Texts stay 64-bit codes. Raises
        `FoldError` where a sum leaves 64 bits or a folded bucket would have to be cut at `as_of`, and `ValueError` for
        arrays that do not fit together.
        """
        width = self.layout.width + (0 if limits is None else limits.ndim)
        if words.shape[1:] != (width,):
            raise ValueError(f"records of {words.shape[1:]} words, view '{self.view.name}' has {width}")
        left, right = edges(self.windows, as_of, self.view.resolution)
        several = limits is not None and limits.ndim == 2
        of_rows = as_of if limits is None else limits
        status, row, at, scalars, offsets, codes, times, weights = kernel.fold(
            words,
            kernel.successors(words, spans) if self.layout.versions else None,
            spans,
            as_of,
            left,
            right,
            self.scalars,
            self.groups,
            self.view.resolution > 1,
            -1 if limits is None else self.layout.width,
            self.layout.width + 1 if several else None,
            of_rows if several else of_rows[:, None],
        )
        if status != kernel.OK:
            self._fail(status, row, at)
        columns = scalars.T
        values: dict[str, Any] = dict.fromkeys(self.outputs)
        for batch in self.batches:
            reduced: list[Any] = []
            for gathers, places, nullable in batch.reductions:
                if gathers:
                    own = offsets[places[0]]
                    span = slice(own[0], own[-1])
                    reduced.append(Groups(own - own[0], codes[span], weights[span], times[span]))
                else:
                    column = columns[places].ravel()
                    reduced.append(Scalars(column, column != NULL if nullable else None))
            if len(batch.features) == 1:
                values[batch.features[0].feature.name] = batch.finalize(reduced, as_of=as_of)
                continue
            found = batch.finalize(reduced, as_of=np.tile(as_of, len(batch.features)))
            m = len(as_of)
            for i, each in enumerate(batch.features):
                own = slice(i * m, (i + 1) * m)
                valid = None if found.valid is None else found.valid[own]
                values[each.feature.name] = Scalars(found.data[own], valid)
        return values

    def _fail(self, status: int, row: int, at: int) -> None:
        if status == kernel.MISSHAPEN:
            raise ValueError(f"row {row} has no instant, or its span lies outside the records")
        names = {place[:2]: c.feature.name for c in self.compiled for place in c.places}
        gathers = at >= len(self.scalars)
        name = names[gathers, at - len(self.scalars) if gathers else at]
        where = f"view '{self.view.name}', feature '{name}'"
        if status == kernel.OVERFLOW:
            raise FoldError(f"{where}: the sum leaves 64 bits; bound the field's values or narrow the window.", row)
        raise FoldError(
            f"{where}: as_of lies inside a bucket that is already folded; ask for a bucket's last microsecond, "
            "or use get_historical_features.",
            row,
        )


def grouped(words: np.ndarray, owner: np.ndarray, entities: int) -> tuple[np.ndarray, np.ndarray]:
    """Records grouped by owner and sorted by time, ties in any order, and where each owner's start.

    Always a copy: for records that cannot be written to, as Arrow's, numba compiles code of its own for seconds.
    """
    starts = np.zeros(entities + 1, dtype=np.int64)
    np.cumsum(np.bincount(owner, minlength=entities), out=starts[1:])
    if not len(words):
        return words.copy(), starts
    time = words[:, 0]
    first, last = int(time.min()), int(time.max())
    # One sort of one key is six times faster than a sort by two, where the key fits into 63 bits.
    fits = (last - first + 1) * entities < 2**63
    order = np.argsort(owner * (last - first + 1) + (time - first)) if fits else np.lexsort((time, owner))
    return words.take(order, axis=0), starts


@lru_cache(maxsize=512)
def plan(view: View, features: tuple[str, ...] | None = None) -> Plan:
    """The compiled view, cached: views are values, so equal declarations share a plan."""
    return Plan(view, features)
