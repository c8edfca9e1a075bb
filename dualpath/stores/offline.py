"""Feast's offline store over record files: training sets with the bits that serving answers.

Windowed views are computed by the kernel, in this process or on Spark; views that are not windowed are left to
Feast's DuckDB store, and both may stand in one feature service.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from feast import FeatureView, OnDemandFeatureView, RepoConfig
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.repo_config import FeastConfigBaseModel
from feast.utils import _get_requested_feature_views_to_features_dict
from pydantic import field_validator

from dualpath.declare import view_of
from dualpath.errors import InputError, quoted
from dualpath.stores import entities, instants, refusals, training
from dualpath.stores.derived import derived
from dualpath.stores.history import History
from dualpath.values import frame
from dualpath.view import View


class DualpathOfflineStoreConfig(FeastConfigBaseModel):
    """`path` is the folder of events and records, relative to the repo.

    Training sets of more than `spark_above_rows` rows are computed by Spark, smaller ones in this process. `stale` says
    what a training set does if the log has events that the record files lack: `refuse`, or only `warn`.
    """

    type: Literal["dualpath.stores.offline.DualpathOfflineStore"] = "dualpath.stores.offline.DualpathOfflineStore"
    path: str = "data"
    spark_above_rows: int = 2_000_000
    stale: Literal["refuse", "warn"] = "refuse"

    @field_validator("path")
    @classmethod
    def _is_local(cls, path: str) -> str:
        # Not a ValueError, which pydantic would wrap: Feast lets this one through as it is.
        if "://" in path:
            raise InputError(
                f"feature_store.yaml: offline_store.path is '{path}', but events and records are kept in a local "
                "folder; name one, relative to the repo or absolute, without a scheme."
            )
        return path


class DualpathOfflineStore(OfflineStore):
    """Named in `feature_store.yaml` as `type: dualpath.stores.offline.DualpathOfflineStore`."""

    @staticmethod
    @refusals.translated()
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        **kwargs: Any,
    ) -> RetrievalJob:
        """A training set: `entity_df` (pandas, one row per entity and instant) with the features appended.

        Rows and their order are kept. Instants without a time zone are UTC; finer than a microsecond is cut.
        Raises `InputError` for a missing join key or instant.
        """
        if not isinstance(entity_df, pd.DataFrame):
            raise InputError("get_historical_features needs an entity_df that is a pandas DataFrame.")
        windowed = [fv for fv in feature_views if view_of(fv)]
        ordinary = [fv for fv in feature_views if not view_of(fv)]
        odfvs = [*map(derived, OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry))]
        grouped, _ = _get_requested_feature_views_to_features_dict(feature_refs, feature_views, odfvs)
        time = infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))

        def compute() -> pa.Table:
            table = pa.Table.from_pandas(entity_df, preserve_index=False)
            if ordinary:
                names = {fv.projection.name_to_use() for fv in ordinary}
                refs = [ref for ref in feature_refs if ref.split(":")[0] in names]
                job = _feasts_own().get_historical_features(
                    config, ordinary, refs, entity_df.assign(__row=np.arange(len(entity_df))), registry, project,
                    full_feature_names, **kwargs,
                )  # fmt: skip
                table = job._to_arrow_internal().sort_by("__row").drop_columns(["__row"])
            as_of = instants.parse(entity_df[time], time)
            for fv in windowed:
                prefix = f"{fv.projection.name_to_use()}__" if full_feature_names else ""
                for name, column in features(config, fv, grouped[fv], table, as_of).items():
                    table = table.append_column(prefix + name, column)
            return table

        keys = [c for c in entity_df.columns if c != time]
        metadata = RetrievalMetadata(feature_refs, keys, entity_df[time].min(), entity_df[time].max())
        return TrainingSet(compute, metadata, full_feature_names, odfvs)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig, data_source: Any, *args: Any, **kwargs: Any
    ) -> RetrievalJob:
        """Feast's own, for ordinary views; windowed ones are materialised as state, by the batch engine."""
        return _feasts_own().pull_latest_from_table_or_query(config, data_source, *args, **kwargs)

    @staticmethod
    def pull_all_from_table_or_query(config: RepoConfig, data_source: Any, *args: Any, **kwargs: Any) -> RetrievalJob:
        """Feast's own."""
        return _feasts_own().pull_all_from_table_or_query(config, data_source, *args, **kwargs)

    @staticmethod
    @refusals.translated()
    def offline_write_batch(config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Any) -> None:
        """Feast's own for ordinary views; a windowed view is written by the batch job alone."""
        if view_of(feature_view):
            raise InputError(f"view '{feature_view.name}' is windowed: land events for it instead of values.")
        _feasts_own().offline_write_batch(config, feature_view, table, progress)

    def validate_data_source(self, config: RepoConfig, data_source: Any) -> None:
        """An event log need not exist yet when its views are applied; other sources must."""
        if data_source.path.endswith("/log") and data_source.timestamp_field == "event_time":
            return
        super().validate_data_source(config, data_source)


