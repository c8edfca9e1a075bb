"""Turns payloads into typed events, or refuses them: the rules that every row passes before anything counts it.

A row is refused, never repaired. `reason` says what is wrong with it, for the dead-letter table.
"""

from collections.abc import Iterable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type

from dualpath.schema import DECIMAL_BOUND, EventSource, Field
from dualpath.spark import times
from dualpath.spelling import excesses

WHOLE = r"^[+-]?\d{1,18}$"
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
EXPONENT = r"[eE]([+-]?\d+)$"
NOT_FINITE = r'(?i)^"?[+-]?(nan|inf|infinity)"?$'
EARLIEST = "2000-01-01 00:00:00"
AHEAD = "INTERVAL 1 DAY"
PLACE = ("__origin", "__position")
"""Where a row came from, by names that no declared field can have."""


def spark_type(field: Field) -> str:
    """A field's type in the event log."""
    return from_arrow_type(field.stored).simpleString()


def admit(raw: DataFrame, source: EventSource, expressions: Iterable[str] = ()) -> DataFrame:
    """Type payloads, and give a reason for each that is refused.

    `expressions` are those that views compute of an event; a row with a calculation out of range is refused.

    `raw` has `value`, a JSON object as a string; `refusal`, why the payload could not be decoded, or null;
    `event_id` and `arrival_time` as the transport gives them, or null;
    `origin` and `position`, the row's place there; and `admitted_at`, the instant of judging, a timestamp.

    Returns `event_id`, `event_time`, `arrival_time`, the declared fields, `late`, the place as `__origin` and
    `__position`, `admitted_at`, `payload` and `reason`: null for a good row, else the value as it came and what is
    wrong with it. All between the id and the place is null in a refused row, so that nothing is ever computed of it.
    Unknown members of the object are ignored.

    The id and the arrival come from the payload's columns that the source names. If it names none, they come from the
    transport. If that has none either, the id is the hash of the content and the arrival the event time.
    """
    names = [source.event_id, source.event_time, source.arrival_time, source.occurrence]
    members = dict.fromkeys([*(f.name for f in source.fields), *(n for n in names if n)])
    schema = ", ".join(f"`{m}` string" for m in members)
    # Spark's parser stops where the first value ends; only as one of two in a list is a payload read to its end.
    parsed = F.from_json(F.concat(F.lit("["), F.col("value"), F.lit(",{}]")), f"array<struct<{schema}>>")
    rows = raw.select(
        F.make_valid_utf8("value").alias("payload"),
        F.is_valid_utf8("value").alias("__utf8"),
        F.when(F.size(parsed) == 2, F.get(parsed, 0)).alias("__json"),
        F.col("event_id").alias("__given_id"),
        F.col("arrival_time").alias("__given_arrival"),
        *(F.col(name.removeprefix("__")).alias(name) for name in PLACE),
        "admitted_at",
        "refusal",
    )

    event_time = times.instant(_raw(source.event_time), source.time(source.event_time))
    declared = None
    if source.arrival_time:
        declared = times.instant(_raw(source.arrival_time), source.time(source.arrival_time))
    arrival_time = F.coalesce("__given_arrival", event_time) if declared is None else declared
    typed = rows.select(
        "payload",
        "__utf8",
        "__json",
        "__given_id",
        *PLACE,
        "admitted_at",
        "refusal",
        event_time.alias("event_time"),
        arrival_time.alias("arrival_time"),
        *(_typed(_raw(f.name), f).alias(f.name) for f in source.fields),
    )
    late = F.col("arrival_time") - F.col("event_time") > F.lit(source.late_after)
    judged = typed.select(
        _event_id(source).alias("event_id"),
        "event_time",
        "arrival_time",
        *(f.name for f in source.fields),
        F.coalesce(late, F.lit(False)).alias("late"),
        *PLACE,
        "admitted_at",
        "payload",
        F.coalesce(*_faults(source), *_excesses(source, expressions)).alias("reason"),
    )
    good, event = F.col("reason").isNull(), ("event_time", "arrival_time", *(f.name for f in source.fields), "late")
    return judged.select(
        "event_id",
        *(F.when(good, F.col(name)).alias(name) for name in event),
        *PLACE,
        "admitted_at",
        F.when(~good, F.col("payload")).alias("payload"),
        "reason",
    )


def _raw(name: str) -> Column:
    return F.col(f"__json.`{name}`")


def _typed(raw: Column, field: Field) -> Column:
    """A payload's text as a value of the field; null where it is not one."""
    match field.kind:
        case "text":
            return raw
        case "timestamp":
            return times.instant(raw, field.time)
        case "integer":
            return F.when(raw.rlike(WHOLE), raw.try_cast("bigint"))
        case "decimal":
            return F.when(raw.rlike(NUMBER), raw.try_cast(f"decimal(18,{field.scale})"))
        case "boolean":
            return F.when(raw.isin("true", "false"), raw == "true")
    return F.when(raw.rlike(NUMBER), raw.try_cast("double"))


