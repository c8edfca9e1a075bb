"""Refusing a part of a query by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from sqlglot import exp
from sqlglot.dialects import RisingWave

from dualpath.errors import DeclarationError, InputError

DIALECT = RisingWave
"""The class, not its name: a library may register another dialect under the same name, and ibis does."""


def refuse(node: exp.Expr, what: str, remedy: str) -> NoReturn:
    """Raise `InputError`: the line, what cannot be declared, and what to write instead."""
    raise InputError(f"{_line(node)}{what}; {remedy}.")


@contextmanager
def declaring(node: exp.Expr | None = None) -> Iterator[None]:
    """What a declaration says about a part of the query is an `InputError` with the line and the part."""
    try:
        yield
    except DeclarationError as error:
        sentence = error.message.removeprefix(f"{error.place}: ")  # the place is in this package, and nobody's
        raise InputError(f"{_line(node)}{shown(node)}: {sentence}" if node else sentence) from None


def shown(node: exp.Expr) -> str:
    """A part of the query as its author would write it, in one line, cut if it is long."""
    text = node.sql(dialect=DIALECT)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _line(node: exp.Expr) -> str:
    lines = [line for each in node.walk() if (line := each.meta.get("line"))]
    return f"line {min(lines)}: " if lines else ""
