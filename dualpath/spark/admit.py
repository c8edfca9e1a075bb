"""Turns payloads into typed events, or refuses them: the rules that every row passes before anything counts it.

A row is refused, never repaired. `reason` says what is wrong with it, for the dead-letter table.
"""

from collections.abc import Iterable, Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type

from dualpath.expression import columns as read_by
from dualpath.field import Field
from dualpath.files.places import Place
from dualpath.kafka import lasting
from dualpath.paths import inside
from dualpath.schema import EventSource
from dualpath.spark import condition, fields, lookups, moves, times
from dualpath.spark.clock import happened, is_far
from dualpath.spark.elements import TEXTS, Elements
from dualpath.spark.message import COLUMN
from dualpath.spark.places import Places
from dualpath.spelling import Excess
from dualpath.windows import spell

EARLIEST = "2000-01-01 00:00:00"
AHEAD = "INTERVAL 1 DAY"
"""How far a row may arrive after it is judged."""
PLACE = ("__origin", "__position")
"""Where a row came from, by names that no declared field can have."""


def spark_type(field: Field) -> str:
    """A field's type in the event log."""
    return from_arrow_type(field.stored).simpleString()


def admit(
    raw: DataFrame, source: EventSource, calculations: Iterable[Excess] = (), tables: Place | None = None
) -> DataFrame:
    """Type payloads, and give a reason for each that is refused.

    `calculations` are those that views make of an event; a row with one out of range is refused. `tables`
    names the tables that the source looks fields up in, as `dualpath.spark.lookups.in_use` reads it.

    `raw` has `value`, a JSON object as a string; `refusal`, why the payload could not be decoded, or null;
    `event_id` and `arrival_time` as the transport gives them, or null;
    `origin` and `position`, the row's place there; `admitted_at`, the instant of judging, a timestamp; and of messages
    what is around them (`dualpath.spark.message`).

    Returns `event_id`, `event_time`, `arrival_time`, the columns of the fields, `late`, the place as `__origin` and
    `__position`, `admitted_at`, `payload` and `reason`: null for a good row, else the value as it came, with what was
    read around it, and what is wrong with it. Of a source with `each`, `where` or `changes` it has two more, boolean:
    `__skipped`, the row is no event of the source, and `__further`, it is not the first of its payload. All between the
    id and the place is null in a refused or skipped row, so that nothing is ever computed of it. Unknown members of the
    object are ignored.

    The id and the arrival come from the payload's members that the source names. If it names none, they come from the
    transport. If that has none either, the id is the hash of the content and the arrival the event time.

    The event time is corrected, and moved to the arrival, as the source declares (`dualpath.clock`). The hash is of the
    time that the payload has, so a message that comes again, at another arrival, is the same event.
    """
    places = Places(source, messages=COLUMN in raw.columns)
    parses = places.payload
    columns = [f.column for f in source.all_fields]
    rows = raw.select(
        F.make_valid_utf8("value").alias("payload"),
        F.is_valid_utf8("value").alias("__utf8"),
        *places.columns(F.col("value")),
        F.col("event_id").alias("__given_id"),
        F.col("arrival_time").alias("__given_arrival"),
        *(F.col(name.removeprefix("__")).alias(name) for name in PLACE),
        "admitted_at",
        "refusal",
    )
    rows = places.rows(rows)
    declared = {
        what: times.instant(places.text(member.places), member.time)
        for what, member in source.members.items()
        if what in ("event_time", "arrival_time", "sent_at")
    }
    said, sent_at = declared["event_time"], declared.get("sent_at")
    # The time of a device alone cannot say how wrong its clock is.
    otherwise = F.coalesce("__given_arrival", said) if sent_at is None else F.col("__given_arrival")
    typed = rows.select(
        "payload",
        "__utf8",
        *places.names,
        "__given_id",
        *PLACE,
        "admitted_at",
        "refusal",
        said.alias("__said"),
        declared.get("arrival_time", otherwise).alias("arrival_time"),
        *([] if sent_at is None else [sent_at.alias("__sent_at")]),
        *(fields.value(places.text(f.places), f).alias(f.column) for f in source.payload_fields),
    )
    sent = None if sent_at is None else F.col("__sent_at")
    typed = typed.withColumn("event_time", happened(F.col("__said"), F.col("arrival_time"), sent, source.future))
    typed = lookups.looked_up(typed, source, tables)
    basic, faults = _basic_faults(), [*_faults(source, places), *_excesses(calculations)]
    if source.where is not None:
        typed = condition.judged(typed, source, places.refusal)
        faults.insert(0, F.col(condition.FAULT))
    reason, more = F.coalesce(*basic, *faults), []
    if source.each or source.where is not None or source.changes:
        skipped = _is_no_event(source, places)
        # What another source has in its payloads is its own concern, if one can tell without them.
        if not places.tell_apart(source):
            skipped &= F.coalesce(*basic).isNull()
        if source.changes:
            skipped |= _is_tombstone()
        more = [skipped.alias("__skipped"), F.lit(False).alias("__further")]
        reason = F.when(~skipped, reason)
    if isinstance(parses, Elements):
        more[1] = parses.further().alias("__further")
        reason = parses.said(reason)
    late = F.col("arrival_time") - F.col("event_time") > F.lit(source.late_after)
    changed = moves.changed(source)
    judged = typed.select(
        _event_id(source, places, changed).alias("event_id"),
        "event_time",
        "arrival_time",
        *(changed.get(name, F.col(name)).alias(name) for name in columns),
        F.coalesce(late, F.lit(False)).alias("late"),
        *PLACE,
        "admitted_at",
        places.kept().alias("payload"),
        reason.alias("reason"),
        *more,
    )
    good, event = F.col("reason").isNull(), ("event_time", "arrival_time", *columns, "late")
    extra = ["__skipped", "__further"] if more else []
    if extra:
        good &= ~F.col("__skipped")
    refused = F.col("reason").isNotNull()
    return judged.select(
        "event_id",
        *(F.when(good, F.col(name)).alias(name) for name in event),
        *PLACE,
        "admitted_at",
        F.when(refused, F.col("payload")).alias("payload"),
        "reason",
        *extra,
    )


