"""The versions of a dimension in memory: typed, sorted, and found as of an instant. The one definition of "as of"."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dualpath import admission, instants
from dualpath.dimension import Dimension, Lookup
from dualpath.errors import InputError
from dualpath.field import Field
from dualpath.kinds import INSTANT
from dualpath.paths import first_value, walk
from dualpath.schema import EventSource


@dataclass(frozen=True, eq=False)
class Versions:
    """The versions of a dimension. `rows` has a column for each of `Dimension.columns`, in any order of rows.

    The version at an instant t is the last one of the keys with `valid_from <= t`. It is none if its `valid_to <= t`.
    """

    dimension: Dimension
    rows: pa.Table

    @classmethod
    def of(cls, dimension: Dimension, parts: Iterable[tuple[str, Iterable[Any]]]) -> "Versions":
        """From parsed rows, dicts in the shape of a payload; a part is what to call it, and its rows.

        Raises `InputError` for a row that is refused by the rules of admission, for one that ends before it begins, and
        for two versions of the same keys from the same instant.
        """
        columns, own = dimension.columns, f"dimension '{dimension.name}'"
        names, ends, texts = list[str](), list[int](), [list[str | None]() for _ in columns]
        for name, rows in parts:
            for number, row in enumerate(rows, 1):
                if not isinstance(row, Mapping):
                    raise InputError(f"{own}: {name}, row {number} is not a JSON object; correct the row.")
                for column, field in zip(texts, columns, strict=True):
                    column.append(text_of(row, field))
            names.append(name)
            ends.append(len(texts[0]))

        def place_of(row: int) -> str:
            part = int(np.searchsorted(ends, row, side="right"))
            return f"{names[part]}, row {row - (ends[part - 1] if part else 0) + 1}"

        table, refused = typed(columns, texts)
        if refused:
            row = min(refused)
            raise InputError(f"{own}: {place_of(row)}: {refused[row]}; correct the row.")
        made = cls(dimension, table)
        if backwards := made.backwards():
            raise InputError(f"{own}: {place_of(backwards[0])}: {dimension.ends_too_early}; correct the row.")
        if (tie := made._tie()) is not None:
            first, second = tie
            at = instants.iso(_micros(made.rows[dimension.valid_from.name])[first].item())
            raise InputError(
                f"{own}: {place_of(first)} and {place_of(second)} are both of {made._key(first)} from {at} on; "
                "remove one of them."
            )
        return made

    def find(self, keys: Sequence[pa.Array], times: pa.Array) -> pa.Array:
        """The row of `rows` for each event, null for none: `keys` are arrays in the order of the dimension's keys,
        `times` the instants, timestamps or microseconds UTC. A null key or time has no version."""
        order, codes, starts, versions = self._sorted
        sought = self._codes(keys)
        micros = _micros(times)
        ranks = np.searchsorted(starts, micros, side="right")
        at = np.searchsorted(versions, sought * (len(starts) + 1) + ranks, side="right") - 1
        found = (sought >= 0) & (at >= 0) & pc.is_valid(times).to_numpy(zero_copy_only=False)
        at = np.where(found, at, 0)
        if len(codes):
            found &= codes[at] == sought
            rows = order[at]
            found &= self._ends[rows] > micros
        else:
            rows = at
        return pa.array(rows, pa.int64(), mask=~found)

    def take(self, lookup: Lookup, rows: pa.Array) -> list[pa.Array]:
        """The values of a lookup's fields in rows that `find` found, a null for none."""
        return [self._whole[name].take(rows) for name in lookup.names]

    @cached_property
    def _whole(self) -> dict[str, pa.Array]:
        """The columns, each in one piece."""
        return {
            name: pa.concat_arrays(self.rows[name].chunks or [self._empty(name)]) for name in self.rows.schema.names
        }

    def _empty(self, name: str) -> pa.Array:
        return pa.array([], self.rows.schema.field(name).type)

    @cached_property
    def _indexes(self) -> list[tuple[pd.Index, pd.Index]]:
        """For each key its values, and the pairs of the keys before it and of its value, each with its code: its
        place."""
        found = []
        before = np.zeros(self.rows.num_rows, dtype=np.int64)
        for key in self.dimension.keys:
            values = _values(self._whole[key.name])
            index = pd.Index(pd.unique(values))
            paired = before * len(index) + index.get_indexer(values)
            pairs = pd.Index(np.unique(paired))
            before = pairs.get_indexer(paired)
            found.append((index, pairs))
        return found

    def _codes(self, keys: Sequence[pa.Array]) -> np.ndarray:
        """A number from 0 for the keys of each row, int64[n]; -1 for keys that the table does not have."""
        codes = np.zeros(len(keys[0]), dtype=np.int64)
        for (index, pairs), values in zip(self._indexes, keys, strict=True):
            own = index.get_indexer(_values(values))
            known = (codes >= 0) & (own >= 0) & pc.is_valid(values).to_numpy(zero_copy_only=False)
            codes = np.where(known, pairs.get_indexer(np.where(known, codes * len(index) + own, -1)), -1)
        return codes.astype(np.int64)

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The rows by keys and beginning: their places, their codes, all beginnings, and the order as one number."""
        begins = _micros(self._whole[self.dimension.valid_from.name])
        codes, starts = self._codes([self._whole[key.name] for key in self.dimension.keys]), np.unique(begins)
        # The product of two counts of rows is far below 2^63.
        versions = codes * (len(starts) + 1) + np.searchsorted(starts, begins, side="right")
        order = np.argsort(versions, kind="stable")
        return order, codes[order], starts, versions[order]

    @cached_property
    def _ends(self) -> np.ndarray:
        """When each row's version holds no more, microseconds; the greatest number: never."""
        never = np.iinfo(np.int64).max
        if self.dimension.valid_to is None:
            return np.full(self.rows.num_rows, never)
        column = self._whole[self.dimension.valid_to.name].cast(pa.int64())
        return column.fill_null(never).to_numpy()

    def backwards(self) -> list[int]:
        """The rows that end before they begin, or as they do."""
        return np.flatnonzero(self._ends <= _micros(self._whole[self.dimension.valid_from.name])).tolist()

    def _tie(self) -> tuple[int, int] | None:
        """Two rows of the same keys from the same instant."""
        order, _, _, versions = self._sorted
        same = np.flatnonzero(versions[1:] == versions[:-1])
        return (int(order[same[0]]), int(order[same[0] + 1])) if len(same) else None

    def _key(self, row: int) -> str:
        return said(self.dimension, [self.rows[key.name][row].as_py() for key in self.dimension.keys])


