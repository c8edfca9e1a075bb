"""The rows of a training set: those of an `entity_df`, or one for each event of a span of time.

Each row has join keys and an instant. Features are added later.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from feast import FeatureView, RepoConfig
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.utils import compute_non_entity_date_range

from dualpath import entities, instants
from dualpath.declare import view_of
from dualpath.errors import InputError
from dualpath.files import objects
from dualpath.files.parquet import hive
from dualpath.files.places import Place
from dualpath.kinds import INSTANT
from dualpath.log.reading import Reading
from dualpath.log.storage import Storage
from dualpath.repo import root
from dualpath.schema import EventSource
from dualpath.view import KNOWN_AT

INSTEAD = "pass an entity_df"
PRESENT = timedelta(minutes=1)
"""An `end` this close before the local time was set by Feast, because none was given."""


@dataclass(frozen=True)
class TrainingRows:
    """The columns as the user gave them. `time` names the column of instants; `as_of` int64[rows] are these.

    `first` is the number of the first row, where these are some of more.
    """

    given: dict[str, Any]
    time: str
    as_of: np.ndarray
    first: int = 0
    _keys: dict[tuple[str, str | None], pa.Array] = field(default_factory=dict)

    def key(self, name: str, kind: str | None, view: str) -> pa.Array:
        """A view's join key, cast to its kind; as it is if `entities` does not know its type.

        Raises `InputError` if there is no such column, or a value in it cannot be a key.
        """
        if name not in self.given:
            raise InputError(
                f"entity_df has no column '{name}', the join key of view '{view}'; it has {', '.join(self.given)}."
            )
        found = self._keys.get((name, kind))
        if found is None:
            found = (
                entities.column(self.given[name], kind, name, self.first) if kind else _array(self.given[name], name)
            )
            self._keys[name, kind] = found
        return found

    def table(self) -> pa.Table:
        """The columns as the user gave them.

        Arrow cannot hold several types in one column. Such a column is cast if it is a join key or the instants;
        any other one raises `InputError`.
        """
        found = {}
        for name, column in self.given.items():
            try:
                found[name] = _array(column, name)
            except InputError:
                as_cast = [key for (known, _), key in self._keys.items() if known == name]
                if name == self.time:
                    found[name] = pa.array(self.as_of, INSTANT)
                elif as_cast:
                    found[name] = as_cast[0]
                else:
                    raise
        return pa.table(found)


def read(entity_df: Any) -> TrainingRows:
    """Read an `entity_df`, a pandas DataFrame or an Arrow table.

    Raises `InputError` for anything else, for two columns of one name, and for instants that `instants.parse` refuses.
    Raises Feast's `EntityTimestampInferenceException` if no column has instants.
    """
    if isinstance(entity_df, pd.DataFrame):
        columns, types = [entity_df.iloc[:, at] for at in range(entity_df.shape[1])], [*entity_df.dtypes]
        names = [str(name) for name in entity_df.columns]
    elif isinstance(entity_df, pa.Table):
        columns, types = entity_df.columns, [_as_numpy(kind) for kind in entity_df.schema.types]
        names = entity_df.column_names
    else:
        what = "a text, and there is no such file" if isinstance(entity_df, str) else f"a {type(entity_df).__name__}"
        raise InputError(
            f"entity_df is {what}; pass a pandas DataFrame, an Arrow table, a Spark DataFrame or the path of "
            "Parquet files, one row for each entity and instant, or none, and start_date and end_date."
        )
    if len({*names}) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"entity_df has several columns '{twice}'; rename all but one.")
    by_name = dict(zip(names, types, strict=True))
    by_name.pop(KNOWN_AT, None)  # Feast takes the only column of instants for theirs
    time = infer_event_timestamp_from_entity_df(by_name)
    given = dict(zip(names, columns, strict=True))
    return TrainingRows(given, time, instants.parse(given[time], time))


def named(text: str) -> Place | None:
    """The place of files that a text names; None if it names none, or none is there on this machine."""
    if objects.scheme(text) in objects.SCHEMES:
        return objects.opened(text)
    with suppress(OSError, ValueError):  # of a text that is too long for a path
        return Path(text).absolute() if Path(text).exists() else None
    return None


def dataset(place: Place) -> ds.Dataset | None:
    """The Parquet files at a place; None if there are none. Raises `InputError` for other files."""
    try:
        return hive(place)
    except pa.ArrowException as error:
        raise InputError(f"entity_df is the path '{place}', which has no Parquet: {error}.") from None


def _array(column: Any, name: str) -> pa.Array | pa.ChunkedArray:
    """A column as an Arrow array; raises `InputError` if its values have types that Arrow cannot hold in one."""
    if isinstance(column, pa.Array | pa.ChunkedArray):
        return column
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise InputError(f"entity_df, column '{name}': {error}; give it values of one type.") from None


def _as_numpy(kind: pa.DataType) -> Any:
    """A NumPy type that says whether a column has instants."""
    return np.dtype("datetime64[us]") if pa.types.is_timestamp(kind) else np.dtype(object)


def rows_of_events(config: RepoConfig, views: Sequence[FeatureView], start: Any, end: Any) -> pa.Table:
    """Join keys and `event_timestamp` of the events from `start` to `end`, both included, in the views' event logs.

    Rows are distinct and sorted by instant, then by the keys as the views name them. Events without one of the keys are
    left out. `end` defaults to the present, `start` to Feast's default: the longest TTL of the views before `end`, or
    thirty days if none has one. Raises `InputError` if no view has a log, if a log lacks a join key that another view
    needs, or if `instants.parse` refuses `start` or `end`.
    """
    logs = _columns(views)
    names = [*dict.fromkeys(column for columns in logs.values() for column in columns)]
    for fv in views:
        for column in _keys(fv):
            if lacking := [source.name for source, columns in logs.items() if column not in columns]:
                raise InputError(
                    f"no entity_df is given, and the events of '{lacking[0]}' have no '{column}', the join key of "
                    f"view '{fv.projection.name_to_use()}'; {INSTEAD}."
                )
    try:
        since, until = compute_non_entity_date_range(
            [*views], _instant(start, "start_date"), None if _is_present(end) else _instant(end, "end_date")
        )
    except OverflowError:
        raise InputError(f"end_date is {end}, and the span before it would begin before the year 1.") from None
    first, last = pa.scalar(since, INSTANT), pa.scalar(until, INSTANT)
    found = []
    for source, columns in logs.items():
        storage = Storage(root(config), source.name)
        reading = Reading(storage, source)
        logged = {name: reading.column(source.by_name[field].column) for name, field in columns.items()}
        within = (pc.field("event_time") >= first) & (pc.field("event_time") <= last)
        for each in logged.values():
            within &= each.is_valid()
        wanted = {name: logged[name] for name in names} | {instants.COLUMN: pc.field("event_time")}
        found.append(reading.dataset(storage.paths()).to_table(columns=wanted, filter=within))
    distinct = pa.concat_tables(found).group_by([*names, instants.COLUMN]).aggregate([])
    order = [(name, "ascending") for name in (instants.COLUMN, *names)]
    return distinct.select([*names, instants.COLUMN]).sort_by(order)


def _instant(given: Any, name: str) -> datetime | None:
    """The start or the end as the user gives it."""
    return None if given is None else pa.scalar(int(instants.parse([given], name)[0]), INSTANT).as_py()


def _is_present(end: Any) -> bool:
    """Whether Feast has set the end because none was given: to the local time, without a zone."""
    return isinstance(end, datetime) and not end.tzinfo and timedelta(0) <= datetime.now() - end < PRESENT


def _columns(views: Sequence[FeatureView]) -> Mapping[EventSource, dict[str, str]]:
    """For each event log, the join keys that views need, and the fields that hold them.

    A log also gives the join keys of other views, if it has a field of the same name.
    """
    own = [(source, _keys(fv)) for fv in views if (view := view_of(fv)) for source in view.sources]
    if not own:
        names = ", ".join(f"'{fv.projection.name_to_use()}'" for fv in views)
        raise InputError(f"no entity_df is given, and none of {names} is windowed and has an event log; {INSTEAD}.")
    logs: dict[EventSource, dict[str, str]] = {}
    others = [column for fv in views for column in _keys(fv)]
    for source, columns in own:
        fields = {name: name for name in others if name in source.by_name and source.by_name[name].key}
        logs[source] = fields | logs.get(source, {}) | columns
    for source, columns in logs.items():
        if len({*columns.values()}) < len(columns):
            raise InputError(
                f"no entity_df is given, and one field of the events of '{source.name}' would be several join keys, "
                f"{', '.join(columns)}; {INSTEAD}."
            )
    return logs


def _keys(fv: FeatureView) -> dict[str, str]:
    """A view's join keys, by the names that its projection gives them."""
    return {fv.projection.join_key_map.get(column.name, column.name): column.name for column in fv.entity_columns}