def _event_id(source: EventSource, places: Places, changed: Mapping[str, Column]) -> Column:
    """The payload's id; else the transport's; else the hash of the content: every declared field, time, occurrence.

    With the place of the element, unless the id is one of its members; its content is all of the list. What a message
    has anew when it is sent again is not of its content. `changed` is that of `dualpath.spark.moves`.
    """
    members, parses = source.members, places.payload
    if "event_id" in members:
        own = places.text(members["event_id"].places)
        of_payload = inside(members["event_id"].place, source.each) is None
        return parses.id(own) if isinstance(parses, Elements) and of_payload else own
    content = [F.unix_micros("__said").alias("event_time")]
    for field in source.payload_fields:
        if not (same := lasting(field.places)):
            continue
        value = changed.get(field.column, F.col(field.column))
        if len(same) < len(field.places):
            value = fields.value(places.text(same), field)
        # As text an instant would lose its microseconds.
        content.append(F.unix_micros(value).alias(field.column) if field.kind == "timestamp" else value)
    if "occurrence" in members:
        content.append(places.text(members["occurrence"].places).alias("occurrence"))
    if isinstance(parses, Elements):
        content.append(F.col(TEXTS).alias("elements"))
    found = F.coalesce("__given_id", F.substring(F.sha2(F.to_json(F.struct(*content)), 256), 1, 32))
    return parses.id(found) if isinstance(parses, Elements) else found


def _is_no_event(source: EventSource, places: Places) -> Column:
    """Whether a row of a JSON object is no event: its condition is not true, or its list is empty; never null."""
    parses = places.payload
    if not isinstance(parses, Elements):
        return F.lit(False) if source.where is None else condition.is_other(F.lit(False))
    if source.where is None:
        return parses.empty()
    of_elements = any(inside(source.by_name[name].place, source.each) is not None for name in read_by(source.where))
    unreadable = F.coalesce(*parses.faults()).isNotNull() if of_elements else F.lit(False)
    return parses.empty() | condition.is_other(unreadable)


