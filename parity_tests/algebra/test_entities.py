"""The one cast of join keys: by value, and the same by column."""

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualpath.entities import cast, column, name, names
from dualpath.errors import InputError

UNIQUE = UUID(int=5)


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("written", "as_text", "as_integer"),
    [
        ("ann", "ann", None),
        ("", "", None),
        ("Ünï 😀", "Ünï 😀", None),
        ("7", "7", 7),
        ("-7", "-7", -7),
        ("07", "07", None),
        ("+7", "+7", None),
        ("-0", "-0", None),
        ("٣", "٣", None),
        ("9" * 30, "9" * 30, None),
        (7, "7", 7),
        (7.0, "7", 7),
        (-0.0, "0", 0),
        (10_000_000_000.0, "10000000000", 10_000_000_000),
        (2.0**53, None, None),
        (7.5, None, None),
        (float("inf"), None, None),
        (Decimal("7.00"), "7", 7),
        (Decimal("7.5"), None, None),
        (Decimal("Infinity"), None, None),
        (Decimal("1E+30000000"), None, None),  # minutes, as an integer
        (2**63 - 1, str(2**63 - 1), 2**63 - 1),
        (-(2**63), str(-(2**63)), -(2**63)),
        (2**63, None, None),
        (10**5000, None, None),
        (np.int8(3), "3", 3),
        (np.uint64(2**63), None, None),
        (np.float32(3), "3", 3),
        (np.str_("ann"), "ann", None),
        (Colour.RED, "red", None),
        (UNIQUE, str(UNIQUE), None),
        (True, None, None),
        (np.bool_(True), None, None),
        (b"ann", None, None),
        ("\ud800", None, None),
        (["ann"], None, None),
        (1j, None, None),
    ],
    ids=lambda value: repr(value) if not isinstance(value, int) or abs(value) < 2**64 else "a very long integer",
)
def test_a_key_is_cast_to_its_declared_kind_or_refused_by_its_row(
    written: Any, as_text: str | None, as_integer: int | None
) -> None:
    for kind, right in (("text", as_text), ("integer", as_integer)):
        for by in (cast, lambda *asked: column(*asked).to_pylist()):
            if right is not None:
                [key] = by([written], kind, "key")
                assert (type(key), key) == (type(right), right)
            else:
                with pytest.raises(InputError, match=rf"^key, row 1: .* is not an? {kind} key; pass "):
                    by([None, written], kind, "key")


@pytest.mark.parametrize("written", [2**31, -(2**31) - 1, float(2**31), str(2**31)], ids=repr)
def test_a_key_of_32_bits_is_no_wider(written: Any) -> None:
    for by in (
        cast,
        lambda *asked: column(*asked).to_pylist(),
        lambda values, *asked: column(pd.Series(values), *asked).to_pylist(),
    ):
        assert by([2**31 - 1, -(2**31), None], "integer32", "key") == [2**31 - 1, -(2**31), None]
        with pytest.raises(InputError, match=r"^key, row 1: .* is not a key of 32 bits; pass "):
            by([7, written], "integer32", "key")


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, Decimal("NaN")], ids=repr)
def test_what_is_missing_is_no_entity(missing: Any) -> None:
    assert cast([missing], "text", "key") == cast([missing], "integer", "key") == [None]
    assert column([missing], "text", "key").null_count == column([missing], "integer", "key").null_count == 1


WRITTEN = (
    st.text()
    | st.integers()
    | st.floats()
    | st.none()
    | st.booleans()
    | st.decimals(places=1)
    | st.sampled_from(["7", "07", 7, 7.0, 2.0**53, 2**63, UNIQUE, b"x", pd.NA, pd.NaT])
)
CONTAINERS: dict[str, Callable[[list[Any]], Any]] = {
    "object": lambda values: pd.Series(values, dtype=object),
    "inferred": pd.Series,
    "category": lambda values: pd.Series(values).astype("category"),
    "nullable": lambda values: pd.Series(values).convert_dtypes(),
    "array": lambda values: np.array(values, dtype=object),
    "arrow": pa.array,
    "chunked": lambda values: pa.chunked_array([values[:1], values[1:]]),
    "dictionary": lambda values: pa.array(values).dictionary_encode(),
}


@given(
    st.lists(WRITTEN, min_size=1, max_size=4),
    st.sampled_from(["text", "integer", "integer32"]),
    st.sampled_from([*CONTAINERS]),
)
def test_a_column_is_cast_as_the_values_it_holds(written: list[Any], kind: str, container: str) -> None:
    try:
        held = CONTAINERS[container](written)
    except (pa.ArrowException, TypeError, OverflowError, UnicodeError, ValueError):
        return  # no such column can be made
    values = held.to_pylist() if isinstance(held, pa.Array | pa.ChunkedArray) else list(held)
    assert answered(lambda: column(held, kind, "key").to_pylist()) == answered(lambda: cast(values, kind, "key"))


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float32", "float64", "Int64", "Float64", "int64[pyarrow]"])
def test_numbers_of_every_width_are_one_key(dtype: str) -> None:
    assert column(pd.Series([7, 0], dtype=dtype), "integer", "key").to_pylist() == [7, 0]
    assert column(pd.Series([7, 0], dtype=dtype), "text", "key").to_pylist() == ["7", "0"]


@given(st.lists(st.tuples(st.text() | st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1))
def test_entities_by_column_are_the_names_in_redis(rows: list[tuple[str | None, int]]) -> None:
    try:
        texts = column([text for text, _ in rows], "text", "key")
    except InputError:
        return  # half a character
    numbers = column([number for _, number in rows], "integer", "key")
    expected = [None if text is None else name((text, number)) for text, number in rows]
    assert names([texts, numbers]).to_pylist() == expected
    assert names([numbers]).to_pylist() == [name((number,)) for _, number in rows]


def answered(ask: Callable[[], list[Any]]) -> Any:
    """The keys, or the sentence that refuses them."""
    try:
        return ask()
    except InputError as refused:
        return refused.message
