"""What an event looks like: typed fields and the source that delivers them.

Pure data, no engine. All instants are microseconds since 1970-01-01 UTC.
"""

import keyword
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import pyarrow as pa

from dualpath import paths
from dualpath.columns import EVERY, columns
from dualpath.errors import DeclarationError
from dualpath.kinds import INSTANT, KINDS
from dualpath.paths import Steps
from dualpath.signature import declares
from dualpath.times import ISO, Time

NULL = -(2**63)
"""The word that stands for SQL null in a record. No encoded value may take it."""

DECIMAL_BOUND = 10**15
"""Largest magnitude of a decimal's unscaled integer and of an integer field: 9,000 of them still sum in int64."""
DERIVED_BOUND = 10**17
"""The same for what is calculated from fields: every engine computes so many digits exactly."""
SATURATED = 2**63 - 1
"""The word of a sum that has left 64 bits: reading it is an error, and so is every sum with it."""


@declares
@dataclass(frozen=True)
class Field:
    """One typed value of an event.

    `scale` is the number of digits after the point of a decimal; `choices` are the only texts allowed; `time` is how
    payloads write a timestamp; a row whose `required` field is null goes to the dead-letter table. `path` has the steps
    to its place in the payload (`dualpath.paths`), none for the member of its name.
    """

    name: str
    kind: str
    scale: int = 0
    required: bool = False
    choices: tuple[str, ...] = ()
    time: Time = ISO
    path: tuple[str | int, ...] = ()

    called: ClassVar[str] = "a field such as text('name')"

    def __post_init__(self) -> None:
        if self.path == (self.name,):  # which is where it stands without one
            object.__setattr__(self, "path", ())

    def __str__(self) -> str:
        """Its name, and the path if it has one, as reasons for a refusal say it."""
        return f"{self.name} ({paths.written(self.path)})" if self.path else self.name

    @property
    def place(self) -> Steps:
        """The steps to its place in a payload."""
        return self.path or (self.name,)

    @property
    def stored(self) -> pa.DataType:
        """Its Arrow type in the event log."""
        return KINDS[self.kind].stored(self.scale)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `from_dict` restores an equal field. A time in ISO-8601 and no path are left out."""
        plain = asdict(self)
        if self.time == ISO:
            del plain["time"]
        del plain["path"]
        return {**plain, "path": paths.written(self.path)} if self.path else plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Field":
        """The inverse of `to_dict`."""
        time, path = Time(**plain.get("time", {})), plain.get("path")
        return cls(
            **{**plain, "choices": tuple(plain["choices"]), "time": time, "path": paths.parse(path) if path else ()}
        )


Path = str | Iterable[str | int] | None
"""Where a payload has a field: a path of `dualpath.paths`, or its steps; None: the member of the field's name."""


def _steps(name: str, path: Path) -> Steps:
    if path is None:
        return ()
    try:
        return paths.parse(path)
    except DeclarationError as error:
        raise DeclarationError(f"field '{name}': {error.message}") from None


@declares
def text(name: str, *, path: Path = None, required: bool = False, choices: Iterable[str] = ()) -> Field:
    """A string; with `choices`, one of a closed set. An object or a list at its `path` is taken as its JSON text.

    >>> print(text("user", path="context.user.id"))
    user (context.user.id)
    """
    return Field(name, "text", required=required, choices=tuple(choices), path=_steps(name, path))


@declares
def integer(name: str, *, path: Path = None, required: bool = False) -> Field:
    """A whole number of at most fifteen digits."""
    return Field(name, "integer", required=required, path=_steps(name, path))


@declares
def decimal(name: str, *, scale: int, path: Path = None, required: bool = False) -> Field:
    """An exact number with `scale` digits after the point, as money is.

    >>> decimal("price", scale=2, path="items[0].price")
    Field(name='price', kind='decimal', scale=2, required=False, choices=(), time=Time(), path=('items', 0, 'price'))
    """
    return Field(name, "decimal", scale=scale, required=required, path=_steps(name, path))


@declares
def double(name: str, *, path: Path = None, required: bool = False) -> Field:
    """A finite IEEE 754 double."""
    return Field(name, "double", required=required, path=_steps(name, path))