def _is_tombstone() -> Column:
    """Whether a message has no payload, as what follows a deletion so that a compacted topic forgets the row."""
    return F.col("payload").isNull() & F.col("refusal").isNull()


def _basic_faults() -> list[Column]:
    """What makes a payload none at all, most basic first: each column is null or a reason."""
    return [
        F.col("refusal"),
        F.when(F.col("payload").isNull(), F.lit("no payload")),
        F.when(~F.col("__utf8"), F.lit("not UTF-8")),
        F.when(F.col("__json").isNull(), F.lit("not a JSON object")),
    ]


def _faults(source: EventSource, places: Places) -> list[Column]:
    """What can be wrong with a JSON object, most basic first: each column is null or a reason."""
    faults = places.payload.faults() if isinstance(places.payload, Elements) else []
    members = source.members
    faults += [fault for member in members.values() for fault in places.unreadable(member)]
    for what in ("event_id", "occurrence"):
        if member := members.get(what):
            blank = F.coalesce(F.trim(places.text(member.places)), F.lit("")) == ""
            faults.append(F.when(blank, F.lit(f"{member} is missing")))
    for what, column in (("event_time", "__said"), ("arrival_time", "arrival_time"), ("sent_at", "__sent_at")):
        if member := members.get(what):
            # A device that thinks it is 1970 is one whose clock can be corrected.
            any_year = "sent_at" in members and what != "arrival_time"
            faults += _time_faults(places.text(member.places), member, column)[: 2 if any_year else 3]
    if "arrival_time" not in members:
        faults.append(F.when(_too_early("arrival_time"), F.lit(f"the transport's time is before {EARLIEST[:4]}")))
    time = str(members["event_time"])
    if sent_at := members.get("sent_at"):
        unknown = F.lit(f"no arrival is known, so {sent_at} cannot correct {time}")
        faults.append(F.when(F.col("arrival_time").isNull(), unknown))
        time += f", corrected by {sent_at},"
        faults.append(F.when(_too_early("event_time"), F.lit(f"{time} is before {EARLIEST[:4]}")))
    far = is_far(F.col("event_time"), F.col("arrival_time"), source.future)
    faults.append(F.when(far, F.lit(f"{time} is more than {spell(source.future.micros)} after the arrival")))
    # Each read asks for every arrival day that has rows, so it would ask for one of the far future until it comes.
    unborn = F.col("arrival_time") > F.col("admitted_at") + F.expr(AHEAD)
    faults.append(F.when(unborn, F.lit(f"{members.get('arrival_time', 'the arrival')} is more than a day ahead")))
    faults += [places.refusal(f) for f in source.payload_fields]
    return faults + moves.faults(source, places) + lookups.refusals(source)


def _excesses(calculations: Iterable[Excess]) -> list[Column]:
    return [
        F.when(F.expr(each.condition), F.lit(f"{each.calculation} has more than seventeen digits"))
        for each in calculations
    ]


def _time_faults(raw: Column, member: Field, column: str) -> list[Column]:
    time = F.col(column)
    return [
        F.when(raw.isNull(), F.lit(f"{member} is missing")),
        F.when(time.isNull(), _says(raw, str(member), times.refusal(raw, member.time))),
        F.when(_too_early(column), _says(raw, f"{member} is before {EARLIEST[:4]}")),
    ]


def _too_early(column: str) -> Column:
    return F.col(column) < F.lit(EARLIEST).cast("timestamp")


def _says(raw: Column, what: str, more: Column | None = None) -> Column:
    """A reason with the offending text, cut to a readable length."""
    said = F.lit(f"{what}: ") if more is None else F.concat(F.lit(f"{what} "), more, F.lit(": "))
    return F.concat(said, F.substring(raw, 1, 80))
