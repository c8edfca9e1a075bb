"""Windowed views in training sets: the kernel computes them, in this process or on Spark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureView, RepoConfig

from dualpath import entities, extras
from dualpath.declare import view_of
from dualpath.errors import carried
from dualpath.feast import training_known
from dualpath.feast.training_known import Rule
from dualpath.feast.training_rows import TrainingRows
from dualpath.known import Known
from dualpath.log.storage import Storage
from dualpath.offline import local
from dualpath.offline.history import History
from dualpath.repo import root
from dualpath.view import View

FEW = 100_000
"""Entities up to which Spark is told them, so that it leaves the records of others where they are."""


@dataclass(frozen=True)
class Wanted:
    """What a training set wants of a windowed view, so that any process can ask for it.

    `names` are the features that are computed, `untold` those that say what an online answer knew, which are null.
    `keys` are the columns of its join keys and their kinds; `rule` says what rows know; None: everything.
    """

    view: View
    names: tuple[str, ...]
    untold: tuple[str, ...]
    keys: tuple[tuple[str, str | None], ...]
    rule: Rule | None

    @classmethod
    def of(cls, config: RepoConfig, fv: FeatureView, names: Sequence[str], rows: TrainingRows) -> "Wanted":
        """The named features of a view, for rows with the columns of `rows`."""
        view = view_of(fv)
        assert view is not None, "the caller chose windowed views"
        own = (view.known_feature, view.arrived_feature)
        storages = [Storage(root(config), source.name) for source in view.sources]
        return cls(
            view,
            tuple(name for name in names if name not in own),
            tuple(name for name in names if name in own),
            tuple((fv.projection.join_key_map.get(key, key), view.fields[key].key) for key in view.keys),
            training_known.rule(fv, rows, config.offline_store.known_lag, storages),
        )

    def entity(self, rows: TrainingRows) -> pa.Array:
        """The entity of each row; raises as `TrainingRows.key`."""
        return entities.names([rows.key(column, kind, self.view.name) for column, kind in self.keys])

    def known(self, rows: TrainingRows) -> Known | None:
        """What each row knows; raises as `Rule.known`."""
        return self.rule.known(rows) if self.rule else None

    @property
    def nulls(self) -> dict[str, pa.DataType]:
        """The features that are null, and their types."""
        kinds = {self.view.known_feature: pa.string(), self.view.arrived_feature: pa.int64()}
        return {name: kinds[name] for name in self.untold}


def features(
    config: RepoConfig, wanted: Sequence[Wanted], rows: TrainingRows
) -> list[Mapping[str, pa.Array | pa.ChunkedArray]]:
    """The features of windowed views for the rows of a training set."""
    history, store = History(root(config)), config.offline_store
    entity = [each.entity(rows) for each in wanted]
    known = [each.known(rows) for each in wanted]
    for each, knows in zip(wanted, known, strict=True):
        if knows and knows.by == "batch":
            limits = knows.limits.reshape(-1, len(each.view.sources))
            history.require(each.view, through=limits.max(axis=0, initial=0).tolist())
        else:
            history.require(each.view, stale=store.stale)
    if len(rows.as_of) > store.spark_above_rows:
        of_view = on_spark(wanted, columns(wanted, rows.as_of, entity, known), history)
    else:
        of_view = [
            local.features(each.view, each.names, of, rows.as_of, history, knows) if each.names else {}
            for each, of, knows in zip(wanted, entity, known, strict=True)
        ]
    nulls = [{name: pa.nulls(len(rows.as_of), kind) for name, kind in each.nulls.items()} for each in wanted]
    return [{**one, **other} for one, other in zip(of_view, nulls, strict=True)]


def columns(
    wanted: Sequence[Wanted], as_of: np.ndarray, entity: Sequence[pa.Array], known: Sequence[Known | None]
) -> dict[str, pa.Array]:
    """What Spark is told of rows: their instants, and for each view their entities and what they know."""
    found: dict[str, pa.Array] = {"as_of": pa.array(as_of)}
    for at, (of_rows, knows) in enumerate(zip(entity, known, strict=True)):
        found.setdefault(entity_column(wanted, at), of_rows)
        if knows:
            limits = knows.limits if knows.limits.ndim == 1 else [*knows.limits]
            found[known_column(at)] = pa.array(limits, pa.int64() if knows.limits.ndim == 1 else pa.list_(pa.int64()))
    return found


def entity_column(wanted: Sequence[Wanted], at: int) -> str:
    """The column with the entities of a view; views with the same join keys share one."""
    return f"entity{[each.keys for each in wanted].index(wanted[at].keys)}"


def known_column(at: int) -> str:
    """The column with what rows know of a view."""
    return f"known{at}"


def on_spark(
    wanted: Sequence[Wanted], told: Mapping[str, pa.Array], history: History
) -> list[dict[str, pa.ChunkedArray]]:
    """The features for rows of which `columns` tells, in one job of Spark; rows travel there and back as Arrow."""
    extras.require("spark")
    from dualpath.feast import spark_frames
    from dualpath.spark.session import session

    rows = pa.table({"row": np.arange(len(told["as_of"])), **told})
    distinct = {name: pc.unique(told[name]).drop_null() for name in told if name.startswith("entity")}
    few = {name: entities for name, entities in distinct.items() if len(entities) <= FEW}
    try:
        asked = session("dualpath-training", data=history.root).createDataFrame(rows)
        table = spark_frames.features(asked, wanted, history, few).toArrow().sort_by("row")
    except Exception as error:
        raise carried(error) or error from None
    return [
        {name: table[spark_frames.feature_column(at, name)] for name in each.names} for at, each in enumerate(wanted)
    ]
