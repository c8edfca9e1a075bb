"""The answer to one call of `get_online_features`: windowed views by the kernel, ordinary ones by Feast.

Values become Feast's protobuf (`fill`) or, where all views are windowed, plain columns (`columns`).

A row whose join key is null has no entity. Either kind of view answers it with the empty values and NOT_FOUND.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from google.protobuf.timestamp_pb2 import Timestamp

from dualpath import entities, instants, known, retention
from dualpath.errors import InputError, StaleStreamError
from dualpath.feast import response
from dualpath.feast.columns import STATUSES, Columns, column
from dualpath.feast.online_settings import OnlineSettings
from dualpath.feast.request import CURRENT, Request
from dualpath.feast.selection import CompiledView, SelectedView
from dualpath.online import high_water_mark, reader
from dualpath.plan import FoldError
from dualpath.values import text_codes

START_AND_END = np.array([0, 1])


class Answer:
    """Answers the `CURRENT` request."""

    def __init__(self, reader: reader.Reader, texts: dict[int, str], settings: OnlineSettings) -> None:
        """`texts` are the known texts by their codes; new ones are added."""
        self.reader, self.texts, self.settings = reader, texts, settings
        self.request = request = CURRENT.get()
        lookback = settings.online_lookback
        self.earliest_as_of = None if request.named is None else retention.earliest_as_of(request.now, lookback)
        views = request.selection.views
        self.windowed = [_WindowedView(each, each.compiled, request) for each in views if each.compiled]

    def compute(self) -> reader.Steps[None]:
        """Compute the values of the windowed views."""
        if not self.windowed:
            return
        states = iter((yield from self.reader.read([lookup for each in self.windowed for lookup in each.lookups])))
        as_of = self.request.as_of
        codes: list[int] = []
        for each in self.windowed:
            found = [next(states) for _ in each.lookups]
            earliest = retention.later(self.earliest_as_of, *(part.earliest_as_of for part in found))
            if earliest is not None and as_of.min(initial=earliest) < earliest:
                raise InputError(
                    f"view '{each.plan.view.name}': an event_timestamp lies before {instants.iso(earliest)}, "
                    "further back than the online store remembers; use get_historical_features, or raise "
                    "online_store.online_lookback_seconds."
                )
            each.stale = any(self.is_stale(*part) for part in zip(each.lookups, found, strict=True))
            codes += each.evaluate(found, as_of)
        yield from reader.texts(self.reader.project, codes, self.texts)

    def is_stale(self, lookup: reader.Lookup, found: reader.EntityRecords) -> bool:
        """Whether the stream has not said for `max_staleness` that what was read is up to date.

        Raises `StaleStreamError` unless such answers are to be marked.
        """
        if (most := self.settings.max_staleness) is None:
            return False
        age = timedelta(microseconds=self.request.now - high_water_mark.lowest(found.marks).written)
        if age > most and self.settings.when_stale == "refuse":
            raise StaleStreamError(
                f"view '{lookup.view}': the stream of source '{lookup.source}' said {age} ago for the last time that "
                f"the online store is up to date, and online_store.max_staleness is {most}; see that `dualpath stream` "
                "runs."
            )
        return age > most

    def columns(self, keys: Mapping[str, list[Any]]) -> Columns:
        """The whole answer to a request for windowed views alone; `keys` are the columns of its join keys, cast."""
        values: dict[str, list[Any]] = {}
        statuses: dict[str, list[str]] = {}
        present = [STATUSES[FieldStatus.PRESENT]] * self.request.rows
        for each in self.windowed:
            of_rows = [STATUSES[status] for status in each.statuses()]
            values |= each.columns(self.texts)
            statuses |= {each.prefix + name: of_rows for name in each.values}
            statuses |= {each.prefix + name: present for name in each.own}
        order = self.request.selection.places
        return Columns(
            {**keys, **{name: values[name] for name in order}},
            {name: statuses[name] for name in order},
            self.request.as_of,
            by_feast=False,
        )

    def fill(
        self, into: GetOnlineFeaturesResponse, join_keys: Mapping[str, Any]
    ) -> Iterator[tuple[list[Any], dict[str, Any]]]:
        """Fill Feast's response view by view; yields each ordinary view with its join keys, for Feast to fill in."""
        windowed, rows = iter(self.windowed), self.request.rows
        for each in self.request.selection.views:
            if each.compiled:
                next(windowed).fill(into, self.request.as_of, self.texts)
                continue
            own = {name: join_keys[name] for name in each.columns}
            there = [i for i in range(rows) if all(values[i].WhichOneof("val") for values in own.values())]
            before = len(into.results)
            if there:
                those = {name: [values[i] for i in there] for name, values in own.items()}
                yield [(each.view, each.features)], own if len(there) == rows else those
            else:
                into.metadata.feature_names.val.extend([each.prefix + name for name in each.features])
                into.results.extend([GetOnlineFeaturesResponse.FeatureVector() for _ in each.features])
            vectors = into.results[before:]
            if len(there) < rows:
                for vector in vectors:
                    scatter(vector, there, rows)
            apply_as_of_and_ttl(each.view, vectors, self.request)


