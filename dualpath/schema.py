"""What an event looks like: typed fields and the source that delivers them.

Pure data, no engine. All instants are microseconds since 1970-01-01 UTC.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import pyarrow as pa

from dualpath import paths
from dualpath.changes import Changes
from dualpath.clock import Future
from dualpath.columns import check_name
from dualpath.decoders.base import Decoder
from dualpath.dimension import Lookup, check_lookups
from dualpath.errors import DeclarationError
from dualpath.field import Field, Path, by_name, check_former, check_places, steps
from dualpath.kinds import INSTANT
from dualpath.leniency import STRICT, Leniency
from dualpath.limits import Limits
from dualpath.signature import declares
from dualpath.times import Time

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
def text(
    name: str,
    *,
    path: Path = None,
    required: bool = False,
    choices: Iterable[str] = (),
    empty_is_null: bool = False,
) -> Field:
    """A string; with `choices`, one of a closed set. With `empty_is_null`, one of blanks alone is null.

    `path` says where payloads have it, as for every field: `dualpath.paths` has the notation. An object or a list there
    is taken as its JSON text.

    >>> print(text("user", path="context.user.id"))
    user (context.user.id)
    """
    leniency, at = Leniency(empty_is_null=empty_is_null), steps(name, path)
    return Field(name, "text", required=required, choices=tuple(choices), leniency=leniency, path=at)


@declares
def integer(
    name: str, *, path: Path = None, required: bool = False, lenient: bool = False, empty_is_null: bool = False
) -> Field:
    """A whole number of at most fifteen digits; `dualpath.leniency.Leniency` says what the options take.

    >>> integer("quantity", lenient=True).leniency
    Leniency(lenient=True)
    """
    leniency = Leniency(lenient, empty_is_null)
    return Field(name, "integer", required=required, leniency=leniency, path=steps(name, path))


@declares
def identifier(
    name: str, *, path: Path = None, required: bool = False, lenient: bool = False, empty_is_null: bool = False
) -> Field:
    """A whole number of 64 bits that names something, such as a snowflake id or a hash; options as for `integer`.

    It can be a join key, be counted, listed, chosen and compared, and not be calculated with. The one number -2^63 is
    refused, because it stands for null.

    >>> identifier("user_id").stored
    DataType(int64)
    """
    leniency = Leniency(lenient, empty_is_null)
    return Field(name, "identifier", required=required, leniency=leniency, path=steps(name, path))


@declares
def decimal(
    name: str,
    *,
    scale: int,
    path: Path = None,
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
    return Field(name, "decimal", scale=scale, required=required, leniency=leniency, path=steps(name, path))


@declares
def double(
    name: str, *, path: Path = None, required: bool = False, lenient: bool = False, empty_is_null: bool = False
) -> Field:
    """A finite IEEE 754 double; `dualpath.leniency.Leniency` says what the options take."""
    leniency = Leniency(lenient, empty_is_null)
    return Field(name, "double", required=required, leniency=leniency, path=steps(name, path))


@declares
def boolean(
    name: str, *, path: Path = None, required: bool = False, lenient: bool = False, empty_is_null: bool = False
) -> Field:
    """True or false; `dualpath.leniency.Leniency` says what the options take."""
    leniency = Leniency(lenient, empty_is_null)
    return Field(name, "boolean", required=required, leniency=leniency, path=steps(name, path))


@declares
def timestamp(
    name: str,
    *,
    path: Path = None,
    required: bool = False,
    unit: str | None = None,
    zone: str | None = None,
    format: str | None = None,
    truncate: bool = False,
    empty_is_null: bool = False,
) -> Field:
    """An instant, microseconds UTC. Payloads write it in ISO-8601, UTC without an offset, or as the options say.

    Args:
        name: the field's.
        path: where payloads have it; None: the member of its name.
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
    leniency = Leniency(empty_is_null=empty_is_null)
    return Field(name, "timestamp", required=required, time=time, leniency=leniency, path=steps(name, path))


