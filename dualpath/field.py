"""A field: one typed value of an event, where payloads have it, and how they write it. Pure data, no engine."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import pyarrow as pa

from dualpath import kafka, paths
from dualpath.columns import EVERY, check_name, column, folded
from dualpath.errors import DeclarationError
from dualpath.kinds import KINDS
from dualpath.leniency import STRICT, Leniency
from dualpath.paths import EACH, FirstOf, Steps
from dualpath.signature import declares
from dualpath.times import ISO, Time

Path = str | Iterable[str | int] | FirstOf | None
"""Where a payload has a field: a path of `dualpath.paths`, its steps, or the `first_of` several; None: the member of
the field's name."""


@declares
@dataclass(frozen=True)
class Field:
    """One typed value of an event.

    `scale` is the number of digits after the point of a decimal; `choices` are the only texts allowed; `time` is how
    payloads write a timestamp, and `leniency` what they may write beside the plain form; a row whose `required` field
    is null goes to the dead-letter table. `path` has the steps to its place in the payload (`dualpath.paths`), none for
    the member of its name; payloads without a value there may have it at one of `fallbacks`, in this order. `former`
    are names that it had in declarations before, and `was` gives them.
    """

    name: str
    kind: str
    scale: int = 0
    required: bool = False
    choices: tuple[str, ...] = ()
    time: Time = ISO
    leniency: Leniency = STRICT
    path: tuple[str | int, ...] | FirstOf = ()
    fallbacks: tuple[tuple[str | int, ...], ...] = ()
    former: tuple[str, ...] = ()

    called: ClassVar[str] = "a field such as text('name')"

    def __post_init__(self) -> None:
        if isinstance(self.path, FirstOf):
            path, *others = self.path.places
            object.__setattr__(self, "path", path)
            object.__setattr__(self, "fallbacks", tuple(others))
        if self.path == (self.name,):  # which is where it stands without one
            object.__setattr__(self, "path", ())

    def __str__(self) -> str:
        """Its name, and its paths if it has some, as reasons for a refusal say it."""
        at = " or ".join(map(paths.written, self.places))
        return self.name if self.places == ((self.name,),) else f"{self.name} ({at})"

    def was(self, *names: str) -> "Field":
        """The same field, that was called so in declarations before: events of then are read by that name.

        >>> Field("sku", "text").was("product_id").former
        ('product_id',)
        """
        return replace(self, former=(*self.former, *names))

    @property
    def places(self) -> tuple[Steps, ...]:
        """The steps to its places in a payload; the first that has a value counts."""
        return (self.path or (self.name,), *self.fallbacks)  # type: ignore[arg-type]  # it is no FirstOf any more

    @property
    def place(self) -> Steps:
        """The steps to the first of its places."""
        return self.places[0]

    @property
    def column(self) -> str:
        """Its column in the event log."""
        return column(self.name)

    @property
    def stored(self) -> pa.DataType:
        """Its Arrow type in the event log."""
        return KINDS[self.kind].stored(self.scale)

    @property
    def key(self) -> str:
        """The rule of `entities.cast` for it as a join key; empty if it cannot be one."""
        return KINDS[self.kind].key

    def check(self, where: str) -> None:
        """Raise `DeclarationError` unless a source can have it."""
        check_name(self.name, where)
        if self.name in EVERY:
            raise DeclarationError(f"{where}: every event has {', '.join(EVERY)} of its own; rename the field.")
        if self.kind not in KINDS:
            raise DeclarationError(f"{where}: unknown kind '{self.kind}'; use one of {', '.join(KINDS)}.")
        for former in self.former:
            check_name(former, f"{where}, a former name")
        if not 0 <= self.scale <= 9:
            raise DeclarationError(f"{where}: scale {self.scale} is outside 0 to 9; choose a smaller one.")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `from_dict` restores an equal field. ISO-8601, strictness, no path and no former name are
        left out."""
        plain = {**asdict(self), "leniency": self.leniency.to_dict(), "path": paths.written(self.place)}
        plain["fallbacks"] = [*map(paths.written, self.fallbacks)]
        for name, default in (("time", ISO), ("leniency", STRICT), ("path", ()), ("fallbacks", ()), ("former", ())):
            if getattr(self, name) == default:
                del plain[name]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Field":
        """The inverse of `to_dict`."""
        made = {"time": Time(**plain.get("time", {})), "leniency": Leniency(**plain.get("leniency", {}))}
        path = paths.parse(plain["path"]) if "path" in plain else ()
        listed = {name: tuple(plain.get(name, ())) for name in ("choices", "former")}
        fallbacks = tuple(map(paths.parse, plain.get("fallbacks", ())))
        return cls(**{**plain, **listed, "path": path, "fallbacks": fallbacks, **made})


def steps(name: str, path: Path) -> Steps | FirstOf:
    """The steps of the path that is declared for a field; raises `DeclarationError` if it names no value."""
    if path is None:
        return ()
    if isinstance(path, FirstOf):
        return path
    try:
        return paths.parse(path)
    except DeclarationError as error:
        raise DeclarationError(f"field '{name}': {error.message}") from None


def by_name(fields: Iterable[Field], own: str) -> dict[str, Field]:
    """The fields of a source by their names; raises `DeclarationError` unless a source can have them all."""
    seen: dict[str, Field] = {}
    spelled: dict[str, str] = {}
    for each in fields:
        where = f"{own}, field '{each.name}'"
        each.check(where)
        if each.name in seen:
            raise DeclarationError(f"{where}: declared twice; remove or rename one.")
        if (twin := spelled.setdefault(folded(each.name), each.name)) != each.name:
            raise DeclarationError(
                f"{where}: columns do not tell it from '{twin}'; give it another name, and "
                f"path={paths.written(each.place)!r} says where it is."
            )
        seen[each.name] = each
    return seen


def check_former(fields: Iterable[Field], where: str) -> None:
    """Raise `DeclarationError` if a former name of one field is also another's, now or formerly."""
    owners = {each.name: each.name for each in fields}
    for each in fields:
        for name in each.former:
            if (owner := owners.setdefault(name, each.name)) != each.name or name == each.name:
                raise DeclarationError(
                    f"{where}, field '{each.name}': it was '{name}', and so is or was '{owner}'; events of before "
                    "would have one value for both: give the new field a name that no field has had."
                )


