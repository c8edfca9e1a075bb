"""The answer to one call of `get_online_features`: windowed views by the kernel, ordinary ones by Feast.

A row whose join key is null asks about nobody: it gets the empty values, NOT_FOUND, from either kind of view.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from feast import FeatureView, RepoConfig
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from google.protobuf.timestamp_pb2 import Timestamp

from dualpath.declare import TAG
from dualpath.errors import InputError
from dualpath.plan import FoldError, plan
from dualpath.stores import keys, protos, state
from dualpath.stores.request import ASKED, Request, keys_of
from dualpath.view import View

if TYPE_CHECKING:
    from dualpath.stores.online import DualpathRedisOnlineStore

START_AND_END = np.array([0, 1])


class _Compiled:
    """What answering from a windowed view takes that depends on nothing but its declaration and the features."""

    def __init__(self, declared: str, features: tuple[str, ...]) -> None:
        self.plan = plan(View.from_dict(json.loads(declared)), features)
        self.format = state.Format(self.plan.layout)
        view = self.plan.view
        self.keys = [(key, view.source.by_name[key].kind) for key in view.keys]


_compiled = lru_cache(maxsize=512)(_Compiled)


class Answer:
    """Fills Feast's response to the request that `ASKED` holds."""

    def __init__(
        self,
        store: "DualpathRedisOnlineStore",
        config: RepoConfig,
        grouped_refs: Sequence[Any],
        names: dict[str, str],
        response: GetOnlineFeaturesResponse,
        full_names: bool,
        *_: Any,
    ) -> None:
        self.store, self.project, self.names = store, config.project, names
        self.response, self.full_names = response, full_names
        self.reader = store._reader_of(config)
        self.asked = asked = ASKED.get()
        slack = config.online_store.slack_seconds
        self.floor = 0 if slack is None or not asked.named.any() else store.clock() - slack * 1_000_000
        # Feast keeps the features of a view as a set, whose order is another in every process.
        self.groups = [(view, asked.in_order(self.prefix(view), features)) for view, features in grouped_refs]
        self.windowed = [
            _Windowed(view, _compiled(view.tags[TAG], tuple(features)), asked) if TAG in view.tags else None
            for view, features in self.groups
        ]

    def prefix(self, view: Any) -> str:
        """What stands before the names of a view's features in the response."""
        return f"{view.projection.name_to_use()}__" if self.full_names else ""

    def steps(self) -> state.Steps[None]:
        """Compute the values of the windowed views."""
        windowed = [w for w in self.windowed if w]
        if not windowed:
            return
        states = yield from self.reader.read([w.ask for w in windowed])
        as_of = self.asked.as_of
        codes: list[int] = []
        for each, found in zip(windowed, states, strict=True):
            floor = max(self.floor, found.floor)
            if floor and as_of.min(initial=floor) < floor:
                raise InputError(
                    f"view '{each.ask.view}': an event_timestamp lies before {np.datetime64(floor, 'us')}Z, further "
                    "back than the online store remembers; use get_historical_features, or raise "
                    "online_store.slack_seconds."
                )
            codes += each.evaluate(found, as_of)
        yield from state.texts(self.project, codes, self.store._texts)

    def parts(self, join_keys: Mapping[str, Any]) -> Iterator[tuple[list[Any], dict[str, Any]]]:
        """Fill the response, view by view; an ordinary view is handed out with its join keys, for Feast to fill in."""
        for (view, features), windowed in zip(self.groups, self.windowed, strict=True):
            if windowed:
                windowed.fill(self.response, self.prefix(view), self.asked.as_of, self.store._texts)
                continue
            own = {name: join_keys[name] for name in keys_of(view, self.names).values()}
            there = [
                i for i, row in enumerate(zip(*own.values(), strict=True)) if all(v.WhichOneof("val") for v in row)
            ]
            before = len(self.response.results)
            if there:
                some = len(there) < self.asked.rows
                yield [(view, features)], {n: [v[i] for i in there] for n, v in own.items()} if some else own
            else:
                self.response.metadata.feature_names.val.extend([self.prefix(view) + name for name in features])
                self.response.results.extend([GetOnlineFeaturesResponse.FeatureVector() for _ in features])
            vectors = self.response.results[before:]
            if len(there) < self.asked.rows:
                for vector in vectors:
                    spread(vector, there, self.asked.rows)
            settle(view, vectors, self.asked)


class _Windowed:
    """One windowed view within a request: row i asks about entity `rows[i]` of `ask`, or about nobody if that is -1."""

    def __init__(self, table: FeatureView, compiled: _Compiled, asked: Request) -> None:
        aliases = table.projection.join_key_map
        columns = [asked.key(aliases.get(key, key), kind) for key, kind in compiled.keys]
        where: dict[Any, int] = {}
        self.rows = np.array(
            [-1 if None in row else where.setdefault(row, len(where)) for row in zip(*columns, strict=True)],
            dtype=np.int64,
        )
        self.plan = compiled.plan
        self.ask = state.Ask(
            self.plan.view.name, self.plan.view.source.name, compiled.format, [keys.entity(n) for n in where]
        )
        self.values: dict[str, Any] = {}
        self.found: list[bool] = []

    def evaluate(self, found: state.State, as_of: np.ndarray) -> list[int]:
        """Compute the values; answers the text codes they hold."""
        spans = found.starts[self.rows[:, None] + START_AND_END]
        spans[self.rows < 0] = 0
        try:
            self.values = self.plan.evaluate(found.words, spans, as_of)
        except FoldError as error:
            raise InputError(f"{error.message} (entity '{self.ask.entities[self.rows[error.row]]}')") from None
        self.found = (spans[:, 1] > spans[:, 0]).tolist()
        return [c for name, v in self.values.items() for c in protos.codes(v, self.plan.outputs[name])]

    def fill(self, response: GetOnlineFeaturesResponse, prefix: str, as_of: np.ndarray, texts: dict[int, str]) -> None:
        """Add the view's features to Feast's response, their names behind `prefix`."""
        response.metadata.feature_names.val.extend([prefix + name for name in self.values])
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
    for vector in vectors:
        rows = zip(vector.event_timestamps, asked.as_of.tolist(), asked.named.tolist(), strict=True)
        for i, (stamp, as_of, named) in enumerate(rows):
            written = stamp.seconds * 1_000_000 + stamp.nanos // 1000
            if not written or (named and written > as_of):
                status = FieldStatus.NOT_FOUND
            elif age is not None and written < as_of - age:
                status = FieldStatus.OUTSIDE_MAX_AGE
            else:
                continue
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