@declares
@dataclass(frozen=True)
class EventSource:
    """A stream of immutable facts.

    `event_id`, `event_time` and `arrival_time` name the payload's members for them. Without `event_id`, the id is the
    one the transport gives (a Kafka message's header `event_id`), else the SHA-256 of the row's content: every declared
    field and the event time as it is written, not the arrival. So an exact repetition is a duplicate. If a member tells
    real identical rows apart, `occurrence` names it, and its value joins the hash. Without `arrival_time` an event
    arrives at the time the transport gives (that of the Kafka record), else when it happens, so none is ever late. An
    event is *late* if it arrives more than `late_after` after it happened. Lateness is counted and changes no value.

    `sent_at` names the instant at which the event was sent, by the clock that gave `event_time`: it then happened when
    `dualpath.clock.corrected` says. `future` says what becomes of one that happens after its arrival.

    `times` are those of them that the payload does not write in ISO-8601, or has at a path, declared as fields are, and
    `ids` the id and the occurrence that it has at a path; `event_source` fills them. `decoder` says what the bytes of a
    message are; None: JSON. `limits` are what the quality gate allows a night. With `changes`, events are versions of
    rows. `lookups` say what events get from dimensions, beside the `fields` of their payloads.

    `each` leads to a list of which every element is an event; paths of an element begin with it and `[*]`. `where` is
    the condition of an event: a payload, or an element, for which it is not true is skipped. `docs/events.md` has both.
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
    ids: tuple[Field, ...] = ()
    changes: Changes | None = None
    each: tuple[str | int, ...] = ()
    where: str | None = None
    sent_at: str | None = None
    future: Future = Future()  # noqa: RUF009 - it is frozen
    lookups: tuple[Lookup, ...] = ()

    called: ClassVar[str] = "an event_source(...)"
    by_name: Mapping[str, Field] = field(init=False, repr=False, compare=False, hash=False, default_factory=dict)

    def __post_init__(self) -> None:
        own = f"event source '{self.name}'"
        check_name(self.name, own)
        seen = by_name(self.all_fields, own)
        check_former(self.fields, own)
        if self.changes:
            self.changes.check(own, seen)
        check_lookups(self.lookups, own, self.fields)
        self.limits.check(own, seen)
        for each in (*self.times, *self.ids):
            kind, what = ("timestamp", "its time") if each in self.times else ("text", "what tells its events apart,")
            if each.kind != kind:
                raise DeclarationError(f"{own}: {what} '{each.name}' is of kind {each.kind}; declare a {kind}.")
            if each.leniency != STRICT:
                raise DeclarationError(f"{own}: every event has '{each.name}', {what}; leave out empty_is_null.")
            if any(each.name == other.name and each != other for other in self.times + self.ids):
                raise DeclarationError(f"{own}: two of its id and times are called '{each.name}'; rename one.")
        if paths.EACH in self.each:
            raise DeclarationError(f"{own}: each='{paths.written(self.each)}' is of several lists; name one list.")
        check_places(self.fields, self.members, self.each, own)
        if self.late_after < timedelta(0) or self.duplicates_within <= timedelta(0):
            raise DeclarationError(f"{own}: late_after must not be negative and duplicates_within must be positive.")
        object.__setattr__(self, "by_name", seen)

    @property
    def payload_fields(self) -> tuple[Field, ...]:
        """The fields of payloads: those declared, and, of changes, what they were before."""
        return (*self.fields, *(self.changes.former(self.fields) if self.changes else ()))

    @property
    def all_fields(self) -> tuple[Field, ...]:
        """Every field of an event: those of its payload, and those that are looked up."""
        return (*self.payload_fields, *(each for lookup in self.lookups for each in lookup.fields))

    @property
    def stored(self) -> pa.Schema:
        """The Arrow types of what the event log has of every event: its id, its times and its fields' columns."""
        times = [("event_time", INSTANT), ("arrival_time", INSTANT)]
        return pa.schema([("event_id", pa.string()), *times, *((f.column, f.stored) for f in self.all_fields)])

    @property
    def members(self) -> dict[str, Field]:
        """Where payloads have ids and times, and how they write them, by what each is: `event_id`, `event_time`,
        `arrival_time`, `sent_at` or `occurrence`. A time is as declared for it, or for the field at the member of its
        name."""
        times = (*self.times, *(each for each in self.fields if not each.path))
        found = {}
        for what in ("event_id", "event_time", "arrival_time", "sent_at", "occurrence"):
            if name := getattr(self, what):
                declared = self.ids if what in ("event_id", "occurrence") else times
                found[what] = next((each for each in declared if each.name == name), Field(name, "text"))
        return found

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `from_dict` restores an equal source. From `times` on a default is left out."""
        plain = asdict(self)
        del plain["by_name"]
        for name in ("fields", "times", "ids", "lookups"):
            plain[name] = [each.to_dict() for each in getattr(self, name)]
        plain["decoder"] = self.decoder and self.decoder.to_dict()
        plain["changes"] = self.changes and self.changes.to_dict()
        plain["limits"], plain["future"] = self.limits.to_dict(), self.future.to_dict()
        plain["each"] = paths.written(self.each)
        optional = {"times", "ids", "decoder", "limits", "changes", "each", "where", "sent_at", "future", "lookups"}
        plain = {name: value for name, value in plain.items() if value or name not in optional}
        plain["late_after"] = self.late_after.total_seconds()
        plain["duplicates_within"] = self.duplicates_within.total_seconds()
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "EventSource":
        """The inverse of `to_dict`."""
        kept = dict(plain)
        for name in ("fields", "times", "ids"):
            kept[name] = tuple(map(Field.from_dict, plain.get(name, ())))
        kept["lookups"] = tuple(map(Lookup.from_dict, plain.get("lookups", ())))
        read = {"decoder": Decoder.from_dict, "changes": lambda changes: Changes(**changes), "each": paths.parse}
        kept |= {name: read[name](plain[name]) for name in read.keys() & plain.keys()}
        kept["limits"] = Limits.from_dict(plain.get("limits", {}))
        kept["future"] = Future.from_dict(plain.get("future", {}))
        kept["late_after"] = timedelta(seconds=plain["late_after"])
        kept["duplicates_within"] = timedelta(seconds=plain["duplicates_within"])
        return cls(**kept)