def _event_id(source: EventSource) -> Column:
    """The payload's id; else the transport's; else the hash of the content: every declared field, time, occurrence."""
    if source.event_id:
        return _raw(source.event_id)
    content = [F.unix_micros("event_time").alias("event_time")]
    for field in source.fields:
        column = F.col(field.name)
        # As text an instant would lose its microseconds.
        content.append(F.unix_micros(column).alias(field.name) if field.kind == "timestamp" else column)
    if source.occurrence:
        content.append(_raw(source.occurrence).alias("occurrence"))
    return F.coalesce("__given_id", F.substring(F.sha2(F.to_json(F.struct(*content)), 256), 1, 32))


def _faults(source: EventSource) -> list[Column]:
    """What can be wrong, most basic first: each column is null or a reason."""
    faults = [
        F.col("refusal"),
        F.when(F.col("payload").isNull(), F.lit("no payload")),
        F.when(~F.col("__utf8"), F.lit("not UTF-8")),
        F.when(F.col("__json").isNull(), F.lit("not a JSON object")),
    ]
    for name in filter(None, (source.event_id, source.occurrence)):
        faults.append(F.when(F.coalesce(F.trim(_raw(name)), F.lit("")) == "", F.lit(f"{name} is missing")))
    faults += _time_faults(source, source.event_time, "event_time")
    if source.arrival_time:
        faults += _time_faults(source, source.arrival_time, "arrival_time")
    else:
        faults.append(F.when(_too_early("arrival_time"), F.lit(f"the transport's time is before {EARLIEST[:4]}")))
    too_far = F.col("event_time") > F.col("arrival_time") + F.expr(AHEAD)
    faults.append(F.when(too_far, F.lit(f"{source.event_time} is more than a day after the arrival")))
    # Each read asks for every arrival day that has rows, so it would ask for one of the far future until it comes.
    unborn = F.col("arrival_time") > F.col("admitted_at") + F.expr(AHEAD)
    faults.append(F.when(unborn, F.lit(f"{source.arrival_time or 'the arrival'} is more than a day ahead")))
    for field in source.fields:
        faults += _field_faults(field)
    return faults


def _excesses(source: EventSource, expressions: Iterable[str]) -> list[Column]:
    return [
        F.when(F.expr(excess.condition), F.lit(f"{excess.calculation} has more than seventeen digits"))
        for excess in excesses(expressions, source.by_name)
    ]


def _time_faults(source: EventSource, member: str, column: str) -> list[Column]:
    raw, time = _raw(member), F.col(column)
    return [
        F.when(raw.isNull(), F.lit(f"{member} is missing")),
        F.when(time.isNull(), _says(raw, member, times.refusal(raw, source.time(member)))),
        F.when(_too_early(column), _says(raw, f"{member} is before {EARLIEST[:4]}")),
    ]


def _too_early(column: str) -> Column:
    return F.col(column) < F.lit(EARLIEST).cast("timestamp")


def _field_faults(field: Field) -> list[Column]:
    raw, typed = _raw(field.name), F.col(field.name)
    faults = []
    if field.required:
        faults.append(F.when(F.coalesce(raw, F.lit("")) == "", F.lit(f"{field.name} is missing")))
    if field.kind in ("decimal", "double"):
        faults.append(F.when(raw.rlike(NOT_FINITE), _says(raw, f"{field.name} is not finite")))
    if field.kind == "decimal":
        exact = F.when(raw.rlike(NUMBER), raw.try_cast("decimal(38,18)"))
        bound = F.lit(DECIMAL_BOUND).cast("decimal(38,0)") / F.lit(10**field.scale).cast("decimal(38,0)")
        decimals = F.length(F.rtrim(F.regexp_extract(raw, r"\.(\d*)", 1), F.lit("0")))
        exponent = F.coalesce(F.regexp_extract(raw, EXPONENT, 1).try_cast("int"), F.lit(0))
        faults += [
            F.when(
                raw.rlike(NUMBER) & (exact.isNull() | (F.abs(exact) > bound)),
                _says(raw, f"{field.name} is too large"),
            ),
            F.when(
                # The second is of digits that `exact` has rounded away.
                (exact != F.round(exact, field.scale)) | (decimals - exponent > 18),
                _says(raw, f"{field.name} has more than {field.scale} decimals"),
            ),
        ]
    if field.kind == "integer":
        faults.append(F.when(F.abs(typed) > DECIMAL_BOUND, _says(raw, f"{field.name} is too large")))
    if field.kind == "double":
        finite = ~typed.isin(float("inf"), float("-inf"))
        faults.append(F.when(~finite, _says(raw, f"{field.name} is too large")))
    if field.kind == "timestamp":
        unread = raw.isNotNull() & typed.isNull()
        faults.append(F.when(unread, _says(raw, field.name, times.refusal(raw, field.time))))
    elif field.kind != "text":
        faults.append(F.when(raw.isNotNull() & typed.isNull(), _says(raw, f"{field.name} is not of kind {field.kind}")))
    if field.choices:
        known = typed.isin(*field.choices)
        faults.append(F.when(~known, _says(raw, f"{field.name} is not one of the declared choices")))
    return faults


def _says(raw: Column, what: str, more: Column | None = None) -> Column:
    """A reason with the offending text, cut to a readable length."""
    said = F.lit(f"{what}: ") if more is None else F.concat(F.lit(f"{what} "), more, F.lit(": "))
    return F.concat(said, F.substring(raw, 1, 80))
