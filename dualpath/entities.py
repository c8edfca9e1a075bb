"""Casts join keys, as users write them, to their declared kind: one cast for serving and training.

| written | for a text key | for an integer key |
|---|---|---|
| text | itself | a whole number in its plain form: `"7"`, not `"07"` |
| an integer | its digits | itself |
| a float or a decimal, whole | its digits | the integer: pandas makes floats of integers where one is missing |
| a UUID | its text | refused |
| None, NaN, NaT, NA | no entity: the empty values | no entity: the empty values |
| anything else: 7.5, true, bytes, a list | refused | refused |
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dualpath.errors import InputError
from dualpath.instants import absent

WHOLE = 2**53 - 1
"""Up to here a float stands for exactly one integer."""
REMEDIES = {
    "text": "a text key; pass text, or a whole number or a UUID, which become text",
    "integer": "an integer key; pass a whole number, as text only in its plain form",
    "integer32": "a key of 32 bits; pass a whole number that fits, as text only in its plain form",
}
HALF = 2**31
LEAST, MOST = -(2**63), 2**63 - 1


def cast(values: Iterable[Any], kind: str, name: str, first: int = 0) -> list[Any]:
    """Values of the join key `name` as those of its declared `kind`; None where there is none.

    A kind is `text`, `integer` or, of ordinary views alone, `integer32`.

    Raises `InputError` that names the row for a value that is no such key; `first` is the number of the first row.

    >>> cast(["ann", 7, 7.0, None, float("nan")], "text", "user_id")
    ['ann', '7', '7', None, None]
    >>> cast([10_000_000_000.0, "7"], "integer", "shop_id")
    [10000000000, 7]
    >>> cast(["ann", True], "text", "user_id")
    Traceback (most recent call last):
    dualpath.errors.InputError: user_id, row 1: True (bool) is not a text key; pass text, or a whole number or a UUID, \
