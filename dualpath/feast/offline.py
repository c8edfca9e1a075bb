"""Feast's offline store over record files: training sets with the bits that serving answers.

The kernel computes windowed views, in this process or on Spark. Feast's DuckDB store computes ordinary views. One
feature service may have both.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa
from feast import FeatureStore, FeatureView, OnDemandFeatureView, RepoConfig
from feast.errors import RequestDataNotFoundInEntityDfException
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob
from feast.utils import _parse_feature_ref

from dualpath import extras
from dualpath.declare import is_event_log, is_windowed, sources_of
from dualpath.errors import InputError
from dualpath.feast import evolution, ordinary, training_known, windowed
from dualpath.feast.derived import derived
from dualpath.feast.errors import translated
from dualpath.feast.offline_settings import OfflineSettings
from dualpath.feast.training_rows import TrainingRows, dataset, named, read, rows_of_events
from dualpath.feast.training_set import TrainingSet
from dualpath.repo import root


class DualpathOfflineStoreConfig(OfflineSettings):
    """The settings, with the name of the store."""

    type: Literal[
        "dualpath.feast.offline.DualpathOfflineStore",
        "dualpath.stores.offline.DualpathOfflineStore",  # its name before, for one release
    ] = "dualpath.feast.offline.DualpathOfflineStore"


class DualpathOfflineStore(OfflineStore):
    """Named in `feature_store.yaml` as `type: dualpath.feast.offline.DualpathOfflineStore`."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    @translated()
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
        """A training set: `entity_df` with the features appended.

        `entity_df` is a pandas DataFrame, an Arrow table, the path of a Parquet file or of a folder of some, or a Spark
        DataFrame; without one the rows are those of `rows_of_events`. The columns are those of `entity_df`, then the
        features in the order of the request. Rows keep their order; those of a Spark DataFrame, and of more than
        `spark_above_rows` rows in files, have none, and get one row each in no order, from a `SparkTrainingSet`.

        Raises `InputError` for a missing join key, a missing or ambiguous instant, and a column of `entity_df` that is
        named like a feature; of a Spark DataFrame also for a view that is not windowed.
        """
        start, end = kwargs.pop("start_date", None), kwargs.pop("end_date", None)
        if kwargs.get("filter_by_created_timestamp"):
            _no_windowed(feature_views)
        if entity_df is None:
            entity_df = rows_of_events(config, feature_views, start, end)
        elif isinstance(entity_df, str) and _call():  # a remote caller's path would be one of the server's
            entity_df = _of_path(config, entity_df, feature_views)
        frame = entity_df if _is_spark_frame(entity_df) else None
        if frame is not None:
            from dualpath.feast import spark_frames

        rows = read(entity_df) if frame is None else spark_frames.read(frame)
        odfvs = [*map(derived, OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry))]
        given = training_known.given(rows, feature_views)
        requested = [ref for ref in dict.fromkeys(map(_plain, _requested(feature_refs))) if ref not in given]
        refs = [*requested, *sorted({*map(_plain, feature_refs)} - {*requested, *given})]
        views = {fv.projection.name_to_use(): fv for fv in feature_views}
        names = {ref: _column(ref, views, full_feature_names) for ref in refs}
        training_known.check(rows, feature_views)
        _check(rows, names, odfvs)

        of_view = {name: [_parts(ref)[1] for ref in names if _parts(ref)[0] == name] for name in views}
        in_order = [names[ref] for ref in requested]

        def wanted() -> dict[str, windowed.Wanted]:
            found = {name: fv for name, fv in views.items() if is_windowed(fv)}
            return {name: windowed.Wanted.of(config, fv, of_view[name], rows) for name, fv in found.items()}

        if frame is not None:
            from dualpath.feast import spark_set

            _windowed_alone(feature_views)
            placed = {_parts(ref): column for ref, column in names.items()}
            return spark_set.SparkTrainingSet(
                config, rows, frame, wanted, placed, refs, in_order, full_feature_names, odfvs
            )

        def compute() -> pa.Table:
            asked = wanted()
            found = dict(zip(asked, windowed.features(config, [*asked.values()], rows), strict=True))
            for name, fv in views.items():
                if name not in found:
                    found[name] = ordinary.features(config, fv, of_view[name], rows, registry, **kwargs)
            table = rows.table()
            for ref, column in names.items():
                view, feature = _parts(ref)
                if view in found:  # Feast adds the features of on-demand views
                    table = table.append_column(column, found[view][feature])
            return table

        return TrainingSet(config, rows, compute, refs, in_order, full_feature_names, odfvs)

    @staticmethod
    @translated()
    def pull_latest_from_table_or_query(
        config: RepoConfig, data_source: Any, *args: Any, **kwargs: Any
    ) -> RetrievalJob:
        """Feast's own, for ordinary views; the batch engine materialises windowed ones as state."""
        _no_event_log(
            data_source,
            "views of it are materialised with `batch_engine: {type: dualpath.feast.engine.DualpathComputeEngine}`",
        )
        source = ordinary.located(config, data_source)
        return ordinary.store().pull_latest_from_table_or_query(ordinary.configured(config), source, *args, **kwargs)

    @staticmethod
    def pull_all_from_table_or_query(config: RepoConfig, data_source: Any, *args: Any, **kwargs: Any) -> RetrievalJob:
        """Feast's own, for ordinary views, saved datasets and logged features."""
        source = ordinary.located(config, data_source)
        return ordinary.store().pull_all_from_table_or_query(ordinary.configured(config), source, *args, **kwargs)

    @staticmethod
    @translated()
    def offline_write_batch(config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Any) -> None:
        """Feast's own for ordinary views; only the batch job writes a windowed view."""
        if is_windowed(feature_view):
            raise InputError(f"view '{feature_view.name}' is windowed: land events for it instead of values.")
        view = ordinary.view_at(config, feature_view)
        ordinary.store().offline_write_batch(ordinary.configured(config), view, table, progress)

    @staticmethod
    @translated()
    def write_logged_features(config: RepoConfig, data: Any, source: Any, logging_config: Any, registry: Any) -> None:
        """Feast's own, for feature services of either kind of view."""
        ordinary.log(config, data, source, logging_config, registry)

    @translated()
    def validate_data_source(self, config: RepoConfig, data_source: Any) -> None:
        """Feast's own, but for event logs: what is in one must be readable by the declaration that is to be applied."""
        if is_event_log(data_source):
            for source in sources_of(data_source):
                evolution.check(config, source)
        else:
            super().validate_data_source(config, data_source)

    @translated()
    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: Any
    ) -> Iterable[tuple[str, str]]:
        """The columns of an ordinary view's source; Feast asks for them before it writes into it."""
        _no_event_log(data_source, "land events for it instead of values")
        source = ordinary.located(config, data_source)
        return super().get_table_column_names_and_types_from_data_source(config, source)


