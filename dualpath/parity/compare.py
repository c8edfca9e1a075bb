"""Compares values by their bits. Every parity check uses this comparison."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dualpath.errors import InputError


@dataclass(frozen=True)
class Difference:
    """One cell in which two answers differ."""

    row: int
    feature: str
    left: Any
    right: Any

    def __str__(self) -> str:
        return f"row {self.row}, {self.feature}: {self.left!r} is not {self.right!r}"


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same bits.

    Floats compare as 64 bits, so the two zeros differ and a NaN equals itself. A number equals only a number of its own
    type, and null only null. Lists and maps must have the same order. NumPy's values compare as Python's.

    >>> same(0.1 + 0.2, 0.3), same(-0.0, 0.0), same(float("nan"), float("nan"))
    (False, False, True)
    >>> same(1, 1.0), same(1, True), same(None, 0), same(None, None)
    (False, False, False, True)
    >>> same(["a", "b"], ["b", "a"]), same([1.5, None], (1.5, None)), same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    (False, True, False)
    """
    a, b = _plain(a), _plain(b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return [*a] == [*b] and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    return type(a) is type(b) and a == b


def differences(left: Mapping[str, Sequence[Any]], right: Mapping[str, Sequence[Any]]) -> list[Difference]:
    """Every cell in which two sets of columns differ, by feature, then row.

    Raises `InputError` if they do not hold the same features of equally many rows.

    >>> [str(d) for d in differences({"n": [1, 2], "mean": [0.0, None]}, {"n": [1, 3], "mean": [-0.0, None]})]
    ['row 1, n: 2 is not 3', 'row 0, mean: 0.0 is not -0.0']
    >>> differences({"n": [1]}, {"m": [1]})
    Traceback (most recent call last):
    dualpath.errors.InputError: one side has the features n, the other m; compare the same ones.
    """
    if left.keys() != right.keys():
        raise InputError(
            f"one side has the features {', '.join(left)}, the other {', '.join(right)}; compare the same ones."
        )
    found = []
    for feature, ours in left.items():
        theirs = right[feature]
        if len(ours) != len(theirs):
            raise InputError(f"'{feature}' has {len(ours)} rows on one side and {len(theirs)} on the other.")
        for row, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if not same(a, b):
                found.append(Difference(row, feature, _plain(a), _plain(b)))
    return found


def _plain(value: Any) -> Any:
    """NumPy's values as Python's, tuples as lists."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, tuple) else value