which become text.
    """
    rule = _text if kind == "text" else _integer
    found = []
    for row, value in enumerate(values, first):
        key = rule(value)
        if key is NotImplemented or (kind == "integer32" and key is not None and not -HALF <= key < HALF):
            raise _refusal(name, row, value, kind)
        found.append(key)
    return found


def column(values: Any, kind: str, name: str, first: int = 0) -> pa.Array:
    """A whole column of join keys, by the rule of `cast`: string[m] or int64[m] with nulls.

    values: a pandas column, an Arrow array or a list. Columns of one type are converted at once.
    """
    given = _arrow(values)
    if given is None or (kind != "text" and not pa.types.is_primitive(given.type)):
        return pa.array(cast(_listed(values), kind, name, first), pa.string() if kind == "text" else pa.int64())
    if pa.types.is_floating(given.type):
        numbers = given.to_numpy(zero_copy_only=False)
        given = pa.array(numbers.astype(np.float64), from_pandas=True)
        broken = pc.or_(pc.not_equal(given, pc.trunc(given)), pc.greater(pc.abs(given), float(WHOLE)))
        if (at := pc.index(broken, True).as_py()) >= 0:
            raise _refusal(name, first + at, given[at].as_py(), kind)
        given = given.cast(pa.int64())
    if kind == "integer32":
        wide = pc.or_(pc.less(given, -HALF), pc.greater_equal(given, HALF))
        if pc.any(wide).as_py():
            cast(_listed(values), kind, name, first)  # which names the row
    if pa.types.is_integer(given.type):
        return given.cast(pa.string()) if kind == "text" else given.cast(pa.int64())
    return given.cast(pa.string())


def name(values: Sequence[str | int]) -> str:
    """An entity's name: its join key values as one string, in the order of the view's keys.

    Composite keys are length-prefixed, so that no two of them can meet.

    >>> name(["ann"]), name([7]), name(["a", "b:c"])
    ('ann', '7', '1:a3:b:c')
    """
    if len(values) == 1:
        return str(values[0])
    return "".join(f"{len(v)}:{v}" for v in map(str, values))


def split(entity: str, width: int) -> list[str]:
    """The join key values, as texts, in the name of an entity of so many keys: the inverse of `name`.

    >>> split("a:b", 1), split("1:a3:b:c", 2)
    (['a:b'], ['a', 'b:c'])
    """
    if width == 1:
        return [entity]
    found, rest = [], entity
    for _ in range(width):
        length, _, rest = rest.partition(":")
        found.append(rest[: int(length)])
        rest = rest[int(length) :]
    return found


def names(columns: Sequence[pa.Array]) -> pa.Array:
    """`name` of whole columns of cast join keys; null where a key is null.

    >>> names([pa.array(["a"]), pa.array(["b:c"])]).to_pylist()
    ['1:a3:b:c']
    """
    texts = [c.cast(pa.string()) for c in columns]
    if len(texts) == 1:
        return texts[0]
    parts = [pc.binary_join_element_wise(pc.utf8_length(t).cast(pa.string()), t, ":") for t in texts]
    return pc.binary_join_element_wise(*parts, "")


def _text(value: Any) -> Any:
    if isinstance(value, str):
        value = str.__str__(value)
        return value if value.isascii() or _encodes(value) else NotImplemented
    if isinstance(value, UUID):
        return str(value)
    number = _integer(value)
    return str(number) if type(number) is int else number


def _integer(value: Any) -> Any:
    """The integer that a value stands for, None for a missing one, NotImplemented for anything else."""
    if type(value) is int:
        return value if LEAST <= value <= MOST else NotImplemented
    if absent(value):
        return None
    if isinstance(value, bool | np.bool_):
        return NotImplemented
    if isinstance(value, np.integer | int):
        return _integer(int(value))
    if isinstance(value, float | np.floating):
        number = float(value)
        return int(number) if number.is_integer() and abs(number) <= WHOLE else NotImplemented
    if isinstance(value, Decimal):
        if value.is_nan():
            return None
        # Compared first: a short decimal like 1E+30000000 takes minutes to become an integer.
        whole = LEAST <= value <= MOST and value == value.to_integral_value()
        return int(value) if whole else NotImplemented
    if isinstance(value, str) and value.isascii() and value.removeprefix("-").isdigit() and len(value) <= 20:
        number = int(value)
        return _integer(number) if str(number) == value else NotImplemented
    return NotImplemented


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _arrow(values: Any) -> pa.Array | None:
    """The column as an Arrow array of texts, integers that fit int64, or floats; None if single values must be
    looked at."""
    if isinstance(values, np.ndarray):
        values = pd.Series(values)
    if isinstance(values, pd.Series | pd.Index):
        held = values.dtype.categories if isinstance(values.dtype, pd.CategoricalDtype) else values
        # Arrow would make one type of Python objects of several.
        if held.dtype == object and pd.api.types.infer_dtype(held, skipna=True) not in ("string", "empty"):
            return None
    elif not isinstance(values, pa.Array | pa.ChunkedArray):
        return None
    try:
        found = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, from_pandas=True)
        if isinstance(found, pa.ChunkedArray):
            found = found.combine_chunks()
        if pa.types.is_dictionary(found.type):
            found = found.dictionary_decode()
        if pa.types.is_integer(found.type):
            found = found.cast(pa.int64())
    except (pa.ArrowException, UnicodeEncodeError):
        return None
    kind = found.type
    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return found if texts or pa.types.is_integer(kind) or pa.types.is_floating(kind) else None


def _listed(values: Any) -> Iterable[Any]:
    return values.to_pylist() if isinstance(values, pa.Array | pa.ChunkedArray) else list(values)


def _refusal(name: str, row: int, value: Any, kind: str) -> InputError:
    value = value.item() if isinstance(value, np.generic) else value
    # Python refuses to spell very long integers, and a long text helps nobody.
    shown = "an integer of more than 64 bits" if isinstance(value, int) and abs(value) > MOST else repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
    return InputError(f"{name}, row {row}: {shown} ({type(value).__name__}) is not {REMEDIES[kind]}.")
