"""Evaluates a view over a few events in memory: for trying out a declaration, and for tests of the core.

DuckDB evaluates the SQL; there is no Spark, no Redis and no file.

Inside, an event is a dict: `event_id`; `event_time`, `arrival_time` and timestamp fields as integer microseconds UTC;
decimals as `Decimal`; the other fields as plain Python values; None for null. Its fields are under their columns in the
event log.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from feast import FeatureView

from dualpath import kernel, payloads
from dualpath.aggregates.base import Aggregate, Groups, Scalars
from dualpath.cells import Cell
from dualpath.declare import view_of
from dualpath.entities import name as entity
from dualpath.errors import InputError
from dualpath.evaluation import evaluated
from dualpath.field import Field
from dualpath.kinds import KINDS
from dualpath.parts import parts
from dualpath.payloads import instant
from dualpath.plan import Plan, plan
from dualpath.record import layout
from dualpath.row_versions import deleted, former, identity, version
from dualpath.schema import EventSource
from dualpath.values import Dictionary, arrow
from dualpath.versions import Versions, looked_up
from dualpath.view import Feature, View
from dualpath.windows import Window, window
from dualpath.words import code

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""When the first event happens that does not say."""
LATELY = timedelta(days=1)
NO_TABLES: Mapping[str, Any] = MappingProxyType({})


def preview(
    view: View | FeatureView,
    events: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Mapping[str, Any]]],
    as_of: Any,
    *,
    dimensions: Mapping[str, Versions | Sequence[Mapping[str, Any]]] = NO_TABLES,
) -> list[dict[str, Any]]:
    """The join keys and the features of every entity among the events, at one instant, in order of appearance.

    events: those of the view's source; of a view of several sources, those of each by the source's name.

    An event has the shape of a payload, of dicts and lists: a field with a path is read there and nowhere else. What is
    left out is null. Without an id its place is its id, and without an arrival time it arrives when it happens. Of a
    source with `each` it is a whole payload with its list, and what `where` is not true for is left out. What is around
    a payload in its Kafka message is the member `$kafka`, of the members that `dualpath.kafka` names.
    Instants are datetimes (naive is UTC), or texts and numbers as payloads have them; an event time is corrected, and
    moved to the arrival, as the source declares. No event counts as a duplicate, and none is refused but one too far
    after its arrival. `dimensions` are the tables in which the source looks fields up, by name: rows as payloads have
    them, or `dualpath.sources.dimensions.load(dimension, folder)` of a table's files. Raises `InputError` for an event
    that is refused, and for a value that is not of its field's kind.

    >>> from datetime import datetime
    >>> from dualpath.aggregates import Count
    >>> from dualpath.schema import EventSource, text
    >>> from dualpath.view import Feature
    >>> from dualpath.windows import minutes
    >>> clicks = EventSource("clicks", (text("user"),))
    >>> lately = View("lately", ("user",), clicks, (Feature("clicks_5min", Count(), minutes(5)),))
    >>> noon = datetime(2026, 3, 1, 12)
    >>> preview(lately, [{"user": "ann", "event_time": noon}], "2026-03-01T12:04:59")
    [{'user': 'ann', 'clicks_5min': 1}]
    """
    if not isinstance(view, View):
        declared = view_of(view)
        if declared is None:
            raise InputError(f"view '{view.name}' is not windowed; preview one that dualpath.declare made.")
        view = declared
    given = _by_source(view, events)
    if not any(given.values()):
        return []
    found = {}
    for part in parts(view):
        payloads_of = given.get(part.source.name, ())
        read = [event for number, payload in enumerate(payloads_of) for event in payloads.events(part, number, payload)]
        found[part] = looked_up(part.source, read, dimensions)
    return answers(view, found, instant(as_of, "as_of"))


def _by_source(view: View, events: Any) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    names = [source.name for source in view.sources]
    if not isinstance(events, Mapping):
        if len(names) == 1:
            return {names[0]: events}
        raise InputError(f"view '{view.name}' has several sources; give the events of each as {{'{names[0]}': [...]}}.")
    if unknown := [name for name in events if name not in names]:
        raise InputError(f"view '{view.name}' has no source '{unknown[0]}'; it has {', '.join(names)}.")
    return events


def answers(view: View, events: Mapping[View, Sequence[dict[str, Any]]], as_of: int) -> list[dict[str, Any]]:
    """`preview` of the events of each of the view's `parts`, in the form that this module has inside; `as_of` is in
    microseconds UTC."""
    found = [records(part, own) for part, own in events.items()]
    owners, words = [owner for each, _ in found for owner in each], np.concatenate([each for _, each in found])
    texts = dictionary_of(events)
    rows = []
    every = (tuple(event[key] for key in part.key_columns) for part, own in events.items() for event in own)
    for keys in dict.fromkeys(every):
        if None not in keys:
            mine = words[[owner == entity(keys) for owner in owners]] if owners else words
            answer = values(view, mine, [as_of], texts)
            rows.append({**dict(zip(view.keys, keys, strict=True)), **{name: each[0] for name, each in answer.items()}})
    return rows