class _WindowedView:
    """One windowed view of a request: row i is about entity `rows[i]` of `entities`, or about none if that is -1.

    `lookups` are of its parts.
    """

    def __init__(self, selected: SelectedView, compiled: CompiledView, request: Request) -> None:
        columns = [request.key(name, kind) for name, kind in zip(selected.columns, compiled.key_kinds, strict=True)]
        where: dict[Any, int] = {}
        self.rows = np.array(
            [-1 if None in row else where.setdefault(row, len(where)) for row in zip(*columns, strict=True)],
            dtype=np.int64,
        )
        self.some_without_entity = -1 in self.rows
        self.prefix, self.plan = selected.prefix, compiled.plan
        view = self.plan.view
        self.entities = [entities.name(n) for n in where]
        self.lookups = [
            reader.Lookup(part.name, part.source.name, form, self.entities, compiled.tokens)
            for part, form in compiled.formats.items()
        ]
        self.own = [name for name in (view.known_feature, view.arrived_feature) if name in selected.features]
        self.values: dict[str, Any] = {}
        self.found: list[bool] = []
        self.stale = False
        self.tokens: list[str] = []
        self.arrived = 0

    def evaluate(self, found: Sequence[reader.EntityRecords], as_of: np.ndarray) -> list[int]:
        """Compute the values from the records of each part; returns the text codes in them."""
        words, starts = reader.together(found)
        spans = starts[self.rows[:, None] + START_AND_END]
        if self.some_without_entity:
            spans[self.rows < 0] = 0
        try:
            self.values = self.plan.evaluate(words, spans, as_of)
        except FoldError as error:
            raise InputError(f"{error.message} (entity '{self.entities[self.rows[error.row]]}')") from None
        self.found = (spans[:, 1] > spans[:, 0]).tolist()
        if self.own:
            marks = [high_water_mark.lowest(part.marks) for part in found]
            self.arrived = max(mark.arrived for mark in marks)
            # The last is that of no entity.
            fences = [[*part.known, mark.fence] for part, mark in zip(found, marks, strict=True)]
            sources = [lookup.source for lookup in self.lookups]
            of_row = [known.joint(sources, each) for each in zip(*fences, strict=True)]
            self.tokens = [of_row[i] for i in self.rows.tolist()]
        return [c for name, v in self.values.items() for c in text_codes(v, self.plan.outputs[name]).tolist()]

    def fill(self, into: GetOnlineFeaturesResponse, as_of: np.ndarray, texts: dict[int, str]) -> None:
        """Add the view's features to Feast's response."""
        into.metadata.feature_names.val.extend([self.prefix + name for name in (*self.values, *self.own)])
        shared = response.shared_vector(self.statuses(), as_of)
        for name, values in self.values.items():
            vector = into.results.add()
            vector.MergeFromString(shared)
            response.append_values(vector.values, values, self.plan.outputs[name], texts)
        shared = response.shared_vector([FieldStatus.PRESENT] * len(self.rows), as_of)
        for name in self.own:
            vector = into.results.add()
            vector.MergeFromString(shared)
            if name == self.plan.view.known_feature:
                vector.values.extend([ValueProto(string_val=each) for each in self.tokens])
            else:
                arrived = ValueProto(int64_val=self.arrived) if self.arrived else ValueProto()
                vector.values.extend([arrived] * len(self.rows))

    def columns(self, texts: dict[int, str]) -> dict[str, list[Any]]:
        """The view's features by their names in the answer."""
        found = {name: column(values, self.plan.outputs[name], texts) for name, values in self.values.items()}
        for name in self.own:
            is_token = name == self.plan.view.known_feature
            found[name] = self.tokens if is_token else [self.arrived or None] * len(self.rows)
        return {self.prefix + name: values for name, values in found.items()}

    def statuses(self) -> "list[FieldStatus.ValueType]":
        """The status of each row, for all features."""
        if self.stale:  # of an entity that was not found too: it may have come since
            return [FieldStatus.OUTSIDE_MAX_AGE] * len(self.rows)
        return [FieldStatus.PRESENT if each else FieldStatus.NOT_FOUND for each in self.found]


def scatter(vector: Any, at: Sequence[int], rows: int) -> None:
    """Move the values of a vector to the rows `at` of `rows`; the other rows are null and NOT_FOUND."""
    values, statuses, stamps = [ValueProto()] * rows, [FieldStatus.NOT_FOUND] * rows, [Timestamp()] * rows
    for i, value, status, stamp in zip(at, vector.values, vector.statuses, vector.event_timestamps, strict=True):
        values[i], statuses[i], stamps[i] = value, status, stamp
    vector.CopyFrom(GetOnlineFeaturesResponse.FeatureVector(values=values, statuses=statuses, event_timestamps=stamps))


def apply_as_of_and_ttl(view: Any, vectors: Sequence[Any], request: Request) -> None:
    """Clear the values of an ordinary view that training would not have; Feast serves the last value written.

    A value later than the row's `event_timestamp` becomes null and NOT_FOUND, as if it had never been written. A value
    older than the view's TTL becomes null and OUTSIDE_MAX_AGE.
    """
    ttl = getattr(view, "ttl", None)  # an on-demand view that is written has none
    age = int(ttl.total_seconds() * 1_000_000) if ttl else None
    named = [False] * request.rows if request.named is None else request.named.tolist()
    cleared: list[tuple[int, Any]] = []
    # The features of a view are written together, so they share their times.
    rows = zip(vectors[0].event_timestamps, request.as_of.tolist(), named, strict=True)
    for i, (stamp, as_of, is_named) in enumerate(rows):
        written = stamp.seconds * 1_000_000 + stamp.nanos // 1000
        if not written or (is_named and written > as_of):
            cleared.append((i, FieldStatus.NOT_FOUND))
        elif age is not None and written < as_of - age:
            cleared.append((i, FieldStatus.OUTSIDE_MAX_AGE))
    for vector in vectors:
        for i, status in cleared:
            vector.values[i].Clear()
            vector.statuses[i] = status
