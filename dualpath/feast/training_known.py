"""What the rows of a training set know: all that the log has, or less if the caller says so.

| the caller has | a row counts |
|---|---|
| nothing of this | every event of the log |
| a column `known_at` in the `entity_df` | the events that had arrived by that instant |
| the column of a view's token, `known_VIEW` | what the online store held when the token was served |
| `offline_store.known_lag`, and neither column | the events that had arrived by `as_of` minus the lag |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

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


@dataclass(frozen=True)
class Rule:
    """How the rows of a training set say what they know of a view.

    `by` is that of a `dualpath.known.Known`. They say it by `column`, of tokens or of instants, or, without one, by
    `lag`, in microseconds before their own instants. Tokens name batches of `sources`, whose last finished ones are
    `through`. Those after the places `complete` are refused because the record files are `lacking`, if that says so.
    """

    by: Literal["arrived", "batch"]
    column: str | None
    lag: int = 0
    sources: tuple[str, ...] = ()
    through: tuple[Mapping[int, int], ...] = ()
    complete: tuple[int, ...] = ()
    lacking: str = ""

    def known(self, rows: TrainingRows) -> Known:
        """What rows know.

        Raises `InputError` for an instant or a token that cannot be read, and `StaleRecordsError` for a token of a
        batch that the log does not have.
        """
        if self.column is None:
            return Known(self.by, rows.as_of - self.lag)
        if self.by == "arrived":
            return Known(self.by, instants.parse(rows.given[self.column], self.column, rows.first))
        return Known(self.by, self._places(rows.given[self.column], rows.first))

    def _places(self, given: Any, first: int) -> np.ndarray:
        assert self.column is not None, "tokens are a column"
        listed = given.to_pylist() if isinstance(given, pa.Array | pa.ChunkedArray) else given
        found = split(listed, self.column, self.sources, first)
        for source, through, fences in zip(self.sources, self.through, zip(*found, strict=True), strict=False):
            for fence in dict.fromkeys(fences):
                require_finished(fence, through, f"{self.column}, row {first + fences.index(fence)}", source)
        places = np.array([[place(fence) for fence in fences] for fences in found], dtype=np.int64)
        if self.lacking and (places.reshape(-1, len(self.sources)) > self.complete).any():
            raise StaleRecordsError(self.lacking)
        return places.reshape(-1, len(self.sources)) if len(self.sources) > 1 else places.ravel()


def rule(fv: FeatureView, rows: TrainingRows, lag: timedelta | None, storages: Sequence[Storage]) -> Rule | None:
    """How the rows say what they know of a windowed view, whose sources have these folders; None: they know all."""
    if column := token_column(fv, rows):
        sources, through = tuple(each.source for each in storages), tuple(dict(each.through()) for each in storages)
        return Rule("batch", column, sources=sources, through=through)
    if KNOWN_AT in rows.given:
        return Rule("arrived", KNOWN_AT)
    return None if lag is None else Rule("arrived", None, lag // MICROSECOND)


def require_finished(fence: Fence, through: Mapping[int, int], where: str, source: str) -> None:
    """Raise `StaleRecordsError` for a batch of a token that is not finished; `through` is `Storage.through`."""
    if fence.batch > through.get(fence.query, -1) and fence != UNFENCED:
        last = token(Fence(*max(through.items()))) if through else "none"
        raise StaleRecordsError(
            f"{where}: the log of source '{source}' has no finished batch '{token(fence)}', its last one is {last}; "
            "let the stream finish it and run `dualpath batch`, or pass what was served from this log."
        )
