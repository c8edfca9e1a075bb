"""What the rows of a training set know: all that the log has, or less if the caller says so.

| the caller has | a row counts |
|---|---|
| nothing of this | every event of the log |
| a column `known_at` in the `entity_df` | the events that had arrived by that instant |
| the column of a view's token, `known_VIEW` | what the online store held when the token was served |
| `offline_store.known_lag`, and neither column | the events that had arrived by `as_of` minus the lag |
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
from feast import FeatureView

from dualpath import instants
from dualpath.declare import is_windowed, view_of
from dualpath.errors import InputError, StaleRecordsError
from dualpath.feast.training_rows import TrainingRows
from dualpath.known import Known, place, split, token
from dualpath.log.storage import Storage
from dualpath.record import UNFENCED, Fence
from dualpath.view import KNOWN_AT

MICROSECOND = timedelta(microseconds=1)


def token_column(fv: FeatureView, rows: TrainingRows) -> str | None:
    """The column with the tokens of a windowed view, by its name with or without the view's; None if there is none.

    Raises `InputError` if there are both.
    """
    view = view_of(fv)
    assert view is not None, "the caller chose windowed views"
    names = [view.known_feature, f"{fv.projection.name_to_use()}__{view.known_feature}"]
    found = [name for name in names if name in rows.given]
    if len(found) > 1:
        raise InputError(f"entity_df has '{found[0]}' and '{found[1]}', two columns of the same tokens; drop one.")
    return found[0] if found else None


def given(rows: TrainingRows, views: Sequence[FeatureView]) -> set[str]:
    """The features of what an answer knew that the rows bring themselves, as `view:feature`."""
    found = set()
    for fv in views:
        if view := view_of(fv):
            name = fv.projection.name_to_use()
            for feature in (view.known_feature, view.arrived_feature):
                if feature in rows.given or f"{name}__{feature}" in rows.given:
                    found.add(f"{name}:{feature}")
    return found


def check(rows: TrainingRows, views: Sequence[FeatureView]) -> None:
    """Raise `InputError` unless the rows say one thing about what they know, and say it for every windowed view."""
    windowed = [fv for fv in views if is_windowed(fv)]
    columns = {fv.projection.name_to_use(): token_column(fv, rows) for fv in windowed}
    given = [column for column in columns.values() if column]
    if not given:
        return
    if twice := [column for column in given if given.count(column) > 1]:
        raise InputError(
            f"entity_df has '{twice[0]}', and the view is requested under several names; pass a column of tokens for "
            "each, as 'NAME__known_VIEW'."
        )
    if KNOWN_AT in rows.given:
        raise InputError(f"entity_df has '{given[0]}' and '{KNOWN_AT}', and a row can know only one thing; drop one.")
    for name, column in columns.items():
        if not column:
            raise InputError(
                f"entity_df has '{given[0]}', but no tokens of view '{name}', which would then count every event of "
                "the log; pass the tokens of all views, or ask for the views one by one."
            )


def known(fv: FeatureView, rows: TrainingRows, lag: timedelta | None, storages: Sequence[Storage]) -> Known | None:
    """What the rows know of a windowed view, whose sources have these folders; None: everything.

    Raises `InputError` for an instant or a token that cannot be read, and for a token of a batch that the log does not
    have.
    """
    if column := token_column(fv, rows):
        return Known("batch", _places(rows, column, storages))
    if KNOWN_AT in rows.given:
        return Known("arrived", instants.parse(rows.given[KNOWN_AT], KNOWN_AT))
    return None if lag is None else Known("arrived", rows.as_of - lag // MICROSECOND)


def require_finished(fence: Fence, through: Mapping[int, int], where: str, source: str) -> None:
    """Raise `StaleRecordsError` for a batch of a token that is not finished; `through` is `Storage.through`."""
    if fence.batch > through.get(fence.query, -1) and fence != UNFENCED:
        last = token(Fence(*max(through.items()))) if through else "none"
        raise StaleRecordsError(
            f"{where}: the log of source '{source}' has no finished batch '{token(fence)}', its last one is {last}; "
            "let the stream finish it and run `dualpath batch`, or pass what was served from this log."
        )


def _places(rows: TrainingRows, column: str, storages: Sequence[Storage]) -> np.ndarray:
    given = rows.given[column]
    listed = given.to_pylist() if isinstance(given, pa.Array | pa.ChunkedArray) else given
    found = split(listed, column, [storage.source for storage in storages])
    for storage, fences in zip(storages, zip(*found, strict=True), strict=False):
        through = storage.through()
        for fence in dict.fromkeys(fences):
            require_finished(fence, through, f"{column}, row {fences.index(fence)}", storage.source)
    places = np.array([[place(fence) for fence in fences] for fences in found], dtype=np.int64)
    return places.reshape(-1, len(storages)) if len(storages) > 1 else places.ravel()