def _requested(feature_refs: list[str]) -> list[str]:
    """The features that the caller requested, in that order.

    Feast adds the inputs of on-demand views to them, in an order that differs by process, and passes on nothing that
    tells the two apart. Of a remote caller all count as requested.
    """
    call = _call()
    return call["_feature_refs"] if call else feature_refs


def _call() -> Mapping[str, Any] | None:
    """The variables of Feast's own stack frame, which has the request; None if the caller is remote."""
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        # Found by its names and not by its code, because tracing tools wrap Feast's functions in their own.
        if frame.f_globals.get("__name__") == FeatureStore.__module__ and "_feature_refs" in frame.f_locals:
            return frame.f_locals
    return None


def _plain(ref: str) -> str:
    """A reference without `@latest`, for which Feast adds the plain one too."""
    return ":".join(_parts(ref))


def _parts(ref: str) -> tuple[str, str]:
    """The view, with a version if one is named, and the feature of a reference."""
    view, version, feature = _parse_feature_ref(ref)
    return (view if version is None else f"{view}@v{version}"), feature


def _column(ref: str, views: dict[str, FeatureView], full_names: bool) -> str:
    """The name of a feature's column, without a version, as in Feast's own stores."""
    view, feature = _parts(ref)
    if not full_names:
        return feature
    fv = views.get(view)
    return f"{(fv.projection.name_alias or fv.name) if fv else view}__{feature}"


def _check(rows: TrainingRows, names: dict[str, str], odfvs: list[OnDemandFeatureView]) -> None:
    """Refuse two columns of one name, and missing request data."""
    taken: dict[str, str] = {}
    for ref, column in names.items():
        if column in taken:
            raise InputError(f"'{taken[column]}' and '{ref}' are both named '{column}'; pass full_feature_names=True.")
        taken[column] = ref
    if odfvs:  # Feast gives the inputs of on-demand views both names
        for ref in names:
            taken |= {ref.split(":")[1]: ref, ref.replace(":", "__"): ref}
    for name in rows.given:
        if name in taken:
            raise InputError(f"entity_df has a column '{name}', which is the name of '{taken[name]}'; rename it.")
    for odfv in odfvs:
        for name in odfv.get_request_data_schema():
            if name not in rows.given:
                raise RequestDataNotFoundInEntityDfException(name, odfv.name)


def _is_spark_frame(entity_df: Any) -> bool:
    spark = sys.modules.get("pyspark.sql")  # imported, if there is such a frame
    return spark is not None and isinstance(entity_df, spark.DataFrame)


def _windowed_alone(views: Sequence[FeatureView]) -> None:
    for fv in views:
        if not is_windowed(fv):
            raise InputError(
                f"entity_df is a Spark DataFrame, and view '{fv.projection.name_to_use()}' is not windowed: its values "
                "are found in this process; pass a pandas DataFrame or an Arrow table, or ask for it on its own."
            )


def _of_path(config: RepoConfig, path: str, views: Sequence[FeatureView]) -> Any:
    """The rows of Parquet files: many are a Spark frame, if all views are windowed, others an Arrow table."""
    place = named(path)
    files = dataset(place) if place else None
    if place is None or files is None:
        return path
    if files.count_rows() > config.offline_store.spark_above_rows and all(map(is_windowed, views)):
        extras.require("spark")
        from dualpath.feast import spark_frames

        return spark_frames.of_files(place, files.schema, root(config))
    return files.to_table()


def _no_windowed(views: Sequence[FeatureView]) -> None:
    for fv in views:
        if is_windowed(fv):
            raise InputError(
                f"filter_by_created_timestamp: view '{fv.name}' is windowed, and each event has an arrival instead; "
                "pass a column known_at, by which an event must have arrived, or ask for ordinary views alone."
            )


def _no_event_log(data_source: Any, instead: str) -> None:
    if is_event_log(data_source):
        raise InputError(f"'{data_source.name}' is the event log of windowed views: {instead}.")