class TrainingSet(RetrievalJob):
    """A training set that is computed when it is asked for."""

    def __init__(
        self,
        compute: Callable[[], pa.Table],
        metadata: RetrievalMetadata,
        full_names: bool,
        odfvs: list[OnDemandFeatureView],
    ) -> None:
        self.compute, self._metadata, self._full_names, self._odfvs = compute, metadata, full_names, odfvs

    @refusals.translated()
    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self.compute()

    @refusals.translated()
    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return frame(self.compute())

    def to_df(self, validation_reference: Any = None, timeout: int | None = None) -> pd.DataFrame:
        """The training set for pandas; maps are dicts, as online."""
        return frame(self.to_arrow(validation_reference, timeout))

    @property
    def full_feature_names(self) -> bool:
        """Whether columns are named `view__feature`."""
        return self._full_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Derived features Feast adds."""
        return self._odfvs

    @property
    def metadata(self) -> RetrievalMetadata:
        """What was asked."""
        return self._metadata

    @refusals.translated()
    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the training set as Parquet to the storage's path."""
        path = Path(storage.file_options.uri)
        if path.exists() and not allow_overwrite:
            raise InputError(f"{path} exists; allow overwriting or name another.")
        path.parent.mkdir(parents=True, exist_ok=True)
        pa.parquet.write_table(self.to_arrow(timeout=timeout), path)


def features(
    config: RepoConfig, fv: FeatureView, names: list[str], table: pa.Table, as_of: np.ndarray
) -> dict[str, pa.Array]:
    """The named features of a windowed view for the rows of an entity table."""
    view = view_of(fv)
    assert view is not None, "the caller chose windowed views"
    columns = []
    for key in view.keys:
        column = fv.projection.join_key_map.get(key, key)
        if column not in table.column_names:
            raise InputError(f"entity_df has no column '{column}', the join key of view '{view.name}'; add it.")
        columns.append(entities.column(table[column], view.source.by_name[key].kind, column))
    entity = entities.entity(columns)
    history = History(Path(config.repo_path or ".") / config.offline_store.path)
    history.require(view, stale=config.offline_store.stale)
    if len(table) > config.offline_store.spark_above_rows:
        return on_spark(view, tuple(names), entity, as_of, history)
    records = history.records(view, pc.unique(entity))
    return training.values(view, names, entity, as_of, records, history.dictionary())


def on_spark(
    view: View, names: tuple[str, ...], entity: pa.Array, as_of: np.ndarray, history: History
) -> dict[str, pa.Array]:
    """The same on Spark; rows travel there and back as Arrow."""
    from dualpath.spark.session import session
    from dualpath.stores import distributed

    spark = session("dualpath-training")
    rows = pa.table({"row": np.arange(len(as_of)), "entity": entity, "as_of": as_of})
    try:
        found = distributed.features(spark, spark.createDataFrame(rows), view, names, history).toArrow().sort_by("row")
    except Exception as error:
        raise (InputError(said) if (said := quoted(error)) else error) from None
    return {name: found[name] for name in names}


def _feasts_own() -> type[OfflineStore]:
    """Feast's DuckDB store, imported when an ordinary view needs it: ibis takes a second."""
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStore

    return DuckDBOfflineStore
