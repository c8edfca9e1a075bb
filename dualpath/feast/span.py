"""The rows of a training set that is asked for without an `entity_df`: every event of a span of time asks once."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from feast import FeatureView, RepoConfig
from feast.utils import compute_non_entity_date_range

from dualpath import instants
from dualpath.declare import view_of
from dualpath.errors import InputError
from dualpath.kinds import INSTANT, KEYS
from dualpath.log.storage import Storage
from dualpath.schema import EventSource

INSTEAD = "pass an entity_df"
PRESENT = timedelta(minutes=1)
"""How long ago a moment of the local clock may have been, to be what Feast sets for an end that is missing."""


def rows(config: RepoConfig, views: Sequence[FeatureView], start: Any, end: Any) -> pa.Table:
    """Join keys and `event_timestamp` of the events from `start` to `end`, both included, in the views' event logs.

    Rows are distinct and sorted by instant, then by the keys as the views name them; events without one of the keys
    are left out. Where `start` is missing, Feast's default counts: the longest TTL of the views, else thirty days;
    where `end` is, the present. Raises `InputError` if no view has a log, a log lacks a join key that another view
    needs, or `instants.parse` refuses the start or the end.
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
    root = Path(config.repo_path or ".") / config.offline_store.path
    found = []
    for source, columns in logs.items():
        schema = pa.schema([("event_time", INSTANT), *((f, source.by_name[f].stored) for f in columns.values())])
        files = [str(f) for folder in Storage(root, source.name).log_folders() for f in folder.rglob("*.parquet")]
        within = (pc.field("event_time") >= first) & (pc.field("event_time") <= last)
        for name in columns.values():
            within &= pc.field(name).is_valid()
        wanted = {name: pc.field(columns[name]) for name in names} | {instants.COLUMN: pc.field("event_time")}
        found.append(ds.dataset(files, schema, format="parquet").to_table(columns=wanted, filter=within))
    distinct = pa.concat_tables(found).group_by([*names, instants.COLUMN]).aggregate([])
    order = [(name, "ascending") for name in (instants.COLUMN, *names)]
    return distinct.select([*names, instants.COLUMN]).sort_by(order)


def _instant(given: Any, name: str) -> datetime | None:
    """An end of a span as a user writes it."""
    return None if given is None else pa.scalar(int(instants.parse([given], name)[0]), INSTANT).as_py()


def _is_present(end: Any) -> bool:
    """Whether an end is what Feast sets for a missing one: the local clock's time, without its zone."""
    return isinstance(end, datetime) and not end.tzinfo and timedelta(0) <= datetime.now() - end < PRESENT


def _columns(views: Sequence[FeatureView]) -> Mapping[EventSource, dict[str, str]]:
    """For each event log, the join keys that views need, and the fields that hold them.

    A log also answers for the keys of other views that it has a field for, of the same name.
    """
    own = [(view.source, _keys(fv)) for fv in views if (view := view_of(fv))]
    if not own:
        names = ", ".join(f"'{fv.projection.name_to_use()}'" for fv in views)
        raise InputError(f"no entity_df is given, and none of {names} is windowed and has an event log; {INSTEAD}.")
    logs: dict[EventSource, dict[str, str]] = {}
    others = [column for fv in views for column in _keys(fv)]
    for source, columns in own:
        fields = {name: name for name in others if name in source.by_name and source.by_name[name].kind in KEYS}
        logs[source] = fields | logs.get(source, {}) | columns
    for source, columns in logs.items():
        if len({*columns.values()}) < len(columns):
            raise InputError(
                f"no entity_df is given, and one field of the events of '{source.name}' would be several join keys, "
                f"{', '.join(columns)}; {INSTEAD}."
            )
    return logs


def _keys(fv: FeatureView) -> dict[str, str]:
    """A view's join keys by the names that its projection gives them."""
    return {fv.projection.join_key_map.get(column.name, column.name): column.name for column in fv.entity_columns}
