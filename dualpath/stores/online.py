"""Feast's Redis online store, with windowed views: state in, values at the instant of the read out.

Callers change nothing. An entity row may carry an `event_timestamp`, as the rows of an `entity_df` do, to ask
for that instant; without one the answer is for the present. Views that are not windowed are Feast's own.
"""

import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Literal

import numpy as np
from feast import FeatureView, RepoConfig, utils
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from google.protobuf.timestamp_pb2 import Timestamp
from redis import RedisError

from dualpath.declare import view_of
from dualpath.errors import InputError, UnavailableError
from dualpath.plan import FoldError, Plan, plan
from dualpath.stores import instants, keys, protos, state
from dualpath.stores.connection import address
from dualpath.view import View

AS_OF: ContextVar[np.ndarray | None] = ContextVar("AS_OF", default=None)
"""The instants of the request under way, int64[rows]; None: the present."""


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
        self._views: dict[str, tuple[str, View]] = {}
        self._texts: dict[int, str] = {}
        self._reader: state.Reader | None = None

    def get_online_features(
        self, config: RepoConfig, features: Any, entity_rows: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Feast's call; `event_timestamp` in a row (datetime, ISO-8601 text or microseconds) is its `as_of`."""
        self._open(config)
        rows, as_of = instants.split(entity_rows, self.clock())
        token = AS_OF.set(as_of)
        try:
            return super().get_online_features(config, features, rows, *args, **kwargs)
        except RedisError as error:
            raise self._unavailable(config, error) from error
        finally:
            AS_OF.reset(token)

    async def get_online_features_async(
        self, config: RepoConfig, features: Any, entity_rows: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """The same without blocking the event loop."""
        self._open(config)
        rows, as_of = instants.split(entity_rows, self.clock())
        token = AS_OF.set(as_of)
        try:
            return await super().get_online_features_async(config, features, rows, *args, **kwargs)
        except RedisError as error:
            raise self._unavailable(config, error) from error
        finally:
            AS_OF.reset(token)

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: Sequence[Any],
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: GetOnlineFeaturesResponse,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        request = _Request(self, config, join_key_values, entity_name_to_join_key_map, AS_OF.get())
        windowed = [request.view(*group) for group in grouped_refs if self._view(group[0])]
        if windowed:
            client = self._get_client(config.online_store)
            asks = [w.ask for w in windowed]
            answers = client.mget(request.reader.keys(asks))
            while request.reader.moved(asks, answers):
                answers = client.mget(request.reader.keys(asks))
            request.evaluate(windowed, answers)
            state.texts(client, config.project, request.codes, self._texts)
        ready = iter(windowed)
        for group in grouped_refs:
            if self._view(group[0]):
                next(ready).fill(online_features_response, full_feature_names, self._texts)
                continue
            before = len(online_features_response.results)
            super()._read_features_per_fv(
                config, [group], join_key_values, entity_name_to_join_key_map, online_features_response,
                full_feature_names, include_feature_view_version_metadata,
            )  # fmt: skip
            expire(group[0], online_features_response.results[before:], request.as_of)

    async def _read_features_per_fv_async(
        self,
        config: RepoConfig,
        grouped_refs: Sequence[Any],
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: GetOnlineFeaturesResponse,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        request = _Request(self, config, join_key_values, entity_name_to_join_key_map, AS_OF.get())
        windowed = [request.view(*group) for group in grouped_refs if self._view(group[0])]
        if windowed:
            client = await self._get_client_async(config.online_store)
            asks = [w.ask for w in windowed]
            answers = await client.mget(request.reader.keys(asks))
            while request.reader.moved(asks, answers):
                answers = await client.mget(request.reader.keys(asks))
            request.evaluate(windowed, answers)
            missing = [c for c in dict.fromkeys(request.codes) if c not in self._texts]
            if missing:
                found = await client.hmget(keys.dictionary(config.project), missing)
                state.note(missing, found, self._texts)
        ready = iter(windowed)
        for group in grouped_refs:
            if self._view(group[0]):
                next(ready).fill(online_features_response, full_feature_names, self._texts)
                continue
            before = len(online_features_response.results)
            await super()._read_features_per_fv_async(
                config, [group], join_key_values, entity_name_to_join_key_map, online_features_response,
                full_feature_names, include_feature_view_version_metadata,
            )  # fmt: skip
            expire(group[0], online_features_response.results[before:], request.as_of)

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
                self._forget(config, f"dp:{config.project}:*:{table.name}:*", keys.pointer(config.project, table.name))
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
            config.online_store.connection_string = address(config)

    def _view(self, table: FeatureView) -> View | None:
        """The declaration behind a table, parsed once for each version of it."""
        declared = table.tags.get("dualpath")
        if declared is None:
            return None
        known = self._views.get(table.name)
        if known is None or known[0] != declared:
            view = view_of(table)
            assert view is not None, "it has the tag"
            known = self._views[table.name] = (declared, view)
        return known[1]

    def _refuse_values(self, table: FeatureView) -> None:
        if self._view(table):
            raise InputError(
                f"view '{table.name}' is windowed: its values are computed from events at each read, so finished "
                "values cannot be written. Land events for the stream, or run `dualpath nightly`."
            )

    def _unavailable(self, config: RepoConfig, error: Exception) -> UnavailableError:
        where = config.online_store.connection_string.split(",")[0]
        return UnavailableError(f"the online store cannot be read: Redis at {where} says: {error}. Start it or fix "
                                "online_store.connection_string.")  # fmt: skip


class _Request:
    """One call of `get_online_features`: which instants, which entities."""

    def __init__(
        self, store: DualpathRedisOnlineStore, config: RepoConfig, join_keys: Any, names: Any, as_of: Any
    ) -> None:
        self.store, self.join_keys, self.names = store, join_keys, names
        if store._reader is None or store._reader.project != config.project:
            store._reader = state.Reader(config.project)
        self.reader = store._reader
        rows = len(next(iter(join_keys.values()), ()))
        now = store.clock()
        self.as_of = np.full(rows, now, dtype=np.int64) if as_of is None else as_of
        slack = config.online_store.slack_seconds
        self.floor = 0 if slack is None or as_of is None else now - slack * 1_000_000
        self.codes: list[int] = []

    def view(self, table: FeatureView, features: list[str]) -> "_Windowed":
        view = self.store._view(table)
        assert view is not None, "the caller chose windowed tables"
        values = utils._get_table_entity_values(table, self.names, self.join_keys)
        columns = []
        for key in view.keys:
            attribute = protos.SCALARS[view.source.by_name[key].kind]
            columns.append([getattr(v, attribute) for v in values[key]])
        names = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        where: dict[Any, int] = {}
        rows = np.array([where.setdefault(n, len(where)) for n in names], dtype=np.int64)
        entities = [keys.entity(n if len(columns) > 1 else (n,)) for n in where]
        chosen = plan(view, tuple(features))
        return _Windowed(table, chosen, rows, state.Ask(view.name, chosen.layout, entities), self.as_of)

    def evaluate(self, windowed: "list[_Windowed]", answers: Any) -> None:
        for each, (words, starts) in zip(windowed, self.reader.take([w.ask for w in windowed], answers), strict=True):
            floor = max(self.floor, self.reader.pointer(each.ask.view).floor)
            if floor and self.as_of.min() < floor:
                raise InputError(
                    f"view '{each.ask.view}': an event_timestamp lies before {np.datetime64(floor, 'us')}Z, further back "
                    "than the online store remembers; use get_historical_features, or raise online_store.slack_seconds."
                )
            self.codes += each.evaluate(words, starts)


class _Windowed:
    """One windowed view within a request."""

    def __init__(self, table: FeatureView, chosen: Plan, rows: np.ndarray, ask: state.Ask, as_of: np.ndarray) -> None:
        self.table, self.plan, self.rows, self.ask, self.as_of = table, chosen, rows, ask, as_of
        self.values: dict[str, Any] = {}
        self.found: list[bool] = []

    def evaluate(self, words: np.ndarray, starts: np.ndarray) -> list[int]:
        """Compute the values; answers the text codes they hold."""
        spans = np.stack([starts[self.rows], starts[self.rows + 1]], axis=1)
        try:
            self.values = self.plan.evaluate(words, spans, self.as_of)
        except FoldError as error:
            raise InputError(f"{error.message} (entity '{self.ask.entities[self.rows[error.row]]}')") from None
        self.found = (spans[:, 1] > spans[:, 0]).tolist()
        return [c for name, v in self.values.items() for c in protos.codes(v, self.plan.outputs[name])]

    def fill(self, response: GetOnlineFeaturesResponse, full_names: bool, texts: dict[int, str]) -> None:
        """Add the view's features to Feast's response."""
        prefix = f"{self.table.projection.name_to_use()}__" if full_names else ""
        statuses = [FieldStatus.PRESENT if found else FieldStatus.NOT_FOUND for found in self.found]
        instants_ = [
            Timestamp(seconds=s, nanos=u * 1000) for s, u in (divmod(t, 1_000_000) for t in self.as_of.tolist())
        ]
        for name, values in self.values.items():
            response.metadata.feature_names.val.append(prefix + name)
            filled = protos.protos(values, self.plan.outputs[name], texts)
            response.results.add(values=filled, statuses=statuses, event_timestamps=instants_)


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
