"""Feast's Redis online store with windowed views, whose values are computed from state at each read.

Callers change nothing. An entity row may have an `event_timestamp`, as a row of an `entity_df` has; the answer is then
for that instant, and otherwise for the present. Other views are Feast's own.

A read goes through these modules, in this order: `selection` and `request` read the request, Feast calls
`_read_features_per_fv` below, `answer` reads the records (`dualpath.online.reader`) and folds them (`dualpath.plan`),
and `response` encodes the values, or `columns` lists them.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Literal

from feast import FeatureView, RepoConfig, utils
from feast.infra.infra_object import InfraObject
from feast.infra.online_stores.redis import RedisOnlineStore, RedisType
from feast.infra.registry.base_registry import BaseRegistry
from feast.online_response import OnlineResponse
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from redis.asyncio import RedisCluster

from dualpath.declare import is_windowed, view_of
from dualpath.errors import InputError
from dualpath.feast import derived, errors, evolution, request
from dualpath.feast.answer import Answer
from dualpath.feast.columns import Columns
from dualpath.feast.online_settings import OnlineSettings
from dualpath.feast.response import Response
from dualpath.feast.selection import Selection, select
from dualpath.feast.served_log import Served, ServedLog
from dualpath.online import reader, removal
from dualpath.online.clients import Clients
from dualpath.online.connection import address, located, named, shown
from dualpath.online.deadline import Budget


class DualpathRedisOnlineStoreConfig(OnlineSettings):
    """The settings under the names by which `feature_store.yaml` may choose the store.

    Feast looks for the store in the module of this class.
    """

    type: Literal[
        "dualpath.feast.online.DualpathRedisOnlineStore",
        "dualpath.stores.online.DualpathRedisOnlineStore",  # its name before, for one release
    ] = "dualpath.feast.online.DualpathRedisOnlineStore"  # type: ignore[assignment]


class DualpathRedisOnlineStore(RedisOnlineStore):
    """Named in `feature_store.yaml` as `type: dualpath.feast.online.DualpathRedisOnlineStore`."""

    def __init__(self, clock: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self.clock = clock
        self._clients = Clients()
        self._texts: dict[int, str] = {}
        self._reader: reader.Reader | None = None
        self.served_log = ServedLog()

    def get_online_features(
        self,
        config: RepoConfig,
        features: Any,
        entity_rows: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """Feast's call; a row's `event_timestamp` (a datetime or ISO-8601 text) is its `as_of`.

        The columns of the answer are the join keys, then the features in the order of the request.
        """
        serving: Any = derived.ServingRegistry(registry)
        with self._request(config, serving, project, features, full_feature_names, entity_rows) as (current, rows):
            response = super().get_online_features(
                config, features, rows, serving, project, full_feature_names, include_feature_view_version_metadata
            )
        return self._logged(config, registry, features, current.selection, rows, response)

    async def get_online_features_async(
        self,
        config: RepoConfig,
        features: Any,
        entity_rows: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """The same without blocking the event loop."""
        serving: Any = derived.ServingRegistry(registry)
        with self._request(config, serving, project, features, full_feature_names, entity_rows) as (current, rows):
            response = await super().get_online_features_async(
                config, features, rows, serving, project, full_feature_names, include_feature_view_version_metadata
            )
        return self._logged(config, registry, features, current.selection, rows, response)

    async def get_columns(
        self, config: RepoConfig, features: Any, entity_rows: Any, registry: BaseRegistry, full_feature_names: bool
    ) -> Columns:
        """The answer of `get_online_features_async` as plain columns.

        Feast's protobuf is only built where Feast answers: for an ordinary or an on-demand view, and for a feature
        service whose answers are logged.
        """
        serving: Any = derived.ServingRegistry(registry)
        asked = self._request(config, serving, config.project, features, full_feature_names, entity_rows)
        with asked as (current, rows):
            if current.selection.all_windowed and getattr(features, "logging_config", None) is None:
                answer = self._answer(config)
                await self._compute_async(config, answer, Budget(_deadline(config)))
                return answer.columns(rows)
            found = await super().get_online_features_async(
                config, features, rows, serving, config.project, full_feature_names
            )
        response = self._logged(config, registry, features, current.selection, rows, found)
        return Columns.of(response, current.as_of)

    def _read_features_per_fv(
        self, config: RepoConfig, grouped_refs: Any, join_keys: Any, names: Any, response: Any, *rest: Any
    ) -> None:
        answer, budget = self._answer(config), Budget(_deadline(config))

        def call(method: str, arguments: tuple[Any, ...]) -> Any:
            with budget.spending():
                return getattr(self._get_client(config.online_store), method)(*arguments)

        reader.run(answer.compute(), call)
        for group, own_keys in answer.fill(response, join_keys):
            with budget.spending():
                super()._read_features_per_fv(config, group, own_keys, names, response, *rest)

    async def _read_features_per_fv_async(
        self, config: RepoConfig, grouped_refs: Any, join_keys: Any, names: Any, response: Any, *rest: Any
    ) -> None:
        answer, budget = self._answer(config), Budget(_deadline(config))
        await self._compute_async(config, answer, budget)
        for group, own_keys in answer.fill(response, join_keys):
            async with self._clients.spending(budget):
                await super()._read_features_per_fv_async(config, group, own_keys, names, response, *rest)

    async def _compute_async(self, config: RepoConfig, answer: Answer, budget: Budget) -> None:
        async def call(method: str, arguments: tuple[Any, ...]) -> Any:
            async with self._clients.spending(budget):
                return await getattr(await self._get_client_async(config.online_store), method)(*arguments)

        await reader.run_async(answer.compute(), call)

    def _get_client(self, online_store_config: Any) -> Any:
        return self._clients.shared(_address(online_store_config))

    async def _get_client_async(self, online_store_config: Any) -> Any:
        return await self._clients.of_loop(_address(online_store_config))

    async def ping(self, config: RepoConfig) -> None:
        """Raise `UnavailableError` unless Redis, each primary of a cluster, answers within a read's deadline."""
        with self._translated(config):
            self._open(config)
            async with self._clients.spending(Budget(_deadline(config))):
                client = await self._get_client_async(config.online_store)
                every = {"target_nodes": RedisCluster.PRIMARIES} if isinstance(client, RedisCluster) else {}
                await client.ping(**every)

    async def close(self) -> None:
        """Close the client of the event loop, when `feast serve` ends."""
        await self._clients.close()

    def online_write_batch(self, config: RepoConfig, table: FeatureView, data: Any, progress: Any) -> None:
        """Feast's own for ordinary views; values of a windowed view are refused, because it takes events."""
        with self._translated(config):
            self._open(config)
            self._refuse_values(table)
            super().online_write_batch(config, table, data, progress)

    async def online_write_batch_async(self, config: RepoConfig, table: FeatureView, data: Any, progress: Any) -> None:
        """As `online_write_batch`."""
        with self._translated(config):
            self._open(config)
            self._refuse_values(table)
            await super().online_write_batch_async(config, table, data, progress)

    def plan(self, config: RepoConfig, desired_registry_proto: RegistryProto) -> list[InfraObject]:
        """On `feast plan`: say what becomes of records. The registry has nothing of Redis."""
        found = {each.spec.name: view_of(FeatureView.from_proto(each)) for each in desired_registry_proto.feature_views}
        declared = {name: view for name, view in found.items() if view}
        print(*evolution.lines(evolution.changes(config, declared)), sep="\n")
        return []

    def update(self, config: RepoConfig, tables_to_delete: Any, *args: Any, **kwargs: Any) -> None:
        """On `feast apply`: delete the state of removed windowed views; Feast itself only sees the ordinary ones."""
        windowed, ordinary = _split(tables_to_delete)
        with self._translated(config):
            if windowed:
                self._open(config)
                removal.remove_views(
                    self._get_client(config.online_store), config.project, [table.name for table in windowed]
                )
            super().update(config, ordinary, *args, **kwargs)

    def teardown(self, config: RepoConfig, tables: Any, entities: Any) -> None:
        """On `feast teardown`: delete everything of the project."""
        with self._translated(config):
            self._open(config)
            removal.remove_project(self._get_client(config.online_store), config.project)
            super().teardown(config, _split(tables)[1], entities)

    def _open(self, config: RepoConfig) -> None:
        """Decide once which Redis it is, before anything connects."""
        if not config.online_store.connection_string:
            config.online_store.connection_string = named(config) or address(config, _deadline(config))

    def _translated(
        self, config: RepoConfig, explain: Callable[[Exception], Any] = lambda _: None
    ) -> AbstractContextManager[None]:
        return errors.translated(lambda: shown(config.online_store.connection_string), explain)

    def _refuse_values(self, table: FeatureView) -> None:
        if is_windowed(table):
            raise InputError(
                f"view '{table.name}' is windowed: its values are computed from events at each read, so finished "
                "values cannot be written. Land events for the stream, or run `dualpath nightly`."
            )

    @contextmanager
    def _request(
        self, config: RepoConfig, registry: Any, project: str, features: Any, full_names: bool, entity_rows: Any
    ) -> Iterator[tuple[request.Request, Any]]:
        """The request, which is `CURRENT` within, and its rows for Feast."""
        with self._translated(config, partial(errors.explain_request, registry, project, features)):
            context = utils._get_cached_request_context(registry, project, features, full_names)
            current = request.read(entity_rows, self.clock(), select(context, full_names))
            columns = current.columns()
            request.check_precomputed(features, current)
            self._open(config)
            token = request.CURRENT.set(current)
            try:
                yield current, columns
            finally:
                request.CURRENT.reset(token)

    def _logged(
        self,
        config: RepoConfig,
        registry: Any,
        features: Any,
        selection: Selection,
        columns: Any,
        found: OnlineResponse,
    ) -> Response:
        """The answer, which is logged too if it is one to a feature service that asks for it."""
        answer = Response(found, selection)
        if self.served_log.wants(features):
            data = {name: columns[name] for name in selection.data if name in columns}
            self.served_log.offer(Served(config, registry, features, selection, answer, data, self.clock()))
        return answer

    def _answer(self, config: RepoConfig) -> Answer:
        return Answer(self._reader_of(config), self._texts, config.online_store)

    def _reader_of(self, config: RepoConfig) -> reader.Reader:
        if self._reader is None or self._reader.project != config.project:
            cluster = config.online_store.redis_type == RedisType.redis_cluster
            self._reader = reader.Reader(config.project, cluster=cluster)
        return self._reader


def _address(online_store: Any) -> str:
    return located(online_store.connection_string, online_store.redis_type)


def _split(tables: Iterable[FeatureView]) -> tuple[list[FeatureView], list[FeatureView]]:
    """The windowed views, and the ordinary ones."""
    all_of_them = list(tables)
    windowed = [table for table in all_of_them if is_windowed(table)]
    return windowed, [table for table in all_of_them if not is_windowed(table)]


def _deadline(config: RepoConfig) -> float:
    return config.online_store.read_deadline_ms / 1000
