"""The training set of a Spark frame as Feast's retrieval job."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import pyarrow as pa
from feast import OnDemandFeatureView, RepoConfig
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from dualpath.errors import carried
from dualpath.feast import ordinary, spark_frames
from dualpath.feast.errors import translated
from dualpath.feast.spark_frames import GIVEN
from dualpath.feast.training_rows import TrainingRows
from dualpath.feast.training_set import TrainingSet
from dualpath.feast.windowed import Wanted
from dualpath.kinds import INSTANT
from dualpath.offline.distributed import AS_OF
from dualpath.offline.history import History
from dualpath.repo import root
from dualpath.times import FIRST, LAST
from dualpath.windows import SECOND

EVER = pa.array([FIRST, LAST - SECOND], pa.int64()).cast(INSTANT).to_pylist()  # Feast adds a second
"""Where Feast looks for the rows of a saved dataset: to tell their own ends, they would be computed twice."""


class SparkTrainingSet(TrainingSet):
    """One row for each row of a Spark frame, duplicates too; rows of a frame have no order, and get none here.

    `rows` are its columns, `wanted` says what is asked of each windowed view, and `names` are the columns of the
    training set by view and feature.
    """

    def __init__(
        self,
        config: RepoConfig,
        rows: TrainingRows,
        frame: DataFrame,
        wanted: Callable[[], Mapping[str, Wanted]],
        names: Mapping[tuple[str, str], str],
        refs: Sequence[str],
        requested: Sequence[str],
        full_names: bool,
        odfvs: list[OnDemandFeatureView],
    ) -> None:
        super().__init__(config, rows, lambda: _collected(self._plain()), refs, requested, full_names, odfvs)
        self.frame, self.wanted, self.names = frame, wanted, names
        self._metadata.min_event_timestamp, self._metadata.max_event_timestamp = EVER

    @translated()
    def to_spark_df(self) -> DataFrame:
        """Compute it as a Spark DataFrame, on the executors, whenever that is used.

        It reads the record files of now: if `dualpath batch` builds some of them anew before that, ask for it again.
        What executors refuse, such as a value that is no key, raises Spark's error, with the sentence in its text. The
        function of an on-demand view gets a batch of rows at a time.
        """
        return self._arranged(self._plain())

    @translated()
    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write it to a folder of Parquet files, from the executors, so that Feast reads the same bits back.

        Instants are in microseconds UTC. Raises as `TrainingSet.persist`.
        """
        folder = ordinary.folder_of(self.config, storage.to_data_source(), allow_overwrite)
        table = self._arranged(self._plain({self.rows.time: F.timestamp_micros(AS_OF)}))
        staged = folder.with_name(f".{folder.name}.{uuid4().hex}")
        try:
            with _microseconds(table.sparkSession):
                table.write.parquet(str(staged))
            ordinary.replace_folder(folder, staged)
        except Exception as error:
            raise carried(error) or error from None
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def _plain(self, instead: Mapping[str, Column] = MappingProxyType({})) -> DataFrame:
        """All but the features of on-demand views; some of the frame's columns from others."""
        by_view, history = self.wanted(), History(root(self.config))
        for each in by_view.values():
            each.entity(self.rows)  # whether there are its columns
        wanted = [spark_frames.require(each, history, self.config.offline_store.stale) for each in by_view.values()]
        rows = spark_frames.prepared(self.frame, self.rows.time, wanted)
        computed, places = spark_frames.features(rows, wanted, history), [*by_view]
        given = [instead.get(name, F.col(GIVEN).getField(name)).alias(name) for name in self.rows.given]
        features = [
            F.col(spark_frames.feature_column(places.index(view), feature)).alias(column)
            for (view, feature), column in self.names.items()
            if view in by_view
        ]
        return computed.select(*given, *features)

    def _arranged(self, table: DataFrame) -> DataFrame:
        """With the features of on-demand views, in the order of `to_arrow`."""
        for odfv in self.on_demand_feature_views:
            fields = {field.name: field for field in odfv.features}
            own = (odfv.name, odfv.projection.name_to_use())
            of_view = {column: fields[name] for (view, name), column in self.names.items() if view in own}
            table = spark_frames.derived(table, odfv, of_view, self.full_feature_names)
        names = dict.fromkeys([*self.rows.given, *self.requested, *table.columns])
        return table.select(*(F.col(f"`{name.replace('`', '``')}`") for name in names))


def _collected(table: DataFrame) -> pa.Table:
    try:
        return table.toArrow()
    except Exception as error:
        raise carried(error) or error from None


@contextmanager
def _microseconds(spark: SparkSession) -> Iterator[None]:
    """Write instants in microseconds, also in a session that dualpath has not started."""
    setting = "spark.sql.parquet.outputTimestampType"
    before = str(spark.conf.get(setting))
    spark.conf.set(setting, "TIMESTAMP_MICROS")
    try:
        yield
    finally:
        spark.conf.set(setting, before)
