"""Ordinary views, which are those that are not windowed: Feast's DuckDB store computes them.

That store resolves relative paths against the current folder. Here they are resolved against the repo, as `feast apply`
does, so a repo works from any folder.
"""

import copy
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from feast import FeatureView, FileSource, RepoConfig
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.offline_stores.offline_store import OfflineStore

from dualpath.errors import InputError
from dualpath.feast.selection import KEY_KINDS
from dualpath.feast.training_rows import TrainingRows

ROW = "__row"


def store() -> type[OfflineStore]:
    """Feast's DuckDB store, imported when an ordinary view needs it: ibis takes a second."""
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStore

    return DuckDBOfflineStore


def configured(config: RepoConfig) -> RepoConfig:
    """The repo's configuration with the settings that the DuckDB store expects of an offline store."""
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStoreConfig

    own = config.model_copy()
    own._offline_store = DuckDBOfflineStoreConfig()  # type: ignore[assignment]
    return own


def located(config: RepoConfig, source: Any) -> Any:
    """A file source with its path resolved against the repo; any other source as it is."""
    if not isinstance(source, FileSource):
        return source
    found = copy.copy(source)
    found.file_options = copy.copy(source.file_options)
    found.file_options.uri = FileSource.get_uri_for_file_path(config.repo_path, source.path)
    return found


def view_at(config: RepoConfig, fv: FeatureView) -> FeatureView:
    """A copy of a view with its source's path resolved against the repo."""
    found = copy.copy(fv)
    found.batch_source = located(config, fv.batch_source)
    return found


def features(
    config: RepoConfig, fv: FeatureView, names: Sequence[str], rows: TrainingRows, registry: Any, **kwargs: Any
) -> dict[str, pa.ChunkedArray]:
    """The named features of an ordinary view: for each row the newest values up to its instant.

    Aliased join keys are renamed here, because Feast's store joins by the aliased ones alone if there are several.
    """
    frame = {}
    for column in fv.entity_columns:
        key = rows.key(
            fv.projection.join_key_map.get(column.name, column.name),
            KEY_KINDS.get(column.dtype.to_value_type()),
            fv.projection.name_to_use(),
        )
        frame[column.name] = pd.Series(key, dtype=pd.ArrowDtype(key.type))
    frame["event_timestamp"] = pd.Series(rows.as_of.view("datetime64[us]")).dt.tz_localize("UTC")
    frame[ROW] = pd.Series(np.arange(len(rows.as_of)))
    found = view_at(config, fv)
    found.projection.join_key_map = {}
    refs = [f"{fv.projection.name_to_use()}:{name}" for name in names]
    job = store().get_historical_features(
        configured(config), [found], refs, pd.DataFrame(frame), registry, config.project, **kwargs
    )
    table = job.to_arrow().sort_by(ROW)
    return {name: table[name] for name in names}


def save(config: RepoConfig, table: pa.Table, source: Any, allow_overwrite: bool) -> None:
    """Write a table as a saved dataset; with `allow_overwrite`, one that exists is replaced as a whole.

    Raises Feast's `SavedDatasetLocationAlreadyExists`, and `InputError` for a folder with files in subfolders, which no
    saved dataset has: it may be an event log.
    """
    import ibis
    from feast.infra.offline_stores.duckdb import _write_data_source

    source = located(config, source)
    if isinstance(source, FileSource) and "://" not in source.path:
        path = Path(source.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if allow_overwrite and path.is_dir():
            for old in _files(path):  # Feast's store would add to them
                old.unlink()
    _write_data_source(
        ibis.memtable(in_microseconds(table)), source, str(config.repo_path), "overwrite", allow_overwrite
    )


def folder_of(config: RepoConfig, source: Any, allow_overwrite: bool) -> Path:
    """The folder of a saved dataset that Spark writes; raises as `save`."""
    source = located(config, source)
    if not isinstance(source, FileSource) or "://" in source.path:
        raise InputError(
            "the training set of a Spark frame is persisted to a local folder; name one with SavedDatasetFileStorage, "
            "or write what to_spark_df gives."
        )
    path = Path(source.path)
    if path.exists() and not allow_overwrite:
        raise SavedDatasetLocationAlreadyExists(location=source.path)
    if path.is_dir():
        _files(path)
    return path


def replace_folder(folder: Path, by: Path) -> None:
    """Let a saved dataset have the files of another folder."""
    if folder.is_file():
        folder.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    for old in _files(folder):
        old.unlink()
    for file in by.glob("*.parquet"):
        file.rename(folder / file.name)


def _files(folder: Path) -> list[Path]:
    """The files of a saved dataset in a folder; raises `InputError` for a folder that is none."""
    found = [*folder.rglob("*.parquet")]
    if any(file.parent != folder for file in found):
        raise InputError(
            f"{folder} has Parquet files in subfolders, which no saved dataset has, so it is not overwritten; "
            "name a folder of its own."
        )
    return found


def log(config: RepoConfig, data: pa.Table | Path, source: Any, logging: LoggingConfig, registry: Any) -> None:
    """Add logged features to their destination, a folder of Parquet files; a reader finds each file whole."""
    destination = logging.destination
    if not isinstance(destination, FileLoggingDestination):
        raise InputError(
            f"features cannot be logged to a {type(destination).__name__}; use a FileLoggingDestination in the "
            "logging_config of the feature service."
        )
    path = FileSource.get_uri_for_file_path(config.repo_path, destination.path)
    table = in_microseconds(pq.read_table(data) if isinstance(data, Path) else data)
    if "://" in path:
        destination = copy.copy(destination)
        destination.path = path
        here = LoggingConfig(destination, logging.sample_rate)
        store().write_logged_features(configured(config), table, source, here, registry)
        return
    # Feast's store has one DuckDB connection for all threads, and it refuses the second.
    if not len(table):
        return
    name, folder = uuid4().hex, Path(path)
    staged = folder / f".{name}"
    partitions = {"partitioning": destination.partition_by, "partitioning_flavor": "hive"}
    ds.write_dataset(
        table,
        staged,
        format="parquet",
        basename_template=f"{name}-{{i}}.parquet",
        **(partitions if destination.partition_by else {}),
    )
    for file in staged.rglob("*.parquet"):
        to = folder / file.relative_to(staged)
        to.parent.mkdir(parents=True, exist_ok=True)
        file.rename(to)
    shutil.rmtree(staged)


def in_microseconds(table: pa.Table) -> pa.Table:
    """A table with its instants cut to microseconds, because Feast's reader knows no nanoseconds."""
    for at, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            table = table.set_column(at, field.name, table[at].cast(pa.timestamp("us", field.type.tz), safe=False))
    return table