def value(
    aggregate: Aggregate, events: Sequence[Mapping[str, Any]], *, over: Window | timedelta = LATELY, as_of: Any = None
) -> Any:
    """What an aggregate makes of a few events of one entity.

    The fields are those of the events, and their kinds those of the values: a `Decimal` is a decimal. An event without
    `event_time` happens a minute after the one before. Unless `as_of` is given, it is the time of the last event.

    >>> from decimal import Decimal
    >>> from dualpath.aggregates import Sum
    >>> value(Sum("amount", where="action = 'buy'"), [
    ...     {"action": "buy", "amount": Decimal("19.90")},
    ...     {"action": "view", "amount": None},
    ...     {"action": "buy", "amount": Decimal("0.09")},
    ... ])
    19.99
    """
    given: dict[str, list[Any]] = {}
    for name in dict.fromkeys(name for event in events for name in event if name != "event_time"):
        given[name] = [event[name] for event in events if event.get(name) is not None]
    fields = tuple(_field(name, values) for name, values in given.items())
    source = EventSource("events", (Field("entity", "text"), *fields), event_id=None, arrival_time=None)
    timed = [
        {"entity": "one", "event_time": NOON + number * timedelta(minutes=1), **event}
        for number, event in enumerate(events)
    ]
    view = View("tried", ("entity",), source, (Feature("value", aggregate, window(over)),))
    [row] = preview(view, timed, timed[-1]["event_time"] if as_of is None else as_of)
    return row["value"]


def _field(name: str, values: list[Any]) -> Field:
    """The field that holds such values; one without any holds texts."""
    kind = next((kind.name for kind in KINDS.values() if values and type(values[0]) is kind.python), "text")
    scale = max(-v.as_tuple().exponent for v in values) if kind == "decimal" else 0
    return Field(name, kind, max(scale, 0))


def records(view: View, events: Sequence[dict[str, Any]]) -> tuple[list[str], np.ndarray]:
    """The events' records, not folded: each one's entity string, and its words int64[n, width]. The view is of one
    source, or a part.

    As on the Spark paths, an event without the entity's keys, or that adds nothing to any cell, has no record; one that
    says that its row was another one before, or another entity's, has one more, which deletes it there.
    """
    kind = layout(view)
    scales = [view.type_of(cell.of).scale if cell.of else 0 for cell in kind.cells]
    entities, rows = [], []
    for event in evaluated(view, events):
        time, name = event["event_time"], identity(view, event)
        gone = deleted(view, event)
        cells = [
            cell.contribution(event[cell.of] if cell.of else None, scale, time, name)
            if not gone and counts(event, cell)
            else cell.nothing
            for cell, scale in zip(kind.cells, scales, strict=True)
        ]
        adds = any(words[0] != cell.nothing[0] for cell, words in zip(kind.cells, cells, strict=True))
        made = [(event, cells)] if adds or view.source.changes else []
        if (was := former(view, event)) is not None:
            made.append((was, [cell.nothing for cell in kind.cells]))
        for each, held in made:
            keys = [each[key] for key in view.key_columns]
            if None not in keys:
                bucket = time // view.resolution * view.resolution
                header = [time, name] if view.resolution == 1 else [bucket, time, time]
                if view.versions:
                    header += version(view, each)
                entities.append(entity(keys))
                rows.append(header + [word for words in held for word in words])
    return entities, np.array(rows, dtype=np.int64).reshape(-1, kind.width)


def counts(event: Mapping[str, Any], cell: Cell) -> bool:
    """Whether an event counts for a cell."""
    return (cell.where is None or event[cell.where] is True) and (cell.of is None or event[cell.of] is not None)


def dictionary(view: View, events: Sequence[dict[str, Any]]) -> Dictionary:
    """Codes of every text that the view's expressions take."""
    return dictionary_of({view: events})


def dictionary_of(events: Mapping[View, Sequence[dict[str, Any]]]) -> Dictionary:
    """The same of the events of several views."""
    found = (value for view, own in events.items() for event in evaluated(view, own) for value in event.values())
    texts = sorted({value for value in found if isinstance(value, str)})
    return Dictionary.of(pa.array(map(code, texts), pa.int64()), pa.array(texts, pa.string()))


def values(
    view: View,
    words: np.ndarray,
    instants: Sequence[int],
    texts: Dictionary,
    features: tuple[str, ...] | None = None,
    limits: np.ndarray | None = None,
) -> dict[str, list[Any]]:
    """What a model sees of the one entity whose records are `words` (in any order), at each instant.

    `features` and `limits` are as for `Plan` and `Plan.evaluate`.
    """
    words, chosen = words.copy(), plan(view, features)
    kernel.arrange(words, np.array([0, len(words)]))
    spans = np.tile(np.array([0, len(words)]), (len(instants), 1))
    return _seen(chosen, chosen.evaluate(words, spans, np.array(instants, dtype=np.int64), limits), texts)


def values_of(
    view: View, words: np.ndarray, starts: np.ndarray, instants: Sequence[int], texts: Dictionary
) -> dict[str, list[Any]]:
    """The same of several entities, each at an instant of its own; `words[starts[i]:starts[i + 1]]` are the records of
    entity i."""
    words, chosen = words.copy(), plan(view)
    kernel.arrange(words, starts)
    spans = np.column_stack([starts[:-1], starts[1:]])
    return _seen(chosen, chosen.evaluate(words, spans, np.array(instants, dtype=np.int64)), texts)


def _seen(chosen: Plan, found: Mapping[str, Scalars | Groups], texts: Dictionary) -> dict[str, list[Any]]:
    """What the kernel has found, as Python's values."""
    return {
        name: arrow(each, chosen.outputs[name], texts).to_pylist(maps_as_pydicts="strict")
        for name, each in found.items()
    }
