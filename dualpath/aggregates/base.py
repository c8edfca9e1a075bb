"""What an aggregate is: the reductions it needs over a window, and how their results become a value.

A *reduction* (`dualpath.cells`) is one of the few folds the kernel knows. All are exact and do not depend on the order
of records, so neither does an aggregate built from them. An aggregate is one file with a subclass of `Aggregate`. Those
in this package are found by themselves, and every law is tested against them.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from dualpath.aggregates.meaning import Found
from dualpath.cells import Cell, Reduction
from dualpath.errors import DeclarationError
from dualpath.expression import Type
from dualpath.words import decode

PACKAGE = __name__.rpartition(".")[0]


@dataclass(frozen=True)
class Scalars:
    """One encoded value a row: int64[m], with `valid` bool[m] (None: all valid)."""

    data: np.ndarray
    valid: np.ndarray | None = None


@dataclass(frozen=True)
class Groups:
    """Rows of (code, weight) pairs: row i owns `[offsets[i], offsets[i + 1])`.

    The kernel gives groups in ascending order of code, then of `times` (int64 microseconds UTC, only of `Timed`),
    and those of `Newest` with a weight of 1. The weights of a `Sketch` mean nothing.
    """

    offsets: np.ndarray
    codes: np.ndarray
    weights: np.ndarray
    times: np.ndarray | None = None


@dataclass(frozen=True)
class Output:
    """What a feature holds: values of `type`, and the value of an empty window.

    `many`: a list of them, ascending (texts by UTF-8 bytes), or with `order` `given` as finalised, or `weight`
    by descending weight and then ascending. `limit` keeps the first so many. `items`: a map from texts (`type`)
    to values of this type.
    """

    type: Type
    many: bool = False
    empty: Any = None
    order: str = "value"
    limit: int | None = None
    items: Type | None = None


@dataclass(frozen=True)
class Aggregate:
    """One way to turn the events of a window into a value.

    `of` is a column or SQL expression, `where` a SQL condition; a null condition counts as false.
    """

    of: str | None = None
    where: str | None = None

    kinds: ClassVar[tuple[str, ...]] = ()
    """Kinds of `of` it takes; empty: it takes no column."""
    needs: ClassVar[str] = ""
    """What it needs of its window: `times` a bounded one, `events` a bounded one at exact resolution."""
    called: ClassVar[str] = "an aggregate such as Count()"
    registry: ClassVar[dict[str, type["Aggregate"]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__ == __name__:
            return
        known = Aggregate.registry.setdefault(cls.__name__, cls)
        if known.__module__ != cls.__module__:
            raise DeclarationError(f"there is an aggregate '{cls.__name__}' in {known.__module__}; rename this one.")
        Aggregate.registry[cls.__name__] = cls

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        """What the kernel computes for it, given the type of `of`."""
        raise NotImplementedError

    def output(self, of: Type) -> Output:
        """Type and empty value, given the type of `of`."""
        raise NotImplementedError

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Any:
        """From the reductions' results (`Scalars`, `Groups`, in order) to `Scalars` or `Groups`, vectorised.

        `as_of` is int64[m], microseconds UTC. Must not read `self.of` or `self.where`: features that differ
        in nothing else are finalised in one call.
        """
        return parts[0]

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> Any:
        """What a model sees, written naively: the oracle judges all else by it, and nothing else calls it.

        found: the events of the window that count. It shares nothing with `reductions` and `finalize`.
        """
        raise NotImplementedError

    def check_options(self) -> None:
        """Raise `DeclarationError` if an option makes no sense."""

    def check(self, type_of: Callable[[str], Type]) -> Type:
        """The type of `of`, of kind null if it takes none; raises `DeclarationError` if it does not fit."""
        self.check_options()
        name = type(self).__name__
        if self.where is not None and type_of(self.where).kind != "boolean":
            raise DeclarationError(f'{name}: the condition "{self.where}" is not true or false; compare something.')
        if not self.kinds:
            if self.of is not None:
                raise DeclarationError(f"{name} takes no column; leave out '{self.of}' or put it into where.")
            return Type("null")
        if self.of is None:
            raise DeclarationError(f"{name} needs a column; name one of kind {' or '.join(self.kinds)}.")
        found = type_of(self.of)
        if found.kind not in self.kinds:
            raise DeclarationError(
                f"{name} does not work on {found.kind} '{self.of}'; it takes {', '.join(self.kinds)}."
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form with only what differs from the defaults, and the module of one outside this package."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        plain = {k: v.to_dict() if isinstance(v, Aggregate) else v for k, v in given.items()}
        own = type(self).__module__.startswith(f"{PACKAGE}.")
        return {"aggregate": type(self).__name__, **({} if own else {"module": type(self).__module__}), **plain}

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> "Aggregate":
        """The inverse of `to_dict`."""
        given: dict[str, Any] = {k: Aggregate.from_dict(v) if isinstance(v, dict) else v for k, v in plain.items()}
        name, module = given.pop("aggregate"), given.pop("module", "")
        if name not in Aggregate.registry and module:
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise DeclarationError(
                    f"the aggregate '{name}' is in the module {module}, which this process cannot import ({error}); "
                    "install it, or name its folder in PYTHONPATH."
                ) from None
        if name not in Aggregate.registry:
            raise DeclarationError(f"unknown aggregate '{name}'; this version has {', '.join(Aggregate.registry)}.")
        return Aggregate.registry[name](**given)

    def __str__(self) -> str:
        words = type(self).__name__.lower() + (f" of {self.of}" if self.of else "")
        return words + (f" where {self.where}" if self.where else "")


@dataclass(frozen=True)
class OneValue(Aggregate):
    """An aggregate whose value is that of one event, which its `cell` picks. Abstract."""

    cell: ClassVar[type[Cell]]

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (self.cell(self.of, self.where),)

    def output(self, of: Type) -> Output:
        return Output(Type("double") if of.kind == "decimal" else of)

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        return Scalars(decode(parts[0].data, of), parts[0].valid)
