"""Declares slowly changing tables, and the fields of an event that are looked up in them. Pure data, no engine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar

import pyarrow as pa

from dualpath.columns import check_name
from dualpath.errors import DeclarationError
from dualpath.field import Field
from dualpath.kafka import is_around
from dualpath.kinds import KINDS
from dualpath.signature import declares

SAME: Mapping[str, str] = MappingProxyType({})


@declares
@dataclass(frozen=True)
class Dimension:
    """A table of versions: what `fields` were for `keys` from `valid_from` on. `dimension` declares one.

    A version ends where the next one of its keys begins, or at its `valid_to` if that is earlier. The table is at a
    `path`, or is what the messages of a `topic` say.
    """

    name: str
    path: str | None
    keys: tuple[Field, ...]
    fields: tuple[Field, ...]
    valid_from: Field
    valid_to: Field | None = None
    topic: str | None = None

    called: ClassVar[str] = "a dimension(...)"

    def __post_init__(self) -> None:
        own = f"dimension '{self.name}'"
        check_name(self.name, own)
        if (self.path is None) == (self.topic is None):
            raise DeclarationError(f"{own}: name either the path of its table or its topic.")
        if not self.keys or not self.fields:
            raise DeclarationError(f"{own}: it has no {'fields' if self.keys else 'keys'}; declare one at least.")
        for each in self.columns:
            where = f"{own}, field '{each.name}'"
            each.check(where)
            if any(map(is_around, each.places)):
                raise DeclarationError(f"{where}: around a row of a table is no message; name one of its columns.")
            if sum(each.name == other.name for other in self.columns) > 1:
                raise DeclarationError(f"{where}: declared twice; remove or rename one.")
        for key in self.keys:
            if not key.key:
                known = ", ".join(kind.name for kind in KINDS.values() if kind.key)
                raise DeclarationError(f"{own}: its key '{key.name}' is of kind {key.kind}; use one of {known}.")
        for time in self.columns[len(self.keys) + len(self.fields) :]:
            if time.kind != "timestamp":
                raise DeclarationError(f"{own}: its time '{time.name}' is of kind {time.kind}; declare a timestamp.")

    @property
    def where(self) -> str:
        """Where its rows are, for people."""
        return f"the topic {self.topic}" if self.topic is not None else str(self.path)

    @property
    def columns(self) -> tuple[Field, ...]:
        """All that is read of a row: the keys, the fields, and the times, as rows must have them."""
        needed = (*(replace(key, required=True) for key in self.keys), *self.fields)
        begin = replace(self.valid_from, required=True)
        return (*needed, begin, self.valid_to) if self.valid_to else (*needed, begin)

    @property
    def ends_too_early(self) -> str:
        """Why a row is refused that ends before it begins."""
        return f"{self.valid_to} is not after {self.valid_from}"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `from_dict` restores an equal dimension."""
        plain: dict[str, Any] = {"name": self.name, "valid_from": self.valid_from.to_dict()}
        plain |= {"path": self.path} if self.topic is None else {"topic": self.topic}
        if self.valid_to:
            plain["valid_to"] = self.valid_to.to_dict()
        return plain | {name: [each.to_dict() for each in getattr(self, name)] for name in ("keys", "fields")}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Dimension":
        """The inverse of `to_dict`."""
        keys, fields = (tuple(map(Field.from_dict, plain[name])) for name in ("keys", "fields"))
        end = Field.from_dict(plain["valid_to"]) if "valid_to" in plain else None
        begin = Field.from_dict(plain["valid_from"])
        return cls(plain["name"], plain.get("path"), keys, fields, begin, end, plain.get("topic"))


