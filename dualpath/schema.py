"""What an event looks like: typed fields and the source that delivers them.

Pure data, no engine. All instants are microseconds since 1970-01-01 UTC.
"""

import keyword
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import pyarrow as pa

from dualpath.decoders.base import Decoder
from dualpath.errors import DeclarationError
from dualpath.kinds import INSTANT, KINDS
from dualpath.leniency import STRICT, Leniency
from dualpath.limits import Limits
from dualpath.signature import declares
from dualpath.times import ISO, Time

RESERVED = (
    *("event_id", "event_time", "arrival_time", "late", "arrival_day", "epoch", "batch", "query"),  # columns of the log
    *("payload", "reason", "admitted_at"),  # columns of a micro-batch
)
"""Names that a declared field cannot have."""
NULL = -(2**63)
"""The word that stands for SQL null in a record. No encoded value may take it."""

DECIMAL_BOUND = 10**15
"""Largest magnitude of a decimal's unscaled integer and of an integer field: 9,000 of them still sum in int64."""
IDENTIFIER_BOUND = 2**63 - 1
"""Largest magnitude of an identifier: all of 64 bits but `NULL`."""
DERIVED_BOUND = 10**17
"""The same for what is calculated from fields: every engine computes so many digits exactly."""
SATURATED = 2**63 - 1
"""The word of a sum that has left 64 bits: reading it is an error, and so is every sum with it."""


@declares
@dataclass(frozen=True)
class Field:
    """One typed column of an event.

    `scale` is the number of digits after the point of a decimal; `choices` are the only texts allowed; `time` is how
    payloads write a timestamp, and `leniency` what they may write beside the plain form; a row whose `required` field
    is null goes to the dead-letter table.
    """

    name: str
    kind: str
    scale: int = 0
    required: bool = False
    choices: tuple[str, ...] = ()
    time: Time = ISO
    leniency: Leniency = STRICT

    called: ClassVar[str] = "a field such as text('name')"

    @property
    def stored(self) -> pa.DataType:
        """Its Arrow type in the event log."""
        return KINDS[self.kind].stored(self.scale)

    @property
    def key(self) -> str:
        """The rule of `entities.cast` for it as a join key; empty if it cannot be one."""
        return KINDS[self.kind].key

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `from_dict` restores an equal field. ISO-8601 and strictness are left out, as ever."""
        plain = {**asdict(self), "leniency": self.leniency.to_dict()}
        if self.time == ISO:
            del plain["time"]
        if self.leniency == STRICT:
            del plain["leniency"]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Field":
        """The inverse of `to_dict`."""
        made = {"time": Time(**plain.get("time", {})), "leniency": Leniency(**plain.get("leniency", {}))}
        return cls(**{**plain, "choices": tuple(plain["choices"]), **made})


@declares
def text(name: str, *, required: bool = False, choices: Iterable[str] = (), empty_is_null: bool = False) -> Field:
    """A string; with `choices`, one of a closed set. With `empty_is_null`, one of blanks alone is null."""
    leniency = Leniency(empty_is_null=empty_is_null)
    return Field(name, "text", required=required, choices=tuple(choices), leniency=leniency)


@declares
def integer(name: str, *, required: bool = False, lenient: bool = False, empty_is_null: bool = False) -> Field:
    """A whole number of at most fifteen digits; `dualpath.leniency.Leniency` says what the options take.

    >>> integer("quantity", lenient=True).leniency
    Leniency(lenient=True)
    """
    return Field(name, "integer", required=required, leniency=Leniency(lenient, empty_is_null))


@declares
def identifier(name: str, *, required: bool = False, lenient: bool = False, empty_is_null: bool = False) -> Field:
    """A whole number of 64 bits that names something, such as a snowflake id or a hash; options as for `integer`.

    It can be a join key, be counted, listed, chosen and compared, and not be calculated with. The one number -2^63 is
    refused, because it stands for null.

    >>> identifier("user_id").stored
    DataType(int64)
    """
    return Field(name, "identifier", required=required, leniency=Leniency(lenient, empty_is_null))


@declares
def decimal(
    name: str,
    *,
    scale: int,
    required: bool = False,
    lenient: bool = False,
    empty_is_null: bool = False,
    rounded: bool = False,
) -> Field:
    """An exact number with `scale` digits after the point, as money is; `dualpath.leniency.Leniency` has the options.

    >>> amount = decimal("amount", scale=2, rounded=True)
    >>> amount.scale, amount.leniency
    (2, Leniency(rounded=True))
    """
    leniency = Leniency(lenient, empty_is_null, rounded)
    return Field(name, "decimal", scale=scale, required=required, leniency=leniency)


@declares
def double(name: str, *, required: bool = False, lenient: bool = False, empty_is_null: bool = False) -> Field:
    """A finite IEEE 754 double; `dualpath.leniency.Leniency` says what the options take."""
    return Field(name, "double", required=required, leniency=Leniency(lenient, empty_is_null))


@declares
def boolean(name: str, *, required: bool = False, lenient: bool = False, empty_is_null: bool = False) -> Field:
    """True or false; `dualpath.leniency.Leniency` says what the options take."""
    return Field(name, "boolean", required=required, leniency=Leniency(lenient, empty_is_null))


@declares
def timestamp(
    name: str,
    *,
    required: bool = False,
    unit: str | None = None,
    zone: str | None = None,
    format: str | None = None,
    truncate: bool = False,
    empty_is_null: bool = False,
) -> Field:
    """An instant, microseconds UTC. Payloads write it in ISO-8601, UTC without an offset, or as the options say.

    Args:
        name: the payload's member, and the field.
        required: a row in which it is missing is refused.
        unit: "s", "ms", "us" or "ns": it is a number of these since 1970 UTC, or a text of one.
        zone: the time zone of texts without an offset, an IANA name.
        format: the texts' pattern, such as "dd/MM/yyyy HH:mm:ss"; `dualpath.times.Time` says its letters.
        truncate: digits finer than a microsecond are cut; otherwise a row with some is refused.
        empty_is_null: a text of blanks alone is null.

    >>> timestamp("shipped_at", unit="ms").time
    Time(unit='ms')
    >>> timestamp("shipped_at", unit="days")
    Traceback (most recent call last):
    dualpath.errors.DeclarationError: <doctest dualpath.schema.timestamp[1]>:1: timestamp 'shipped_at': unit='days' is \
