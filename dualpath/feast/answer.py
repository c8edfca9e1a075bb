"""The answer to one call of `get_online_features`: windowed views by the kernel, ordinary ones by Feast.

A row whose join key is null asks about nobody: it gets the empty values, NOT_FOUND, from either kind of view.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from google.protobuf.timestamp_pb2 import Timestamp

from dualpath import entities, retention
from dualpath.errors import InputError
from dualpath.feast import protos
from dualpath.feast.request import ASKED, Request
from dualpath.feast.wanted import Compiled, WantedView
from dualpath.online import reader
from dualpath.plan import FoldError

START_AND_END = np.array([0, 1])


class Answer:
    """Fills Feast's response to the request that `ASKED` holds."""

    def __init__(
        self,
        reader: reader.Reader,
        texts: dict[int, str],
        online_lookback: int | None,
        response: GetOnlineFeaturesResponse,
    ) -> None:
        """`texts` are those known by their codes, which grow; `online_lookback` is how far before the present a named
        instant may lie, microseconds; None: any distance."""
        self.reader, self.texts, self.response = reader, texts, response
        self.asked = asked = ASKED.get()
        self.earliest_as_of = None if asked.named is None else retention.earliest_as_of(asked.now, online_lookback)
        self.windowed = [_Windowed(each, each.compiled, asked) for each in asked.wanted.views if each.compiled]

    def steps(self) -> reader.Steps[None]:
        """Compute the values of the windowed views."""
        if not self.windowed:
            return
        states = yield from self.reader.read([each.lookup for each in self.windowed])
        as_of = self.asked.as_of
        codes: list[int] = []
        for each, found in zip(self.windowed, states, strict=True):
            earliest = retention.later(self.earliest_as_of, found.earliest_as_of)
            if earliest is not None and as_of.min(initial=earliest) < earliest:
                raise InputError(
                    f"view '{each.lookup.view}': an event_timestamp lies before {np.datetime64(earliest, 'us')}Z, "
                    "further back than the online store remembers; use get_historical_features, or raise "
                    "online_store.online_lookback_seconds."
                )
            codes += each.evaluate(found, as_of)
        yield from reader.texts(self.reader.project, codes, self.texts)

    def parts(self, join_keys: Mapping[str, Any]) -> Iterator[tuple[list[Any], dict[str, Any]]]:
        """Fill the response, view by view; an ordinary view is handed out with its join keys, for Feast to fill in."""
        windowed, rows = iter(self.windowed), self.asked.rows
        for each in self.asked.wanted.views:
            if each.compiled:
                next(windowed).fill(self.response, self.asked.as_of, self.texts)
                continue
            own = {name: join_keys[name] for name in each.columns}
            known = [i for i in range(rows) if all(values[i].WhichOneof("val") for values in own.values())]
            before = len(self.response.results)
            if known:
                somebody = {name: [values[i] for i in known] for name, values in own.items()}
                yield [(each.view, each.features)], own if len(known) == rows else somebody
            else:
                self.response.metadata.feature_names.val.extend([each.prefix + name for name in each.features])
                self.response.results.extend([GetOnlineFeaturesResponse.FeatureVector() for _ in each.features])
            vectors = self.response.results[before:]
            if len(known) < rows:
                for vector in vectors:
                    spread(vector, known, rows)
            settle(each.view, vectors, self.asked)


