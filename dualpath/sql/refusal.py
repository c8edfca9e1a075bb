"""Refusing a part of a query by name."""

from typing import NoReturn

from sqlglot import exp

from dualpath.errors import InputError


def refuse(node: exp.Expr, what: str, remedy: str) -> NoReturn:
    """Raise `InputError`: the line, what cannot be declared, and what to write instead."""
    lines = [line for each in node.walk() if (line := each.meta.get("line"))]
    raise InputError(f"{f'line {min(lines)}: ' if lines else ''}{what}; {remedy}.")
