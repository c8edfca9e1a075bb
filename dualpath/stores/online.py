"""Feast's Redis online store, with windowed views: state in, values at the instant of the read out.

Callers change nothing. An entity row may carry an `event_timestamp`, as the rows of an `entity_df` do, to ask
for that instant; without one the answer is for the present. Views that are not windowed are Feast's own.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from feast import FeatureView, RepoConfig, utils
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, RedisType
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from dualpath.declare import TAG
from dualpath.errors import InputError, UnavailableError
from dualpath.plan import FoldError, plan
from dualpath.stores import instants, keys, protos, state
from dualpath.stores.connection import FAILED, address, named, shown
from dualpath.view import View

AS_OF: ContextVar[np.ndarray | None] = ContextVar("AS_OF", default=None)
"""The instants of the request under way, int64[rows]; None: the present."""
START_AND_END = np.array([0, 1])


class DualpathRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """Feast's Redis settings, with two more meanings.

    An empty `connection_string` is taken from DUALPATH_REDIS, else from an embedded Redis beside the repo.
    `slack_seconds` says how far before the present an `as_of` may lie online; null keeps everything, as a
    replay of old events needs.
    """

    type: Literal["dualpath.stores.online.DualpathRedisOnlineStore"] = "dualpath.stores.online.DualpathRedisOnlineStore"  # type: ignore[assignment]
    connection_string: str = ""
    slack_seconds: int | None = 86_400


class DualpathRedisOnlineStore(RedisOnlineStore):
    """Named in `feature_store.yaml` as `type: dualpath.stores.online.DualpathRedisOnlineStore`."""

    def __init__(self, clock: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self.clock = clock
        self._texts: dict[int, str] = {}
        self._reader: state.Reader | None = None

    def get_online_features(
        self, config: RepoConfig, features: Any, entity_rows: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Feast's call; `event_timestamp` in a row (datetime, ISO-8601 text or microseconds) is its `as_of`."""
        with self._asked(config, entity_rows) as rows:
            return super().get_online_features(config, features, rows, *args, **kwargs)

    async def get_online_features_async(
        self, config: RepoConfig, features: Any, entity_rows: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """The same without blocking the event loop."""
        with self._asked(config, entity_rows) as rows:
            return await super().get_online_features_async(config, features, rows, *args, **kwargs)

    def _read_features_per_fv(self, config: RepoConfig, grouped_refs: Sequence[Any], *rest: Any) -> None:
        request = _Request(self, config, grouped_refs, *rest)
        state.run(request.steps(), self._get_client(config.online_store))
        for group in request.groups():
            super()._read_features_per_fv(config, group, *rest)

    async def _read_features_per_fv_async(self, config: RepoConfig, grouped_refs: Sequence[Any], *rest: Any) -> None:
        request = _Request(self, config, grouped_refs, *rest)
        await state.run_async(request.steps(), await self._get_client_async(config.online_store))
        for group in request.groups():
            await super()._read_features_per_fv_async(config, group, *rest)

    def online_write_batch(self, config: RepoConfig, table: FeatureView, data: Any, progress: Any) -> None:
        """Feast's own for ordinary views; a windowed view takes events, so finished values are refused."""
        self._open(config)
        self._refuse_values(table)
        super().online_write_batch(config, table, data, progress)

    async def online_write_batch_async(self, config: RepoConfig, table: FeatureView, data: Any, progress: Any) -> None:
        """As `online_write_batch`."""
        self._open(config)
        self._refuse_values(table)
        await super().online_write_batch_async(config, table, data, progress)

    def update(self, config: RepoConfig, tables_to_delete: Any, *args: Any, **kwargs: Any) -> None:
        """On `feast apply`: the state of removed views goes."""
        tables = list(tables_to_delete)
        if tables:
            self._open(config)
            for table in tables:
                self._forget(
                    config,
                    f"dp:{config.project}:*:{table.name}:*",
                    keys.pointer(config.project, table.name),
                    keys.heavy(config.project, table.name),
                )
        super().update(config, tables, *args, **kwargs)

    def teardown(self, config: RepoConfig, tables: Any, entities: Any) -> None:
        """On `feast teardown`: everything of the project goes."""
        self._open(config)
        self._forget(config, f"dp:{config.project}:*")
        super().teardown(config, tables, entities)

    def _forget(self, config: RepoConfig, pattern: str, *names: bytes) -> None:
        client = self._get_client(config.online_store)
        for name in [*names, *client.scan_iter(match=pattern, count=1000)]:
            client.unlink(name)

    def _open(self, config: RepoConfig) -> None:
        """Settle which Redis it is, once, before Feast's own code connects."""
        if not config.online_store.connection_string:
            config.online_store.connection_string = named(config) or address(config)

    def _refuse_values(self, table: FeatureView) -> None:
        if TAG in table.tags:
            raise InputError(
                f"view '{table.name}' is windowed: its values are computed from events at each read, so finished "
                "values cannot be written. Land events for the stream, or run `dualpath nightly`."
            )

    @contextmanager
    def _asked(self, config: RepoConfig, entity_rows: Any) -> Iterator[Any]:
        """Entity rows without their instants, which `AS_OF` holds for as long as the request lasts."""
        self._open(config)
        rows, as_of = instants.split(entity_rows, self.clock())
        token = AS_OF.set(as_of)
        try:
            yield rows
        except FAILED as error:
            where = shown(config.online_store.connection_string)
            raise UnavailableError(
                f"the online store cannot be read: Redis at {where} says: {error}. Start it or fix "
                "online_store.connection_string."
            ) from error
        finally:
            AS_OF.reset(token)

    def _reader_of(self, config: RepoConfig) -> state.Reader:
        if self._reader is None or self._reader.project != config.project:
            cluster = config.online_store.redis_type == RedisType.redis_cluster
            self._reader = state.Reader(config.project, cluster=cluster)
        return self._reader


class _Compiled:
    """What answering from a windowed view takes that depends on nothing but its declaration and the features."""

    def __init__(self, declared: str, features: tuple[str, ...]) -> None:
        self.plan = plan(View.from_dict(json.loads(declared)), features)
        self.format = state.Format(self.plan.layout)
        view = self.plan.view
        self.keys = [(key, protos.SCALARS[view.source.by_name[key].kind]) for key in view.keys]


_compiled = lru_cache(maxsize=512)(_Compiled)


class _Request:
    """One call of `get_online_features`: which views, which entities, which instants."""

    def __init__(
        self,
        store: DualpathRedisOnlineStore,
        config: RepoConfig,
        grouped_refs: Sequence[Any],
        join_keys: dict[str, Any],
        names: dict[str, str],
        response: GetOnlineFeaturesResponse,
        full_names: bool,
        *_: Any,
    ) -> None:
        self.store, self.project, self.grouped_refs = store, config.project, grouped_refs
        self.reader = store._reader_of(config)
        self.response, self.full_names = response, full_names
        now, as_of, slack = store.clock(), AS_OF.get(), config.online_store.slack_seconds
        rows = len(next(iter(join_keys.values()), ()))
        self.as_of = np.full(rows, now, dtype=np.int64) if as_of is None else as_of
        self.floor = 0 if slack is None or as_of is None else now - slack * 1_000_000
        self.windowed = [
            _Windowed(table, _compiled(table.tags[TAG], tuple(features)), names, join_keys)
            if TAG in table.tags
            else None
            for table, features in grouped_refs
        ]

    def steps(self) -> state.Steps[None]:
        """Compute the values of the windowed views."""
        windowed = [w for w in self.windowed if w]
        if not windowed:
            return
        states = yield from self.reader.read([w.ask for w in windowed])
        codes: list[int] = []
        for each, found in zip(windowed, states, strict=True):
            floor = max(self.floor, found.floor)
            if floor and self.as_of.min(initial=floor) < floor:
                raise InputError(
                    f"view '{each.ask.view}': an event_timestamp lies before {np.datetime64(floor, 'us')}Z, further "
                    "back than the online store remembers; use get_historical_features, or raise "
                    "online_store.slack_seconds."
                )
            codes += each.evaluate(found, self.as_of)
        yield from state.texts(self.project, codes, self.store._texts)

    def groups(self) -> Iterator[list[Any]]:
        """Fill the response, view by view; an ordinary view is handed out, for Feast to fill in."""
        for group, windowed in zip(self.grouped_refs, self.windowed, strict=True):
            if windowed:
                windowed.fill(self.response, self.full_names, self.as_of, self.store._texts)
            else:
                before = len(self.response.results)
                yield [group]
                expire(group[0], self.response.results[before:], self.as_of)


class _Windowed:
    """One windowed view within a request: row i asks about entity `rows[i]` of `ask`."""

    def __init__(self, table: FeatureView, compiled: _Compiled, names: Any, join_keys: Any) -> None:
        given = utils._get_table_entity_values(table, names, join_keys)
        columns = [[getattr(v, attribute) for v in given[key]] for key, attribute in compiled.keys]
        where: dict[Any, int] = {}
        self.rows = np.array([where.setdefault(n, len(where)) for n in zip(*columns, strict=True)], dtype=np.int64)
        self.table, self.plan = table, compiled.plan
        self.ask = state.Ask(
            self.plan.view.name, self.plan.view.source.name, compiled.format, [keys.entity(n) for n in where]
        )
        self.values: dict[str, Any] = {}
        self.found: list[bool] = []

    def evaluate(self, found: state.State, as_of: np.ndarray) -> list[int]:
        """Compute the values; answers the text codes they hold."""
        spans = found.starts[self.rows[:, None] + START_AND_END]
        try:
            self.values = self.plan.evaluate(found.words, spans, as_of)
        except FoldError as error:
            raise InputError(f"{error.message} (entity '{self.ask.entities[self.rows[error.row]]}')") from None
        self.found = (spans[:, 1] > spans[:, 0]).tolist()
        return [c for name, v in self.values.items() for c in protos.codes(v, self.plan.outputs[name])]

    def fill(
        self, response: GetOnlineFeaturesResponse, full_names: bool, as_of: np.ndarray, texts: dict[int, str]
    ) -> None:
        """Add the view's features to Feast's response."""
        prefix = f"{self.table.projection.name_to_use()}__" if full_names else ""
        response.metadata.feature_names.val.extend([prefix + name for name in self.values])
        shared = protos.vector(self.found, as_of)
        for name, values in self.values.items():
            vector = response.results.add()
            vector.MergeFromString(shared)
            protos.fill(vector.values, values, self.plan.outputs[name], texts)


def expire(table: FeatureView, vectors: Sequence[Any], as_of: np.ndarray) -> None:
    """Apply an ordinary view's TTL to what Feast read, as the offline store does: too old is null."""
    ttl = table.ttl
    if not ttl:
        return
    oldest = as_of - int(ttl.total_seconds() * 1_000_000)
    for vector in vectors:
        for i, (stamp, edge) in enumerate(zip(vector.event_timestamps, oldest.tolist(), strict=True)):
            if vector.statuses[i] == FieldStatus.PRESENT and stamp.seconds * 1_000_000 + stamp.nanos // 1000 < edge:
                vector.values[i].CopyFrom(ValueProto())
                vector.statuses[i] = FieldStatus.OUTSIDE_MAX_AGE
