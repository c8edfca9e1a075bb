"""Makes Arrow arrays of values, vectorised; looks texts up in a dictionary of codes; types single values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute

from dualpath.aggregates.base import Groups, Output, Scalars
from dualpath.errors import CollisionError, StateError
from dualpath.kinds import KINDS
from dualpath.numbers import EXACT

NO_CODES = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Dictionary:
    """Texts by code: `codes` int64[n] ascending, `texts` in that order, `rank` int64[n] of the text by UTF-8 bytes."""

    codes: np.ndarray
    texts: pa.Array
    rank: np.ndarray

    @classmethod
    def of(cls, codes: pa.Array, texts: pa.Array) -> "Dictionary":
        """From pairs in any order, repetitions allowed. Raises `CollisionError` if a code has two texts."""
        pairs = pa.table({"code": codes, "text": texts}).group_by(["code", "text"]).aggregate([])
        pairs = pairs.sort_by("code").combine_chunks()
        ordered = pairs["code"].to_numpy()
        twice = np.flatnonzero(ordered[1:] == ordered[:-1])
        if len(twice):
            one, other = pairs["text"][int(twice[0])], pairs["text"][int(twice[0]) + 1]
            raise CollisionError(
                f"the texts '{one}' and '{other}' have the same 64-bit code {ordered[twice[0]]}; "
                "change one of them at the source."
            )
        texts = pairs["text"].combine_chunks() if isinstance(pairs["text"], pa.ChunkedArray) else pairs["text"]
        rank = np.empty(len(ordered), dtype=np.int64)
        rank[pa.compute.sort_indices(texts).to_numpy()] = np.arange(len(ordered))
        return cls(ordered, texts, rank)

    def find(self, codes: np.ndarray) -> np.ndarray:
        """Positions of codes; raises `StateError` for one that is not there."""
        at = np.searchsorted(self.codes, codes)
        lost = (
            np.ones(len(codes), bool)
            if not len(self.codes)
            else self.codes[np.minimum(at, len(self.codes) - 1)] != codes
        )
        if lost.any():
            raise StateError(
                f"no text for the code {codes[lost][0]}; the dictionary is incomplete: run `dualpath batch`."
            )
        return at


def text_codes(values: Scalars | Groups, output: Output) -> np.ndarray:
    """The codes of the texts that a feature's values hold, int64[n]; none if it holds no texts."""
    if output.type.kind != "text":
        return NO_CODES
    if isinstance(values, Groups):
        return values.codes
    return values.data if values.valid is None else values.data[values.valid]


def arrow_type(output: Output) -> pa.DataType:
    """The Arrow type of a feature."""
    kind = KINDS[output.type.kind].seen
    if output.items is not None:
        return pa.map_(kind, KINDS[output.items.kind].seen)
    return pa.list_(kind) if output.many else kind


def arrow(values: Scalars | Groups, output: Output, dictionary: Dictionary) -> pa.Array:
    """One value a row: a scalar, a list in the output's order, or a map in ascending order of its texts."""
    kind = KINDS[output.type.kind].seen
    text = output.type.kind == "text"
    if isinstance(values, Groups):
        return _lists(values, output, dictionary)
    missing = None if values.valid is None else ~values.valid
    if not text:
        return pa.array(values.data, kind, mask=missing)
    there = np.ones(len(values.data), bool) if missing is None else ~missing
    at = np.zeros(len(values.data), dtype=np.int64)
    at[there] = dictionary.find(values.data[there])
    return dictionary.texts.take(pa.array(at, mask=missing))


def maps(values: Sequence[Mapping[str, Any] | None], items: pa.DataType | None = None) -> pa.Array:
    """Dicts as Arrow maps, in their order; the type of their items is guessed if it is not given.

    >>> maps([{"b": 1, "a": 2}, {}, None]).to_pylist()
    [[('b', 1), ('a', 2)], [], None]
    """
    items = items or pa.infer_type([each for value in values if value for each in value.values()])
    return pa.array([None if value is None else [*value.items()] for value in values], pa.map_(pa.string(), items))


def frame(table: pa.Table) -> pd.DataFrame:
    """A table for pandas; maps are dicts in their order, where pandas would have lists of pairs.

    Whole numbers with a null become floats, as ever with pandas; those that a float cannot hold become its `Int64`.

    >>> frame(pa.table({"id": [2**60 + 1, None]}))["id"].tolist()
    [1152921504606846977, <NA>]
    """
    made = table.to_pandas(maps_as_pydicts="strict")
    for at, column in enumerate(table.columns):
        if column.null_count and column.type == pa.int64():
            least, most = pa.compute.min_max(column).as_py().values()
            if least is not None and (least < -EXACT or most > EXACT):
                made.isetitem(at, column.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get))
    return made


def _lists(values: Groups, output: Output, dictionary: Dictionary) -> pa.Array:
    flat, rank = pa.array(values.codes), values.codes
    if output.type.kind == "text":
        at = dictionary.find(values.codes)
        flat, rank = dictionary.texts.take(pa.array(at)), dictionary.rank[at]
    order, offsets = ordered(values, output, rank)
    flat, ends = flat.take(pa.array(order)).cast(KINDS[output.type.kind].seen), pa.array(offsets, pa.int32())
    if output.items is not None:
        return pa.MapArray.from_arrays(ends, flat, pa.array(values.weights[order], KINDS[output.items.kind].seen))
    return pa.ListArray.from_arrays(ends, flat)


def ordered(values: Groups, output: Output, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order of each row's values in a list or a map, within its limit: their positions, and the rows' offsets.

    rank: [n], what the values ascend by.

    >>> from dualpath.expression import Type
    >>> counted = Groups(np.array([0, 3]), np.array([7, 6, 5]), np.array([1, 2, 2]))
    >>> ordered(counted, Output(Type("integer"), many=True, order="weight", limit=2), counted.codes)[0].tolist()
    [2, 1]
    """
    offsets = values.offsets
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    if output.order == "weight":
        order = np.lexsort((rank, -values.weights, rows))
    elif output.order == "value":
        order = np.lexsort((rank, rows))
    else:
        order = np.arange(len(rows))
    if output.limit is not None:
        order = order[np.arange(len(rows)) - offsets[rows] < output.limit]
        offsets = np.r_[0, np.cumsum(np.minimum(np.diff(offsets), output.limit))]
    return order, offsets
