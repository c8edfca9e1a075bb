"""A field: one typed value of an event, where payloads have it, and how they write it. Pure data, no engine."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import pyarrow as pa

from dualpath import paths
from dualpath.columns import EVERY, check_name, column
from dualpath.errors import DeclarationError
from dualpath.kinds import KINDS
from dualpath.leniency import STRICT, Leniency
from dualpath.paths import EACH, Steps
from dualpath.signature import declares
from dualpath.times import ISO, Time

Path = str | Iterable[str | int] | None
"""Where a payload has a field: a path of `dualpath.paths`, or its steps; None: the member of the field's name."""


@declares
@dataclass(frozen=True)
class Field:
    """One typed value of an event.

    `scale` is the number of digits after the point of a decimal; `choices` are the only texts allowed; `time` is how
    payloads write a timestamp, and `leniency` what they may write beside the plain form; a row whose `required` field
    is null goes to the dead-letter table. `path` has the steps to its place in the payload (`dualpath.paths`), none for
    the member of its name.
    """

    name: str
    kind: str
    scale: int = 0
    required: bool = False
    choices: tuple[str, ...] = ()
    time: Time = ISO
    leniency: Leniency = STRICT
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
        if not 0 <= self.scale <= 9:
            raise DeclarationError(f"{where}: scale {self.scale} is outside 0 to 9; choose a smaller one.")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `from_dict` restores an equal field. ISO-8601, strictness and no path are left out."""
        plain = {**asdict(self), "leniency": self.leniency.to_dict(), "path": paths.written(self.path)}
        for name, default in (("time", ISO), ("leniency", STRICT), ("path", ())):
            if getattr(self, name) == default:
                del plain[name]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Field":
        """The inverse of `to_dict`."""
        made = {"time": Time(**plain.get("time", {})), "leniency": Leniency(**plain.get("leniency", {}))}
        path = paths.parse(plain["path"]) if "path" in plain else ()
        return cls(**{**plain, "choices": tuple(plain["choices"]), "path": path, **made})


def steps(name: str, path: Path) -> Steps:
    """The steps of the path that is declared for a field; raises `DeclarationError` if it names no value."""
    if path is None:
        return ()
    try:
        return paths.parse(path)
    except DeclarationError as error:
        raise DeclarationError(f"field '{name}': {error.message}") from None


def check_each(fields: Iterable[Field], each: Steps, where: str) -> None:
    """Raise `DeclarationError` unless each path is plainly of the whole payload, or of each element of the list `each`.

    Some path must be of the elements if there is a list.
    """
    here, found = paths.written(each), False
    for field in fields:
        rest = paths.inside(field.place, each)
        found |= rest is not None
        if EACH in (field.place if rest is None else rest):
            said = f"write one [*], after '{here}'" if each else 'declare the list, as each="items"'
            raise DeclarationError(f"{where}, '{field}': the path has a [*] of no declared list; {said}.")
        if rest is None and each and field.place[: len(each)] == each != field.place:
            raise DeclarationError(
                f"{where}, '{field}': every element of '{here}' is an event, and this path is of the same place in all "
                f"of them; begin it with {here}[*]."
            )
    if each and not found:
        raise DeclarationError(
            f"{where}: each='{here}' and nothing is read of the elements; begin a path with {here}[*]."
        )
