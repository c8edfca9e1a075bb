"""Checks calls of declarations against their signatures. An error says where in the user's file the call is."""

import difflib
import functools
import inspect
import math
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar

from dualpath.errors import DeclarationError

T = TypeVar("T", bound=Callable[..., Any])
PACKAGE = f"{Path(__file__).parent}/"
WORDS = {
    NoneType: "None",
    str: "a text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    timedelta: "a timedelta",
}
"""What messages call values. A class of dualpath says it in its `called`."""


@dataclass(frozen=True)
class Taken:
    """What an annotation accepts: objects of some classes, and lists whose items `each` accepts."""

    classes: tuple[type, ...]
    each: "Taken | None"

    @classmethod
    def of(cls, hint: Any) -> "Taken":
        """What an annotation in a signature says."""
        choices = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
        many = [each for each in choices if typing.get_origin(each) in (list, tuple, Iterable)]
        plain = tuple(typing.get_origin(each) or each for each in choices if each not in many)
        return cls(plain, cls.of(typing.get_args(many[0])[0]) if many else None)

    def fitting(self, value: Any, name: str, where: str) -> Any:
        """The value as the function gets it; raises `DeclarationError` if the annotation does not accept it."""
        if (
            self.each
            and isinstance(value, Iterable)
            and not isinstance(value, (str, bytes, Mapping, Set, *self.classes))
        ):
            return tuple(self.each.fitting(one, f"{name}[{at}]", where) for at, one in enumerate(value))
        if isinstance(value, bool):
            fits = bool in self.classes
        elif isinstance(value, float):
            fits = float in self.classes and math.isfinite(value)
        else:
            fits = isinstance(value, self.classes) or (float in self.classes and isinstance(value, int))
        if fits:
            return value
        raise DeclarationError(f"{where}: {name}={_shown(value)} is {_kind(value)}; pass {self}.")

    def __str__(self) -> str:
        words = [WORDS.get(c) or getattr(c, "called", None) or f"an object of type {c.__name__}" for c in self.classes]
        return " or ".join([*words, *([f"a list, each {self.each}"] if self.each else [])])


def declares(what: T) -> T:
    """Decorator of a function or a class of declarations: checks the arguments of every call against its signature.

    A call raises `DeclarationError` for a wrong argument. Every `DeclarationError` of a call begins with the file and
    line of the user's call. What is annotated as an iterable, a list or a tuple arrives as a tuple; a mapping, a set or
    a text is refused there.
    """
    if isinstance(what, type):
        what.__init__ = _checked(what.__init__, what.__name__)  # type: ignore[misc]
        return what
    return _checked(what, what.__name__.removeprefix("feature_").replace("_", " "))


def _checked(function: T, name: str) -> T:
    signature = inspect.signature(function)
    place = list(signature.parameters).index("name") if "name" in signature.parameters else sys.maxsize

    @functools.cache
    def taken() -> dict[str, Taken]:
        hints = typing.get_type_hints(function)
        return {key: Taken.of(hints[key]) for key in signature.parameters if hints.get(key, Any) is not Any}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        named = kwargs.get("name", args[place] if place < len(args) else None)
        where = f"{name} '{named}'" if isinstance(named, str) else name
        try:
            try:
                given = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise DeclarationError(f"{where}: {_unbound(signature, kwargs, error)}.") from None
            for key, takes in taken().items():
                if key in given.arguments:
                    given.arguments[key] = takes.fitting(given.arguments[key], key, where)
            return function(*given.args, **given.kwargs)
        except DeclarationError as error:
            if error.place:
                raise
            raise DeclarationError(error.message, place=_caller()) from None

    return typing.cast(T, call)


def _unbound(signature: inspect.Signature, kwargs: Mapping[str, Any], error: TypeError) -> str:
    """Why arguments cannot be bound: one that is not known, or what Python says."""
    known = [name for name in signature.parameters if name != "self"]
    wrong = next((name for name in kwargs if name not in known), None)
    if close := difflib.get_close_matches(wrong or "", known, n=1):
        return f"there is no option '{wrong}'; write {close[0]}"
    return f"there is no option '{wrong}'; it takes {', '.join(known)}" if wrong else f"{error}; see its signature"


def _kind(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "not finite"
    return WORDS.get(type(value)) or f"of type {type(value).__name__}"


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:59]}…"


def _caller() -> str:
    """File and line of the call that entered the package."""
    frame = sys._getframe()
    while frame.f_back and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