def said(dimension: Dimension, values: Iterable[Any]) -> str:
    """Keys as messages write them, such as `sku A1, shop 7`."""
    return ", ".join(f"{key.name} {value}" for key, value in zip(dimension.keys, values, strict=True))


def looked_up(
    source: EventSource,
    events: Sequence[Mapping[str, Any]],
    tables: Mapping[str, Versions | Sequence[Mapping[str, Any]]],
) -> list[dict[str, Any]]:
    """Events in the form of `dualpath.preview`, each with the fields that its source looks up.

    `tables` has the versions of each dimension by its name, or its rows. Raises `InputError` for one that is missing.
    """
    found = [dict(event) for event in events]
    own = source.by_name
    for lookup in source.lookups:
        name = lookup.dimension.name
        if name not in tables:
            raise InputError(
                f"source '{source.name}' looks fields up in '{name}'; pass its rows, as dimensions={{'{name}': rows}}."
            )
        table = tables[name]
        versions = table if isinstance(table, Versions) else Versions.of(lookup.dimension, [("its rows", table)])
        keys = [pa.array([event[own[n].column] for event in events], own[n].stored) for n in lookup.on]
        rows = versions.find(keys, pa.array([event["event_time"] for event in events], INSTANT))
        for field, values in zip(lookup.fields, versions.take(lookup, rows), strict=True):
            plain = values.cast(pa.int64()) if field.kind == "timestamp" else values
            for event, value in zip(found, plain.to_pylist(), strict=True):
                event[field.column] = value
    return found


def text_of(row: Any, field: Field) -> str | None:
    """What a row, parsed, has of a field, as admission judges it."""
    value = first_value(field.places, partial(walk, row))
    return instants.iso(int(instants.parse([value])[0])) if isinstance(value, datetime) else admission.written(value)


def typed(fields: Sequence[Field], texts: Sequence[Sequence[str | None]]) -> tuple[pa.Table, dict[int, str]]:
    """Texts as values of their fields, and the rows that are refused, each with a reason; their values are null."""
    columns, refused = {}, dict[int, str]()
    for field, given in zip(fields, texts, strict=True):
        columns[field.name], reasons = _typed(given, field)
        refused = reasons | refused
    return pa.table(columns), refused


def _typed(texts: Sequence[str | None], field: Field) -> tuple[pa.Array, dict[int, str]]:
    """Texts as values of a field, and the rows that are refused. Each text is judged once."""
    encoded = pa.array(texts, pa.string()).dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    values = [admission.value(text, field) for text in distinct]
    doubtful = {text for text, value in zip(distinct, values, strict=True) if not value} | {None}
    reasons = {text: reason for text in doubtful if (reason := admission.refusal(text, field))}
    rows = {row: reasons[text] for row, text in enumerate(texts) if text in reasons} if reasons else {}
    return pa.array(values, field.stored).take(encoded.indices), rows


def _values(keys: pa.Array) -> np.ndarray:
    """Keys as pandas looks them up; a null is any value."""
    if pa.types.is_string(keys.type):
        return keys.to_numpy(zero_copy_only=False)
    return keys.fill_null(0).to_numpy(zero_copy_only=False)


def _micros(times: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Microseconds; a null is any instant."""
    return times.cast(pa.int64()).fill_null(0).to_numpy()
