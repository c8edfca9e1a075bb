"""Declarations say what they take in their signature; this holds a call against it, and says where the call stands."""

import difflib
import functools
import inspect
import math
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Set
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
"""What values are called; a class of ours says it in its `called`."""


def declares(what: T) -> T:
    """Decorate a function or a class of declarations: arguments are what its signature says, or a `DeclarationError`
    says what is wrong. Whichever of these the call raises begins with the file and line of the user's call.

    What is annotated as an iterable, a list or a tuple is handed on as a tuple; a mapping, a set or a text is none.
    """
    if isinstance(what, type):
        what.__init__ = _checked(what.__init__, what.__name__)  # type: ignore[misc]
        return what
    return _checked(what, what.__name__.removeprefix("feature_").replace("_", " "))


def _checked(function: T, name: str) -> T:
    signature = inspect.signature(function)

    @functools.cache
    def hints() -> dict[str, Any]:
        return typing.get_type_hints(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            try:
                given = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise DeclarationError(f"{name}: {_unbound(signature, kwargs, error)}.") from None
            named = given.arguments.get("name")
            where = f"{name} '{named}'" if isinstance(named, str) else name
            for key, value in given.arguments.items():
                if key in hints():
                    given.arguments[key] = _fitting(value, hints()[key], key, where)
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


def _fitting(value: Any, hint: Any, name: str, where: str) -> Any:
    """A value as it is handed on; raises `DeclarationError` if it is not what the annotation says."""
    if hint is Any:
        return value
    choices = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
    several = [choice for choice in choices if _of_many(choice)]
    if several and isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping | Set):
        each = typing.get_args(several[0])[0]
        return tuple(_fitting(one, each, f"{name}[{at}]", where) for at, one in enumerate(value))
    if not any(_is(value, choice) for choice in choices):
        takes = " or ".join(_called(choice) for choice in choices)
        raise DeclarationError(f"{where}: {name}={_shown(value)} is {_kind(value)}; pass {takes}.")
    return value


def _of_many(hint: Any) -> bool:
    return typing.get_origin(hint) in (list, tuple, Iterable)


def _is(value: Any, hint: Any) -> bool:
    if _of_many(hint):
        return False
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, typing.get_origin(hint) or hint) and not (isinstance(value, bool) and hint is int)


def _called(hint: Any) -> str:
    """An annotation in words."""
    if _of_many(hint):
        return f"a list, each {_called(typing.get_args(hint)[0])}"
    return WORDS.get(hint) or getattr(hint, "called", None) or f"an object of type {hint.__name__}"


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
