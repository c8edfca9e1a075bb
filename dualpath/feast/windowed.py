"""Windowed views in training sets: the kernel computes them, in this process or on Spark."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from feast import FeatureView, RepoConfig

from dualpath import entities, extras
from dualpath.declare import view_of
from dualpath.errors import carried
from dualpath.feast import training_known
from dualpath.feast.training_rows import TrainingRows
from dualpath.known import Known
from dualpath.log.storage import Storage
from dualpath.offline import local
from dualpath.offline.history import History
from dualpath.view import View


def features(config: RepoConfig, fv: FeatureView, names: Sequence[str], rows: TrainingRows) -> dict[str, pa.Array]:
    """The named features of a windowed view for the rows of a training set."""
    view = view_of(fv)
    assert view is not None, "the caller chose windowed views"
    columns = [rows.key(fv.projection.join_key_map.get(key, key), view.fields[key].key, view.name) for key in view.keys]
    entity = entities.names(columns)
    root = Path(config.repo_path or ".") / config.offline_store.path
    storages = [Storage(root, source.name) for source in view.sources]
    known = training_known.known(fv, rows, config.offline_store.known_lag, storages)
    history = History(root)
    if known and known.by == "batch":
        history.require(view, through=known.limits.reshape(-1, len(storages)).max(axis=0, initial=0).tolist())
    else:
        history.require(view, stale=config.offline_store.stale)
    # What an online answer knew is said by the rows, or nobody.
    own = {view.known_feature: pa.string(), view.arrived_feature: pa.int64()}
    told = {name: pa.nulls(len(entity), own[name]) for name in names if name in own}
    computed = [name for name in names if name not in own]
    if not computed:
        return told
    if len(entity) > config.offline_store.spark_above_rows:
        return on_spark(view, tuple(computed), entity, rows.as_of, history, known) | told
    return local.features(view, computed, entity, rows.as_of, history, known) | told


def on_spark(
    view: View, names: tuple[str, ...], entity: pa.Array, as_of: np.ndarray, history: History, known: Known | None
) -> dict[str, pa.Array]:
    """The same on Spark; rows travel there and back as Arrow."""
    extras.require("spark")
    from dualpath.offline import distributed
    from dualpath.spark.session import session

    spark = session("dualpath-training")
    rows = pa.table({"row": np.arange(len(as_of)), "entity": entity, "as_of": as_of})
    if known:
        limits = known.limits if known.limits.ndim == 1 else [*known.limits]
        rows = rows.append_column("known", pa.array(limits))
    by = known.by if known else None
    try:
        found = distributed.features(spark, spark.createDataFrame(rows), view, names, history, by)
        table = found.toArrow().sort_by("row")
    except Exception as error:
        raise carried(error) or error from None
    return {name: table[name] for name in names}
