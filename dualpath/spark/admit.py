"""Turns payloads into typed events, or refuses them: the rules that every row passes before anything counts it.

A row is refused, never repaired. `reason` says what is wrong with it, for the dead-letter table.
"""

from collections.abc import Iterable
from pathlib import Path

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type

from dualpath.field import Field
from dualpath.schema import EventSource
from dualpath.spark import fields, lookups, times
from dualpath.spark.payload import Parses
from dualpath.spelling import excesses

EARLIEST = "2000-01-01 00:00:00"
AHEAD = "INTERVAL 1 DAY"
PLACE = ("__origin", "__position")
"""Where a row came from, by names that no declared field can have."""


def spark_type(field: Field) -> str:
    """A field's type in the event log."""
    return from_arrow_type(field.stored).simpleString()


def admit(
    raw: DataFrame, source: EventSource, expressions: Iterable[str] = (), tables: Path | None = None
) -> DataFrame:
    """Type payloads, and give a reason for each that is refused.

    `expressions` are those that views compute of an event; a row with a calculation out of range is refused. `tables`
    names the tables that the source looks fields up in, as `dualpath.spark.lookups.in_use` reads it.

    `raw` has `value`, a JSON object as a string; `refusal`, why the payload could not be decoded, or null;
    `event_id` and `arrival_time` as the transport gives them, or null;
    `origin` and `position`, the row's place there; and `admitted_at`, the instant of judging, a timestamp.

    Returns `event_id`, `event_time`, `arrival_time`, the columns of the fields, `late`, the place as `__origin` and
    `__position`, `admitted_at`, `payload` and `reason`: null for a good row, else the value as it came and what is
    wrong with it. All between the id and the place is null in a refused row, so that nothing is ever computed of it.
    Unknown members of the object are ignored.

    The id and the arrival come from the payload's members that the source names. If it names none, they come from the
    transport. If that has none either, the id is the hash of the content and the arrival the event time.
    """
    parses = Parses([*(f.place for f in source.fields), *(f.place for f in source.members.values())])
    columns = [f.column for f in source.all_fields]
    rows = raw.select(
        F.make_valid_utf8("value").alias("payload"),
        F.is_valid_utf8("value").alias("__utf8"),
        *parses.columns(F.col("value")),
        F.col("event_id").alias("__given_id"),
        F.col("arrival_time").alias("__given_arrival"),
        *(F.col(name.removeprefix("__")).alias(name) for name in PLACE),
        "admitted_at",
        "refusal",
    )

    declared = {
        what: times.instant(parses.text(member.place), member.time)
        for what, member in source.members.items()
        if what in ("event_time", "arrival_time")
    }
    event_time = declared["event_time"]
    arrival_time = declared.get("arrival_time", F.coalesce("__given_arrival", event_time))
    typed = rows.select(
        "payload",
        "__utf8",
        *parses.names,
        "__given_id",
        *PLACE,
        "admitted_at",
        "refusal",
        event_time.alias("event_time"),
        arrival_time.alias("arrival_time"),
        *(fields.value(parses.text(f.place), f).alias(f.column) for f in source.fields),
    )
    typed = lookups.looked_up(typed, source, tables)
    late = F.col("arrival_time") - F.col("event_time") > F.lit(source.late_after)
    judged = typed.select(
        _event_id(source, parses).alias("event_id"),
        "event_time",
        "arrival_time",
        *columns,
        F.coalesce(late, F.lit(False)).alias("late"),
        *PLACE,
        "admitted_at",
        "payload",
        F.coalesce(*_faults(source, parses), *_excesses(source, expressions)).alias("reason"),
    )
    good, event = F.col("reason").isNull(), ("event_time", "arrival_time", *columns, "late")
    return judged.select(
        "event_id",
        *(F.when(good, F.col(name)).alias(name) for name in event),
        *PLACE,
        "admitted_at",
        F.when(~good, F.col("payload")).alias("payload"),
        "reason",
    )


def _event_id(source: EventSource, parses: Parses) -> Column:
    """The payload's id; else the transport's; else the hash of the content: every declared field, time, occurrence."""
    members = source.members
    if "event_id" in members:
        return parses.text(members["event_id"].place)
    content = [F.unix_micros("event_time").alias("event_time")]
    for field in source.fields:
        value = F.col(field.column)
        # As text an instant would lose its microseconds.
        content.append(F.unix_micros(value).alias(field.column) if field.kind == "timestamp" else value)
    if "occurrence" in members:
        content.append(parses.text(members["occurrence"].place).alias("occurrence"))
    return F.coalesce("__given_id", F.substring(F.sha2(F.to_json(F.struct(*content)), 256), 1, 32))


def _faults(source: EventSource, parses: Parses) -> list[Column]:
    """What can be wrong, most basic first: each column is null or a reason."""
    faults = [
        F.col("refusal"),
        F.when(F.col("payload").isNull(), F.lit("no payload")),
        F.when(~F.col("__utf8"), F.lit("not UTF-8")),
        F.when(F.col("__json").isNull(), F.lit("not a JSON object")),
    ]
    members = source.members
    for what in ("event_id", "occurrence"):
        if member := members.get(what):
            blank = F.coalesce(F.trim(parses.text(member.place)), F.lit("")) == ""
            faults.append(F.when(blank, F.lit(f"{member} is missing")))
    for what in ("event_time", "arrival_time"):
        if member := members.get(what):
            faults += _time_faults(parses.text(member.place), member, what)
    if "arrival_time" not in members:
        faults.append(F.when(_too_early("arrival_time"), F.lit(f"the transport's time is before {EARLIEST[:4]}")))
    too_far = F.col("event_time") > F.col("arrival_time") + F.expr(AHEAD)
    faults.append(F.when(too_far, F.lit(f"{members['event_time']} is more than a day after the arrival")))
    # Each read asks for every arrival day that has rows, so it would ask for one of the far future until it comes.
    unborn = F.col("arrival_time") > F.col("admitted_at") + F.expr(AHEAD)
    faults.append(F.when(unborn, F.lit(f"{members.get('arrival_time', 'the arrival')} is more than a day ahead")))
    faults += [fields.refusal(parses.text(f.place), F.col(f.column), f) for f in source.fields]
    return faults + lookups.refusals(source)


def _excesses(source: EventSource, expressions: Iterable[str]) -> list[Column]:
    return [
        F.when(F.expr(excess.condition), F.lit(f"{excess.calculation} has more than seventeen digits"))
        for excess in excesses(expressions, source.by_name)
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
