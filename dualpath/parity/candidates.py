"""The rows of a source that name one entity: accepted events, repeated deliveries and dead letters, with their places.

They are read from the files of finished batches, without Spark. Each scan keeps the entity's rows alone, so the log may
be of any size.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from dualpath import paths
from dualpath.clock import corrected
from dualpath.entities import cast
from dualpath.errors import InputError
from dualpath.files.parquet import dataset
from dualpath.log.reading import Reading
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE
from dualpath.parity.events import naming, scan
from dualpath.paths import Steps, first_value
from dualpath.record import Fence
from dualpath.row_versions import former
from dualpath.schema import EventSource
from dualpath.view import View

PLACE = [
    *(("__origin", pa.string()), ("__position", pa.int64())),
    *(("query", pa.int32()), ("batch", pa.int64())),
]
"""Columns beside those of an event; rows of an earlier version have no origin and no position."""
LETTER = [("payload", pa.string()), ("reason", pa.string()), *PLACE]
FILE = "__filename"
"""Arrow's name for the file that a row is from."""
ARRIVAL_DAY = re.compile(r"/arrival_day=([0-9-]{10})/")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A row that names the entity, and where it came from: `view` is of its source alone, or a part.

    `event` is one as in `dualpath.preview`: instants in microseconds UTC. Of a dead letter it has what could be read of
    id and times, else None, and `reason` says why it was refused. `arrival_day` is None outside the log. `origin` and
    `position` are None in files of an earlier version. If the event moved its row away from the entity, `moved` is
    true, and the event has the former values of what names the row.
    """

    view: View
    event: Mapping[str, Any]
    batch: Fence
    arrival_day: str | None
    origin: str | None
    position: int | None
    reason: str = ""
    moved: bool = False

    @property
    def time(self) -> int | None:
        """When it happened."""
        found: int | None = self.event["event_time"]
        return found


def accepted(storage: Storage, view: View, keys: Sequence[str | int]) -> list[Candidate]:
    """The entity's events in the log. keys: values of the view's join keys, cast."""
    return _events(storage, ACCEPTED, view, keys)


def repeated(storage: Storage, view: View, keys: Sequence[str | int]) -> list[Candidate]:
    """Deliveries for the entity that were found to be duplicates; an earlier version kept none of them."""
    return _events(storage, DUPLICATE, view, keys)


def refused(storage: Storage, view: View, keys: Sequence[str | int]) -> list[Candidate]:
    """The dead letters whose payload names the entity.

    A payload that is no JSON object, or whose join keys cannot be cast, names nobody and is left out.
    """
    schema = pa.schema(LETTER)
    # Only what has the text of each key is parsed. After a backslash, any text may be meant.
    wanted = pc.match_substring(pc.field("payload"), "\\")
    named = [pc.match_substring(pc.field("payload"), str(key)) for key in keys]
    for each in named[1:]:
        named[0] &= each
    found = []
    letters = dataset(storage.paths(DEAD_LETTER), schema)
    for row in _rows(letters, {name: pc.field(name) for name in schema.names}, wanted | named[0]):
        payload = _object(row["payload"])
        read = payload is not None and _reader(payload, view.source.each, row["reason"])
        if read and _keys(read, view) == list(keys):
            batch, event = Fence(row["query"], row["batch"]), _times(read, view.source)
            found.append(Candidate(view, event, batch, None, row["__origin"], row["__position"], row["reason"]))
    return found


def clocks(storage: Storage, batches: Sequence[Fence]) -> dict[Fence, int]:
    """The clock of each of these batches, microseconds UTC."""
    known = storage.accounts().clocks()
    return {each: known[each] for each in batches}


def _events(storage: Storage, outcome: str, view: View, keys: Sequence[str | int]) -> list[Candidate]:
    reading = Reading(storage, view.source, PLACE)
    named, found = dict(zip(view.key_columns, keys, strict=True)), []
    events = reading.dataset(storage.paths(outcome))
    wanted = naming(reading, view, [tuple(keys)])
    for row in _rows(events, reading.columns([*reading.names, *(name for name, _ in PLACE)]), wanted):
        batch, named_day = Fence(row["query"], row["batch"]), ARRIVAL_DAY.search(row[FILE])
        arrival_day = named_day[1] if named_day and outcome == ACCEPTED else None
        event = {name: row[name] for name in reading.names}
        for each in (event, former(view, event)):
            if each is not None and all(each[key] == value for key, value in named.items()):
                moved = each is not event
                found.append(Candidate(view, each, batch, arrival_day, row["__origin"], row["__position"], moved=moved))
    return found


def _rows(rows: ds.Dataset, columns: Mapping[str, pc.Expression], wanted: pc.Expression) -> Iterator[dict[str, Any]]:
    """Columns of the wanted rows, and the file of each; instants as microseconds."""
    for batch in scan(rows, [*rows.schema.names, FILE], wanted).to_batches():
        if batch.num_rows:
            # Arrow knows the file only by its name, not in an expression.
            stored = pa.table(batch.columns[:-1], names=rows.schema.names)
            found = ds.dataset(stored).to_table(columns=dict(columns)).append_column(FILE, batch[FILE])
            times = {name: pa.types.is_timestamp(found.schema.field(name).type) for name in found.schema.names}
            yield from pa.table(
                {n: found[n].cast(pa.int64()) if is_time else found[n] for n, is_time in times.items()}
            ).to_pylist()


def _object(payload: str) -> dict[str, Any] | None:
    """The members of a payload; None if it is no JSON object."""
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _reader(payload: Mapping[str, Any], each: Steps, reason: str) -> Callable[[Steps], Any]:
    """What is at a path of a dead letter; of an element, if its reason ends with the place of one."""
    place = re.search(rf"{re.escape(paths.written(each))}\[(\d+)\]\Z", reason) if each else None
    element = paths.walk(payload, (*each, int(place[1]))) if place else None
    return lambda steps: paths.value(payload, steps, each, element)


def _keys(read: Callable[[Steps], Any], view: View) -> list[str | int] | None:
    """The join keys that a payload names, cast; None if one cannot be."""
    own = {each.name: each for each in view.source.fields}
    try:
        fields = [own[key] for key in view.keys]
        return [cast([first_value(each.places, read)], each.key, each.name)[0] for each in fields]
    except (InputError, KeyError):  # a key that is looked up is none of the payload's
        return None


def _times(read: Callable[[Steps], Any], source: EventSource) -> dict[str, Any]:
    """What can be read of the id and the times of a payload."""
    members = source.members
    event: dict[str, Any] = dict.fromkeys(("event_id", "event_time", "arrival_time"))
    if "event_id" in members:
        event["event_id"] = first_value(members["event_id"].places, read)
    times = {
        # Digits that are too fine are why a row is refused, and no reason not to say when it happened.
        what: replace(members[what].time, truncate=True).micros(str(first_value(members[what].places, read)))
        for what in ("event_time", "arrival_time", "sent_at")
        if what in members
    }
    event |= {"event_time": times["event_time"], "arrival_time": times.get("arrival_time")}
    if source.sent_at is not None:
        known = times["event_time"], times.get("arrival_time"), times["sent_at"]
        event["event_time"] = None if None in known else corrected(*known)
    return event