@declares
@dataclass(frozen=True)
class Lookup:
    """What an event source takes from a dimension; `lookup` declares one.

    `on` has the event's fields that are its keys, in the order of the dimension's; `names` the fields taken.
    """

    dimension: Dimension
    on: tuple[str, ...]
    names: tuple[str, ...]
    prefix: str = ""
    required: bool = False

    called: ClassVar[str] = "a lookup(dimension, ...)"
    fields: tuple[Field, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        known = {each.name: each for each in self.dimension.fields}
        for name in self.names:
            if name not in known:
                raise DeclarationError(
                    f"lookup in '{self.dimension.name}': it has no field '{name}'; name one of {', '.join(known)}."
                )
        taken = (known[name] for name in self.names)
        # Where and how the table has them is the table's own.
        made = (Field(f"{self.prefix}{f.name}", f.kind, f.scale, choices=f.choices) for f in taken)
        object.__setattr__(self, "fields", tuple(made))

    @property
    def stored(self) -> pa.Schema:
        """The Arrow types of the columns of the event log that it fills."""
        return pa.schema([(each.column, each.stored) for each in self.fields])

    def check(self, where: str, own: Mapping[str, Field]) -> None:
        """Raise `DeclarationError` unless events with the fields `own` have its keys."""
        for key, name in zip(self.dimension.keys, self.on, strict=True):
            what = f"{where}: the key '{key.name}' of '{self.dimension.name}'"
            if name not in own:
                raise DeclarationError(
                    f"{what} is looked up by '{name}', which payloads do not have; say by which of {', '.join(own)}, "
                    f'as on={{"{key.name}": ...}}.'
                )
            if own[name].key != key.key:
                raise DeclarationError(
                    f"{what} is of kind {key.kind} and the field '{name}' of kind {own[name].kind}; declare one kind."
                )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `from_dict` restores an equal lookup."""
        plain = {"dimension": self.dimension.to_dict(), "on": list(self.on), "names": list(self.names)}
        return plain | {"prefix": self.prefix, "required": self.required}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Lookup":
        """The inverse of `to_dict`."""
        return cls(**{**plain, "dimension": Dimension.from_dict(plain["dimension"])})


def check_lookups(lookups: Iterable[Lookup], where: str, fields: Iterable[Field]) -> None:
    """Raise `DeclarationError` unless events whose payloads have some fields can have the lookups."""
    own = {each.name: each for each in fields}
    declared: dict[str, Dimension] = {}
    for each in lookups:
        each.check(where, own)
        if declared.setdefault(each.dimension.name, each.dimension) != each.dimension:
            raise DeclarationError(f"{where}: two dimensions are called '{each.dimension.name}'; rename one.")


@declares
def dimension(
    name: str,
    *,
    path: str | None = None,
    topic: str | None = None,
    keys: Iterable[Field],
    fields: Iterable[Field],
    valid_from: str | Field = "valid_from",
    valid_to: str | Field | None = None,
) -> Dimension:
    """Declare a slowly changing table; raises `DeclarationError` naming file, dimension and remedy.

    Args:
        name: its name in messages and folders.
        path: a Delta table, a file, a folder or a pattern of files, of any kind that `dualpath ingest` reads, from the
            repo's folder.
        topic: instead of a path, a Kafka topic, compacted or not: a message is a version, whose key has the keys and
            whose value is a JSON object. A tombstone ends what holds at its time (`docs/dimensions.md`).
        keys: what a version is of: texts, integers or identifiers.
        fields: the typed values of a version; they are read by the rules of a payload's fields.
        valid_from: the column of the instant from which a version holds, that instant included, in ISO-8601, or
            `timestamp(name, ...)` that says how the table writes it. A message without it holds from its Kafka time.
        valid_to: the column of the instant from which it holds no more, likewise; null: until the next version. Of
            messages it is the member `valid_to`, unless another one is named.

    >>> from dualpath.schema import decimal, text
    >>> products = dimension(
    ...     "products", path="data/products.csv", keys=[text("sku")], fields=[text("brand"), decimal("price", scale=2)]
    ... )
    >>> [each.name for each in products.columns]
    ['sku', 'brand', 'price', 'valid_from']
    """
    if topic is not None and valid_to is None:
        valid_to = "valid_to"  # which tombstones fill
    begin, end = (Field(each, "timestamp") if isinstance(each, str) else each for each in (valid_from, valid_to))
    return Dimension(name, path, tuple(keys), tuple(fields), begin, end, topic)  # type: ignore[arg-type]  # it begins


@declares
def lookup(
    dimension: Dimension,
    *,
    on: Mapping[str, str] = SAME,
    fields: Iterable[str] = (),
    prefix: str = "",
    required: bool = False,
) -> Lookup:
    """Declare that events have a dimension's fields as they were at the event's time.

    Args:
        dimension: the table.
        on: the event's field for a key of the table; a key that is left out has the name of the event's field.
        fields: the names of the fields to take; none: all of them.
        prefix: what stands before their names in the event.
        required: an event without a version goes to the dead letters; otherwise its fields are null.

    >>> from dualpath.schema import text
    >>> products = dimension("products", path="data/products.csv", keys=[text("id")], fields=[text("brand")])
    >>> [each.name for each in lookup(products, on={"id": "sku"}, prefix="product_").fields]
    ['product_brand']
    """
    keys = [key.name for key in dimension.keys]
    for key in on:
        if key not in keys:
            raise DeclarationError(
                f"lookup in '{dimension.name}': it has no key '{key}'; write on={{key: field}} with a key of "
                f"{', '.join(keys)}."
            )
    names = tuple(fields) or tuple(each.name for each in dimension.fields)
    return Lookup(dimension, tuple(on.get(key, key) for key in keys), names, prefix, required)