@declares
def boolean(name: str, *, path: Path = None, required: bool = False) -> Field:
    """True or false."""
    return Field(name, "boolean", required=required, path=_steps(name, path))


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
) -> Field:
    """An instant, microseconds UTC. Payloads write it in ISO-8601, UTC without an offset, or as the options say.

    Args:
        name: the field's.
        path: where a payload has it; None: the member of its name.
        required: a row in which it is missing is refused.
        unit: "s", "ms", "us" or "ns": it is a number of these since 1970 UTC, or a text of one.
        zone: the time zone of texts without an offset, an IANA name.
        format: the texts' pattern, such as "dd/MM/yyyy HH:mm:ss"; `dualpath.times.Time` says its letters.
        truncate: digits finer than a microsecond are cut; otherwise a row with some is refused.

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
    return Field(name, "timestamp", required=required, time=time, path=_steps(name, path))


@declares
@dataclass(frozen=True)
class EventSource:
    """A stream of immutable facts.

    `event_id`, `event_time` and `arrival_time` name the payload's members for them. Without `event_id`, the id is the
    one the transport gives (a Kafka message's header `event_id`), else the SHA-256 of the row's content: every declared
    field and the event time, not the arrival. So an exact repetition is a duplicate. If a member tells real identical
    rows apart, `occurrence` names it, and its value joins the hash. Without `arrival_time` an event arrives at the time
    the transport gives (that of the Kafka record), else when it happens, so none is ever late. An event is *late* if it
    arrives more than `late_after` after it happened. Lateness is counted and changes no value.

    `times` are the two of them that the payload does not write in ISO-8601, or has at a path, declared as fields are,
    and `ids` the id and the occurrence that it has at a path; `event_source` fills them. `columns` has the event log's
    column of each field, by the field's name.
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
    ids: tuple[Field, ...] = ()

    called: ClassVar[str] = "an event_source(...)"
    by_name: Mapping[str, Field] = field(init=False, repr=False, compare=False, hash=False, default_factory=dict)
    columns: Mapping[str, str] = field(init=False, repr=False, compare=False, hash=False, default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name, f"event source '{self.name}'")
        seen: dict[str, Field] = {}
        for each in self.fields:
            where = f"event source '{self.name}', field '{each.name}'"
            check_name(each.name, where)
            if each.name in EVERY:
                raise DeclarationError(f"{where}: every event has {', '.join(EVERY)} of its own; rename the field.")
            if each.name in seen:
                raise DeclarationError(f"{where}: declared twice; remove or rename one.")
            if each.kind not in KINDS:
                raise DeclarationError(f"{where}: unknown kind '{each.kind}'; use one of {', '.join(KINDS)}.")
            if not 0 <= each.scale <= 9:
                raise DeclarationError(f"{where}: scale {each.scale} is outside 0 to 9; choose a smaller one.")
            seen[each.name] = each
        for each in self.times:
            if each.kind != "timestamp":
                raise DeclarationError(
                    f"event source '{self.name}': its time '{each.name}' is of kind {each.kind}; declare a timestamp."
                )
        for each in (*self.times, *self.ids):
            if any(each.name == other.name and each != other for other in self.times + self.ids):
                raise DeclarationError(
                    f"event source '{self.name}': two of its id and times are called '{each.name}'; rename one."
                )
        for each in self.ids:
            if each.kind != "text":
                raise DeclarationError(
                    f"event source '{self.name}': '{each.name}' tells events apart and is of kind {each.kind}; "
                    "declare a text."
                )
        if self.late_after < timedelta(0) or self.duplicates_within <= timedelta(0):
            raise DeclarationError(
                f"event source '{self.name}': late_after must not be negative and duplicates_within must be positive."
            )
        object.__setattr__(self, "by_name", seen)
        object.__setattr__(self, "columns", columns(seen))

    @property
    def stored(self) -> pa.Schema:
        """The Arrow types of what the event log has of every event: its id, its times and its fields' columns."""
        times = [("event_time", INSTANT), ("arrival_time", INSTANT)]
        fields = ((self.columns[f.name], f.stored) for f in self.fields)
        return pa.schema([("event_id", pa.string()), *times, *fields])

    @property
    def members(self) -> dict[str, Field]:
        """Where payloads have ids and times, and how they write them, by what each is: `event_id`, `event_time`,
        `arrival_time` or `occurrence`. A time is as declared for it, or for the field at the member of its name."""
        at_members = tuple(each for each in self.fields if not each.path)
        found = {}
        for what, declared in (
            ("event_id", self.ids),
            ("event_time", self.times + at_members),
            ("arrival_time", self.times + at_members),
            ("occurrence", self.ids),
        ):
            if name := getattr(self, what):
                found[what] = next((each for each in declared if each.name == name), Field(name, "text"))
        return found

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `from_dict` restores an equal source. `times` and `ids` are left out if there are none."""
        plain = asdict(self)
        for name in ("by_name", "columns"):
            del plain[name]
        for name in ("fields", "times", "ids"):
            plain[name] = [each.to_dict() for each in getattr(self, name)]
        for name in ("times", "ids"):
            if not plain[name]:
                del plain[name]
        plain["late_after"] = self.late_after.total_seconds()
        plain["duplicates_within"] = self.duplicates_within.total_seconds()
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "EventSource":
        """The inverse of `to_dict`."""
        kept = dict(plain)
        for name in ("fields", "times", "ids"):
            kept[name] = tuple(map(Field.from_dict, plain.get(name, ())))
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