none of s, ms, us, ns; write one of them.
    """
    try:
        time = Time(unit, zone, format, truncate)
    except DeclarationError as error:
        raise DeclarationError(f"timestamp '{name}': {error.message}") from None
    return Field(name, "timestamp", required=required, time=time, leniency=Leniency(empty_is_null=empty_is_null))


@declares
@dataclass(frozen=True)
class EventSource:
    """A stream of immutable facts.

    `event_id`, `event_time` and `arrival_time` name the payload's columns for them. Without `event_id`, the id is the
    one the transport gives (a Kafka message's header `event_id`), else the SHA-256 of the row's content: every declared
    field and the event time, not the arrival. So an exact repetition is a duplicate. If a column tells real identical
    rows apart, `occurrence` names it, and its value joins the hash. Without `arrival_time` an event arrives at the time
    the transport gives (that of the Kafka record), else when it happens, so none is ever late. An event is *late* if it
    arrives more than `late_after` after it happened. Lateness is counted and changes no value.

    `times` are the two of them that the payload does not write in ISO-8601, declared as fields are; `event_source`
    fills it. `decoder` says what the bytes of a message are; None: JSON. `limits` are what the quality gate allows a
    night.
    """

    name: str
    fields: tuple[Field, ...]
    event_id: str | None = "event_id"
    event_time: str = "event_time"
    arrival_time: str | None = "arrival_time"
    occurrence: str | None = None
    late_after: timedelta = timedelta(hours=1)
    duplicates_within: timedelta = timedelta(days=1)
    description: str = ""
    times: tuple[Field, ...] = ()
    decoder: Decoder | None = None
    limits: Limits = Limits()  # noqa: RUF009 - it is frozen

    called: ClassVar[str] = "an event_source(...)"
    by_name: Mapping[str, Field] = field(init=False, repr=False, compare=False, hash=False, default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name, f"event source '{self.name}'")
        seen: dict[str, Field] = {}
        for each in self.fields:
            where = f"event source '{self.name}', field '{each.name}'"
            check_name(each.name, where)
            if each.name in RESERVED:
                raise DeclarationError(f"{where}: the name is reserved for dualpath; choose another.")
            if each.name in seen:
                raise DeclarationError(f"{where}: declared twice; remove or rename one.")
            if each.kind not in KINDS:
                raise DeclarationError(f"{where}: unknown kind '{each.kind}'; use one of {', '.join(KINDS)}.")
            if not 0 <= each.scale <= 9:
                raise DeclarationError(f"{where}: scale {each.scale} is outside 0 to 9; choose a smaller one.")
            seen[each.name] = each
        for limit in self.limits.nulls:
            if limit.field not in seen:
                raise DeclarationError(
                    f"event source '{self.name}': limits name the field '{limit.field}', which it does not have; "
                    f"name one of {', '.join(seen)}."
                )
        for each in self.times:
            if each.kind != "timestamp":
                raise DeclarationError(
                    f"event source '{self.name}': its time '{each.name}' is of kind {each.kind}; declare a timestamp."
                )
            if each.leniency != STRICT:
                raise DeclarationError(
                    f"event source '{self.name}': every event has '{each.name}', its time; leave out empty_is_null."
                )
        if self.late_after < timedelta(0) or self.duplicates_within <= timedelta(0):
            raise DeclarationError(
                f"event source '{self.name}': late_after must not be negative and duplicates_within must be positive."
            )
        object.__setattr__(self, "by_name", seen)

    @property
    def stored(self) -> pa.Schema:
        """The Arrow types of what the event log has of every event: its id, its times and its fields."""
        times = [("event_time", INSTANT), ("arrival_time", INSTANT)]
        return pa.schema([("event_id", pa.string()), *times, *((f.name, f.stored) for f in self.fields)])

    def time(self, column: str) -> Time:
        """How payloads write the event or the arrival time: as declared for it, or for the field of its name."""
        declared = {field.name: field for field in (*self.fields, *self.times)}
        return declared[column].time if column in declared else ISO

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `from_dict` restores an equal source. Of `times`, `decoder` and `limits` a
        default is left out."""
        plain = asdict(self)
        plain.pop("by_name")
        for name in ("fields", "times"):
            plain[name] = [each.to_dict() for each in getattr(self, name)]
        if not self.times:
            del plain["times"]
        del plain["decoder"]
        if self.decoder is not None:
            plain["decoder"] = self.decoder.to_dict()
        plain["limits"] = self.limits.to_dict()
        if not plain["limits"]:
            del plain["limits"]
        plain["late_after"] = self.late_after.total_seconds()
        plain["duplicates_within"] = self.duplicates_within.total_seconds()
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "EventSource":
        """The inverse of `to_dict`."""
        kept = dict(plain)
        for name in ("fields", "times"):
            kept[name] = tuple(map(Field.from_dict, plain.get(name, ())))
        if "decoder" in plain:
            kept["decoder"] = Decoder.from_dict(plain["decoder"])
        kept["limits"] = Limits.from_dict(plain.get("limits", {}))
        kept["late_after"] = timedelta(seconds=plain["late_after"])
        kept["duplicates_within"] = timedelta(seconds=plain["duplicates_within"])
        return cls(**kept)


def check_name(name: str, where: str) -> None:
    """Raise `DeclarationError` unless `name` is a plain identifier (it becomes a column and a key).

    >>> check_name("2fast", "view '2fast'")
    Traceback (most recent call last):
    dualpath.errors.DeclarationError: view '2fast': '2fast' is not a plain name; use letters, digits and underscores.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
        raise DeclarationError(f"{where}: '{name}' is not a plain name; use letters, digits and underscores.")