def check_places(fields: Iterable[Field], members: Mapping[str, Field], each: Steps, where: str) -> None:
    """Raise `DeclarationError` unless all places are such as messages have; `members` are those of id and times."""
    read = [*fields, *members.values()]
    _check_message(read, members, each, where)
    _check_each(read, each, where)


def _check_each(fields: Iterable[Field], each: Steps, where: str) -> None:
    """Raise `DeclarationError` unless each path is plainly of the whole payload, or of each element of the list `each`.

    Some path must be of the elements if there is a list.
    """
    here, found = paths.written(each), False
    for field, place in [(one, place) for one in fields for place in one.places]:
        rest = paths.inside(place, each)
        found |= rest is not None
        if EACH in (place if rest is None else rest):
            said = f"write one [*], after '{here}'" if each else 'declare the list, as each="items"'
            raise DeclarationError(f"{where}, '{field}': the path has a [*] of no declared list; {said}.")
        if (rest is None) != (paths.inside(field.place, each) is None):
            raise DeclarationError(
                f"{where}, '{field}': one path is of the payload and one of its elements; write both of the same."
            )
        if rest is None and each and place[: len(each)] == each != place:
            raise DeclarationError(
                f"{where}, '{field}': every element of '{here}' is an event, and this path is of the same place in all "
                f"of them; begin it with {here}[*]."
            )
    if each and not found:
        raise DeclarationError(
            f"{where}: each='{here}' and nothing is read of the elements; begin a path with {here}[*]."
        )


def _check_message(fields: Iterable[Field], members: Mapping[str, Field], each: Steps, where: str) -> None:
    """Raise `DeclarationError` unless the places around payloads are such as a message has, and say what is asked."""
    if each and kafka.is_around(each):
        raise DeclarationError(f"{where}: each='{paths.written(each)}' is no list of the payload; name one in it.")
    for field in fields:
        for place in filter(kafka.is_around, field.places):
            own = f"{where}, '{field}'"
            if not kafka.is_place(place):
                raise DeclarationError(
                    f"{own}: a message has no {paths.written(place)}; use kafka.key, kafka.header(name), kafka.topic, "
                    "kafka.partition, kafka.offset or kafka.time."
                )
            if place == kafka.time and (field.kind != "timestamp" or field.time != ISO):
                raise DeclarationError(
                    f"{own}: the time of a message is an instant; declare timestamp('{field.name}', path=kafka.time), "
                    "with nothing about how it is written."
                )
            if field == members.get("occurrence") and place in kafka.OF_DELIVERY:
                raise DeclarationError(
                    f"{own}: a message that is sent again has another {place[1]}, and would count twice; let the "
                    "occurrence be what its producer wrote."
                )
            if field == members.get("event_id") and place in (kafka.topic, *kafka.OF_DELIVERY):
                raise DeclarationError(
                    f"{own}: other messages have the same {place[1]}, so it cannot be an id; name a header or the key, "
                    "or event_id=None for the hash of the content."
                )