class _Windowed:
    """One windowed view in a request: row i is about entity `rows[i]` of `lookup`, or about nobody if that is -1."""

    def __init__(self, wanted: WantedView, compiled: Compiled, asked: Request) -> None:
        columns = [asked.key(name, kind) for name, kind in zip(wanted.columns, compiled.kinds, strict=True)]
        where: dict[Any, int] = {}
        self.rows = np.array(
            [-1 if None in row else where.setdefault(row, len(where)) for row in zip(*columns, strict=True)],
            dtype=np.int64,
        )
        self.nobody = -1 in self.rows
        self.prefix, self.plan = wanted.prefix, compiled.plan
        self.lookup = reader.Lookup(
            self.plan.view.name, self.plan.view.source.name, compiled.format, [entities.name(n) for n in where]
        )
        self.values: dict[str, Any] = {}
        self.found: list[bool] = []

    def evaluate(self, found: reader.EntityRecords, as_of: np.ndarray) -> list[int]:
        """Compute the values; answers the text codes they hold."""
        spans = found.starts[self.rows[:, None] + START_AND_END]
        if self.nobody:
            spans[self.rows < 0] = 0
        try:
            self.values = self.plan.evaluate(found.words, spans, as_of)
        except FoldError as error:
            raise InputError(f"{error.message} (entity '{self.lookup.entities[self.rows[error.row]]}')") from None
        self.found = (spans[:, 1] > spans[:, 0]).tolist()
        return [c for name, v in self.values.items() for c in protos.codes(v, self.plan.outputs[name])]

    def fill(self, response: GetOnlineFeaturesResponse, as_of: np.ndarray, texts: dict[int, str]) -> None:
        """Add the view's features to Feast's response."""
        response.metadata.feature_names.val.extend([self.prefix + name for name in self.values])
        shared = protos.vector(self.found, as_of)
        for name, values in self.values.items():
            vector = response.results.add()
            vector.MergeFromString(shared)
            protos.fill(vector.values, values, self.plan.outputs[name], texts)


def spread(vector: Any, there: Sequence[int], rows: int) -> None:
    """Put the values of a vector at the rows `there` of `rows`; the others are null and NOT_FOUND."""
    values, statuses, stamps = [ValueProto()] * rows, [FieldStatus.NOT_FOUND] * rows, [Timestamp()] * rows
    for at, value, status, stamp in zip(there, vector.values, vector.statuses, vector.event_timestamps, strict=True):
        values[at], statuses[at], stamps[at] = value, status, stamp
    vector.CopyFrom(GetOnlineFeaturesResponse.FeatureVector(values=values, statuses=statuses, event_timestamps=stamps))


def settle(view: Any, vectors: Sequence[Any], asked: Request) -> None:
    """Serve of an ordinary view what training holds for the instant, where Feast served the last value written.

    A value that is later than an instant that a row names is null and NOT_FOUND, as what was never written is; one that
    is older than the view's TTL is null and OUTSIDE_MAX_AGE.
    """
    ttl = getattr(view, "ttl", None)  # an on-demand view that is written has none
    age = int(ttl.total_seconds() * 1_000_000) if ttl else None
    named = [False] * asked.rows if asked.named is None else asked.named.tolist()
    unserved: list[tuple[int, Any]] = []
    # The features of a view are written together, so one's times are those of all.
    rows = zip(vectors[0].event_timestamps, asked.as_of.tolist(), named, strict=True)
    for i, (stamp, as_of, is_named) in enumerate(rows):
        written = stamp.seconds * 1_000_000 + stamp.nanos // 1000
        if not written or (is_named and written > as_of):
            unserved.append((i, FieldStatus.NOT_FOUND))
        elif age is not None and written < as_of - age:
            unserved.append((i, FieldStatus.OUTSIDE_MAX_AGE))
    for vector in vectors:
        for i, status in unserved:
            vector.values[i].Clear()
            vector.statuses[i] = status


def ordered(response: OnlineResponse, places: Mapping[str, int]) -> OnlineResponse:
    """The response with its columns in the order asked: the rows' join keys, then the features by their places."""
    proto = response.proto
    names = [*proto.metadata.feature_names.val]
    order = sorted(range(len(names)), key=lambda i: places.get(names[i], -1))
    if order != [*range(len(names))]:
        results = GetOnlineFeaturesResponse(results=[proto.results[i] for i in order]).results
        del proto.results[:], proto.metadata.feature_names.val[:]
        proto.results.extend(results)
        proto.metadata.feature_names.val.extend([names[i] for i in order])
    return response
