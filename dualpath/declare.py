"""The functions that declare sources, features and views. A declaration becomes a plain Feast `FeatureView`.

The whole declaration travels in the Feast registry, as JSON in the view's `dualpath` tag, so that a job, a
server and `feast ui` need nothing but the registry.
"""

import json
from collections.abc import Iterable
from datetime import timedelta
from functools import cache, lru_cache
from typing import Any

from feast import Entity, FeatureView, FileSource
from feast import Field as FeastField
from feast.data_source import DataSource
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.type_map import pa_to_feast_value_type
from feast.types import Array, FeastType, Int64, Json, String, from_value_type

from dualpath import paths, registry_file  # noqa: F401 - whoever applies a declaration writes the registry
from dualpath.aggregates.base import Aggregate, Output
from dualpath.changes import Changes
from dualpath.clock import Future
from dualpath.decoders.base import Decoder
from dualpath.dimension import Lookup
from dualpath.errors import DeclarationError
from dualpath.expression import condition
from dualpath.field import Field
from dualpath.kinds import KINDS
from dualpath.limits import Limits
from dualpath.schema import EventSource
from dualpath.signature import declares
from dualpath.view import MAX_RECORDS, Feature, View
from dualpath.windows import Window, window

TAG = "dualpath"
NEVER_NULL = "never_null"
"""The tag of fields that have a value even for an empty window."""
MAP_OF = "map_of"
"""The tag of fields that hold maps; it says the kind of their values."""
LOG = "event log"
DECLARED = "declared"
"""The tag of an event log that has its source's declaration as JSON."""
EXACT = timedelta(microseconds=1)


@declares
def event_source(
    name: str,
    *,
    fields: Iterable[Field],
    event_id: str | Field | None = "event_id",
    event_time: str | Field = "event_time",
    arrival_time: str | Field | None = "arrival_time",
    sent_at: str | Field | None = None,
    future: Future = Future(),  # noqa: B008 - it is frozen
    occurrence: str | Field | None = None,
    late_after: timedelta = timedelta(hours=1),
    duplicates_within: timedelta = timedelta(days=1),
    description: str = "",
    decoder: Decoder | None = None,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    changes: Changes | None = None,
    each: str | Iterable[str | int] | None = None,
    where: str | None = None,
    lookups: Iterable[Lookup] = (),
) -> EventSource:
    """Declare a source of events; raises `DeclarationError` naming file, source and remedy.

    Args:
        name: its name in commands, folders and views.
        fields: the typed values of an event; anything else in a payload is dropped.
        event_id: the member that identifies an event, so that duplicates are recognised, or `text(name, path=...)` that
            says where it stands. None: the id of the transport if it has one, else the hash of the content.
        event_time: the member of the instant at which the event happened, in ISO-8601, or `timestamp(name, ...)` that
            says where it stands and how payloads write it.
        arrival_time: the member of the instant at which it arrived, likewise. None: the transport's time if it has one,
            else the event time.
        sent_at: the member of the instant at which the device sent the event by its own clock, likewise. The event time
            is corrected by it: `event_time + (arrival_time - sent_at)`. None: the event time is as the payload says.
        future: what becomes of an event that happens after its arrival; by default one of more than a day is refused.
        occurrence: what distinguishes events of equal content, as `event_id`; for sources without one.
        late_after: an event that arrives later than this after it happened counts as late; no value depends on it.
        duplicates_within: how long an id is remembered.
        description: a sentence for people.
        decoder: what the bytes of a message are, such as `avro(registry=...)`. None: JSON.
        limits: the nights that may be published.
        changes: what makes events versions of rows, of which the latest counts; None: every event counts.
        each: the path of a list of which every element is an event, as "items"; what is read of an element has a path
            that begins with it and `[*]`, as "items[*].price". None: a payload is an event.
        where: the condition of an event, over the fields; what it is not true for is skipped. None: all are events.
        lookups: fields that events get from slowly changing tables, as of their event time.

    >>> from dualpath.schema import text, timestamp
    >>> clicks = event_source("clicks", fields=[text("user")], event_time=timestamp("ts", unit="ms"))
    >>> clicks.event_time, clicks.members["event_time"].time
    ('ts', Time(unit='ms'))
    """
    declared = tuple(fields)
    if where is not None:
        try:
            condition(where, {field.name: field for field in declared})
        except DeclarationError as error:
            raise DeclarationError(f"event source '{name}', where: {error.message}") from None
    return EventSource(
        name,
        declared,
        event_id=event_id.name if isinstance(event_id, Field) else event_id,
        event_time=event_time.name if isinstance(event_time, Field) else event_time,
        arrival_time=arrival_time.name if isinstance(arrival_time, Field) else arrival_time,
        occurrence=occurrence.name if isinstance(occurrence, Field) else occurrence,
        late_after=late_after,
        duplicates_within=duplicates_within,
        description=description,
        times=tuple(time for time in (event_time, arrival_time, sent_at) if isinstance(time, Field)),
        decoder=decoder,
        limits=limits,
        ids=tuple(member for member in (event_id, occurrence) if isinstance(member, Field)),
        changes=changes,
        each=() if each is None else paths.parse(each),
        where=where,
        sent_at=sent_at.name if isinstance(sent_at, Field) else sent_at,
        future=future,
        lookups=tuple(lookups),
    )


