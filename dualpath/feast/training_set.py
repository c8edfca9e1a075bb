"""A training set as Feast's retrieval job, which computes it on demand and can save it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
from feast import OnDemandFeatureView, RepoConfig
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata

from dualpath.errors import InputError
from dualpath.feast import ordinary
from dualpath.feast.errors import translated
from dualpath.feast.training_rows import TrainingRows
from dualpath.kinds import INSTANT
from dualpath.values import frame


class TrainingSet(RetrievalJob):
    """The rows, then the requested features in their order, then other inputs of on-demand views.

    `compute` returns all but the features of on-demand views, which Feast adds.
    """

    def __init__(
        self,
        config: RepoConfig,
        rows: TrainingRows,
        compute: Callable[[], pa.Table],
        refs: Sequence[str],
        requested: Sequence[str],
        full_names: bool,
        odfvs: list[OnDemandFeatureView],
    ) -> None:
        self.config, self.rows, self.compute, self.requested = config, rows, compute, requested
        self._full_names, self._odfvs = full_names, odfvs
        self._metadata = RetrievalMetadata([*refs], [name for name in rows.given if name != rows.time], *_ends(rows))

    @translated()
    def to_arrow(self, validation_reference: Any = None, timeout: int | None = None) -> pa.Table:
        """Compute it as an Arrow table."""
        table = super().to_arrow(validation_reference, timeout)
        return table.select([*dict.fromkeys([*self.rows.given, *self.requested, *table.column_names])])

    def to_df(self, validation_reference: Any = None, timeout: int | None = None) -> pd.DataFrame:
        """Compute it as a pandas DataFrame; maps are dicts, as online."""
        return frame(self.to_arrow(validation_reference, timeout))

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self.compute()

    @property
    def full_feature_names(self) -> bool:
        """Whether columns are named `view__feature`."""
        return self._full_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The on-demand views, whose features Feast adds."""
        return self._odfvs

    @property
    def metadata(self) -> RetrievalMetadata:
        """What was requested."""
        return self._metadata

    @translated()
    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write it to a file or a folder, with instants in microseconds UTC, so that Feast reads the same bits back."""
        table = self.to_arrow(timeout=timeout)
        at = table.column_names.index(self.rows.time)
        table = table.set_column(at, self.rows.time, pa.array(self.rows.as_of, INSTANT))
        ordinary.save(self.config, table, storage.to_data_source(), allow_overwrite)

    @translated()
    def to_sql(self) -> str:
        """Refused: there is no query."""
        raise InputError("a training set is computed, not queried, so it has no SQL; use to_arrow or to_df.")

    @translated()
    def to_remote_storage(self) -> list[str]:
        """Refused: a training set goes to its caller."""
        raise InputError("a training set cannot be exported to remote storage; use persist, to_arrow or to_df.")


def _ends(rows: TrainingRows) -> list[datetime | None]:
    """The first and the last instant; None if there are no rows."""
    if not len(rows.as_of):
        return [None, None]
    return pa.array([rows.as_of.min(), rows.as_of.max()], pa.int64()).cast(INSTANT).to_pylist()
