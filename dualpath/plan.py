"""A view compiled: from records and instants to values. The one road every path takes."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from dualpath import kernel
from dualpath.aggregates.base import Groups, Output, Scalars
from dualpath.errors import InputError
from dualpath.expression import Type
from dualpath.record import Layout, cells_of, layout
from dualpath.schema import NULL
from dualpath.view import Feature, View
from dualpath.windows import Window, edges


class FoldError(InputError):
    """A value that cannot be computed; `row` says for which of the rows asked."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


@dataclass(frozen=True)
class Compiled:
    """One feature: its reductions as (is a group, index) into the kernel's answer, and its types."""

    feature: Feature
    input: Type
    output: Output
    parts: tuple[tuple[bool, int], ...]
    picks: tuple[bool, ...]

    @property
    def alike(self) -> Hashable:
        """Features with an equal one finish alike, whatever they look at; one with groups only like itself."""
        if any(grouped for grouped, _ in self.parts):
            return self.feature.name
        return replace(self.feature.aggregate, of=None, where=None), self.input, self.picks


class Batch:
    """Features that are alike, finished in one call: their scalars one after the other."""

    def __init__(self, features: Sequence[Compiled]) -> None:
        self.features = features
        first = features[0]
        self.finalize = partial(first.feature.aggregate.finalize, of=first.input)
        by_part = zip(*(c.parts for c in features), strict=True)
        self.parts = [
            (column[0][0], [index for _, index in column], pick)
            for column, pick in zip(by_part, first.picks, strict=True)
        ]


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
        scalars: dict[tuple[int, int, int], int] = {}
        groups: dict[tuple[int, ...], int] = {}
        self.compiled: list[Compiled] = []
        for feature in chosen:
            parts, picks = [], []
            window = self.windows.index(feature.over)
            for reduction in feature.aggregate.reductions(view.input_type(feature)):
                slots = [self.layout.slot(c) for c in cells_of(reduction)]
                op = kernel.OPS[reduction.op]
                if op >= kernel.GROUPS:
                    # Groups without a dimension say so; a pick or a sketch is one slot, and the rest is unused.
                    dimension = [-1] if op in (kernel.GROUPS, kernel.TIMED) and not reduction.by else []
                    group = (op, window, *(dimension + slots + [0, 0])[:3])
                    parts.append((True, groups.setdefault(group, len(groups))))
                else:
                    parts.append((False, scalars.setdefault((op, window, slots[0]), len(scalars))))
                picks.append(kernel.SUM < op < kernel.GROUPS)
            kinds = view.input_type(feature), view.output(feature)
            self.compiled.append(Compiled(feature, *kinds, tuple(parts), tuple(picks)))
        self.scalars = np.array(list(scalars), dtype=np.int64).reshape(-1, 3)
        self.groups = np.array(list(groups), dtype=np.int64).reshape(-1, 5)
        alike: dict[Hashable, list[Compiled]] = {}
        for each in self.compiled:
            alike.setdefault(each.alike, []).append(each)
        self.batches = [Batch(features) for features in alike.values()]
        self.outputs: dict[str, Output] = {c.feature.name: c.output for c in self.compiled}

    def evaluate(self, words: np.ndarray, spans: np.ndarray, as_of: np.ndarray) -> dict[str, Scalars | Groups]:
        """Values of every feature for every row, as arrays.

        words: int64[n, width], an entity's records together and sorted by time. spans: int64[m, 2], the
        records of each row's entity. as_of: int64[m], microseconds UTC. Texts stay 64-bit codes. Raises
        `FoldError` where a sum leaves 64 bits or a folded bucket would have to be cut at `as_of`, and `ValueError` for
        arrays that do not fit together.
        """
        if words.shape[1:] != (self.layout.width,):
            raise ValueError(f"records of {words.shape[1:]} words, view '{self.view.name}' has {self.layout.width}")
        left, right = edges(self.windows, as_of, self.view.resolution)
        status, row, at, scalars, offsets, codes, times, weights = kernel.fold(
            words, spans, left, right, self.scalars, self.groups, self.view.resolution > 1
        )
        if status != kernel.OK:
            self._fail(status, row, at)
        columns = scalars.T
        values: dict[str, Any] = dict.fromkeys(self.outputs)
        for batch in self.batches:
            parts: list[Any] = []
            for grouped, indices, pick in batch.parts:
                if grouped:
                    own = offsets[indices[0]]
                    span = slice(own[0], own[-1])
                    parts.append(Groups(own - own[0], codes[span], weights[span], times[span]))
                else:
                    column = columns[indices].ravel()
                    parts.append(Scalars(column, column != NULL if pick else None))
            if len(batch.features) == 1:
                values[batch.features[0].feature.name] = batch.finalize(parts, as_of=as_of)
                continue
            found = batch.finalize(parts, as_of=np.tile(as_of, len(batch.features)))
            m = len(as_of)
            for i, each in enumerate(batch.features):
                own = slice(i * m, (i + 1) * m)
                valid = None if found.valid is None else found.valid[own]
                values[each.feature.name] = Scalars(found.data[own], valid)
        return values

    def _fail(self, status: int, row: int, at: int) -> None:
        if status == kernel.MISSHAPEN:
            raise ValueError(f"row {row} has no instant, or its span lies outside the records")
        reductions = {(g, i): c.feature.name for c in self.compiled for g, i in c.parts}
        grouped = at >= len(self.scalars)
        name = reductions[(grouped, at - len(self.scalars) if grouped else at)]
        where = f"view '{self.view.name}', feature '{name}'"
        if status == kernel.OVERFLOW:
            raise FoldError(f"{where}: the sum leaves 64 bits; bound the field's values or narrow the window.", row)
        raise FoldError(
            f"{where}: as_of lies inside a bucket that is already folded; ask for a bucket's last microsecond, "
            "or use get_historical_features.",
            row,
        )


@lru_cache(maxsize=512)
def plan(view: View, features: tuple[str, ...] | None = None) -> Plan:
    """The compiled view, cached: views are values, so equal declarations share a plan."""
    return Plan(view, features)