@declares
def feature(name: str, aggregate: Aggregate, *, over: Window | timedelta, description: str = "") -> Feature:
    """Declare one feature: its name, its aggregate and its window; a timedelta is a sliding window of that width.

    >>> from dualpath.aggregates import Count
    >>> from dualpath.windows import minutes
    >>> str(feature("actions_30min", Count(), over=minutes(30)))
    'count over the last 30 minutes'
    """
    return Feature(name, aggregate, window(over), description)


@declares
def feature_view(
    name: str,
    *,
    entity: Entity | Iterable[Entity],
    source: EventSource | Iterable[EventSource],
    features: Iterable[Feature],
    resolution: timedelta = EXACT,
    description: str = "",
    max_records: int = MAX_RECORDS,
) -> FeatureView:
    """Declare the features of an entity; raises `DeclarationError` naming file, view and remedy.

    The join keys of `entity` must be fields of `source`. Of several sources the events of all count: the view has the
    fields of all, and a field that a source lacks is null in its events. A `resolution` coarser than a microsecond must
    divide a day; it makes heavy entities cheap, and moves the left edge of a window down to a bucket's edge. `dualpath
    status` names entities with more than `max_records` records online; they are served as before.
    """
    entities = [entity] if isinstance(entity, Entity) else list(entity)
    keys = tuple(e.join_key for e in entities)
    sources = [source] if isinstance(source, EventSource) else sorted(source, key=lambda each: each.name)
    if not sources:
        raise DeclarationError(f"view '{name}': no source; name at least one.")
    first, *others = sources
    view = View(name, keys, first, tuple(features), resolution // EXACT, description, max_records, tuple(others))
    keys_schema = [FeastField(name=k, dtype=scalar_type(view.fields[k].kind)) for k in keys]
    declared = FeatureView(
        name=name,
        entities=entities,
        ttl=timedelta(0),
        schema=keys_schema
        + [
            FeastField(
                name=f.name,
                dtype=feast_type(view.output(f)),
                description=f.description or f"{f}.",
                tags=feast_tags(view.output(f)),
            )
            for f in view.features
        ]
        + [FeastField(name=n, dtype=dtype, description=said) for n, (dtype, said) in own_features(view).items()],
        source=_event_log(view.sources),
        tags={TAG: json.dumps(view.to_dict())},
        description=description,
    )
    # Whoever takes the whole view, as for a service, takes the declared features alone.
    own = own_features(view)
    declared.projection.features = [f for f in declared.projection.features if f.name not in own]
    return declared


def own_features(view: View) -> dict[str, tuple[FeastType, str]]:
    """The features that every view has beside the declared ones: Feast's type of each, and what it says."""
    return {
        view.known_feature: (String, "What an online answer knew: the token of the last micro-batch in it."),
        view.arrived_feature: (Int64, "When the newest event that the stream has served arrived, microseconds UTC."),
    }


def with_known(declared: FeatureView) -> FeatureView:
    """A windowed view with all its features and what an answer knew, for a feature service whose answers are audited.

    `FeatureService(name="ranking", features=[with_known(user_activity)], logging_config=...)` logs tokens beside the
    values.
    """
    view = view_of(declared)
    if view is None:
        raise DeclarationError(
            f"view '{declared.name}' is not windowed, so its answers have no token; name it as it is."
        )
    chosen = [f.name for f in declared.projection.features if f.name not in own_features(view)]
    return declared[[*chosen, *own_features(view)]]


def scalar_type(kind: str) -> FeastType:
    """Feast's type of a single value of a kind."""
    return from_value_type(pa_to_feast_value_type(str(KINDS[kind].seen)))


def feast_type(output: Output) -> FeastType:
    """Feast's type of a feature.

    Instants are Int64 microseconds, because Feast's own type has whole seconds online. Maps are Json, because
    Feast's own type has no order.
    """
    if output.items is not None:
        return Json
    scalar = scalar_type(output.type.kind)
    return Array(scalar) if output.many else scalar


def feast_tags(output: Output) -> dict[str, str]:
    """The tags of a feature's field: what on-demand views must know beyond Feast's type."""
    if output.items is not None:
        return {MAP_OF: output.items.kind}
    return {} if output.empty is None else {NEVER_NULL: "true"}


def is_windowed(feature_view: Any) -> bool:
    """Whether a Feast view is windowed, that is declared by `feature_view`; any other view is ordinary."""
    return TAG in feature_view.tags


def view_of(feature_view: FeatureView) -> View | None:
    """The declaration behind a Feast view, or None if it is an ordinary one."""
    return _read(feature_view.tags[TAG]) if is_windowed(feature_view) else None


@lru_cache(maxsize=512)
def _read(declared: str) -> View:
    return View.from_dict(json.loads(declared))


def is_event_log(data_source: DataSource) -> bool:
    """Whether a Feast source is the event log of windowed views, which only dualpath reads and writes."""
    return data_source.tags.get(TAG) == LOG


def sources_of(event_log: DataSource) -> list[EventSource]:
    """The declarations behind the event logs of windowed views."""
    plain = json.loads(event_log.tags[DECLARED])
    return [EventSource.from_dict(each) for each in (plain if isinstance(plain, list) else [plain])]


@cache
def _event_log(sources: tuple[EventSource, ...]) -> FileSource:
    """Feast's form of event sources. All views of them share one, because `feast plan` refuses two of one name."""
    names = "+".join(source.name for source in sources)
    plain = [source.to_dict() for source in sources]
    return FileSource(
        name=names,
        path=f"{names}/log",
        timestamp_field="event_time",
        created_timestamp_column="arrival_time",
        description=" ".join(filter(None, (source.description for source in sources))),
        tags={TAG: LOG, DECLARED: json.dumps(plain if len(plain) > 1 else plain[0])},
    )


_feasts_sample = OnDemandFeatureView._construct_random_input


def _sample(view: OnDemandFeatureView, singleton: bool = False) -> dict[str, Any]:
    """Feast's sample, on which `feast apply` tries an on-demand view's function, with maps instead of None."""
    sample = _feasts_sample(view, singleton)
    for projection in view.source_feature_view_projections.values():
        for field in projection.features:
            if kind := field.tags.get(MAP_OF):
                example = {"hello world": 1 if kind == "integer" else 1.0}
                for name in (field.name, f"{projection.name}__{field.name}"):
                    sample[name] = example if singleton else [example]
    return sample


OnDemandFeatureView._construct_random_input = _sample  # type: ignore[method-assign, assignment]  # Feast offers no hook
