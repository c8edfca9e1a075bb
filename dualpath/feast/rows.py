"""The rows of a training set before it has features: an `entity_df` with its join keys and instants."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df

from dualpath import entities, instants
from dualpath.errors import InputError
from dualpath.kinds import INSTANT


@dataclass(frozen=True)
class Rows:
    """The columns as the user gave them; `time` names that of the instants, `as_of` int64[rows] are those."""

    given: dict[str, Any]
    time: str
    as_of: np.ndarray
    _keys: dict[tuple[str, str | None], pa.Array] = field(default_factory=dict)

    def key(self, name: str, kind: str | None, view: str) -> pa.Array:
        """A join key of a view, cast to its kind, or as it is if it has none of those that `entities` knows.

        Raises `InputError` if there is no such column, or a value in it cannot be a key.
        """
        if name not in self.given:
            raise InputError(
                f"entity_df has no column '{name}', the join key of view '{view}'; it has {', '.join(self.given)}."
            )
        found = self._keys.get((name, kind))
        if found is None:
            found = entities.column(self.given[name], kind, name) if kind else _array(self.given[name], name)
            self._keys[name, kind] = found
        return found

    def table(self) -> pa.Table:
        """The columns as they were given.

        Join keys and instants of several types in one column, which Arrow cannot hold, are as they were understood.
        Raises `InputError` for another such column.
        """
        found = {}
        for name, column in self.given.items():
            try:
                found[name] = _array(column, name)
            except InputError:
                understood = [key for (known, _), key in self._keys.items() if known == name]
                if name == self.time:
                    found[name] = pa.array(self.as_of, INSTANT)
                elif understood:
                    found[name] = understood[0]
                else:
                    raise
        return pa.table(found)


def read(entity_df: Any) -> Rows:
    """Take an `entity_df` apart: a pandas DataFrame or an Arrow table.

    Raises `InputError` for anything else, for a name that two columns have, and for instants that `instants.parse`
    refuses; Feast's `EntityTimestampInferenceException` if no column is one of instants.
    """
    if isinstance(entity_df, pd.DataFrame):
        columns, types = [entity_df.iloc[:, at] for at in range(entity_df.shape[1])], [*entity_df.dtypes]
        names = [str(name) for name in entity_df.columns]
    elif isinstance(entity_df, pa.Table):
        columns, types = entity_df.columns, [_as_numpy(kind) for kind in entity_df.schema.types]
        names = entity_df.column_names
    else:
        what = "SQL text" if isinstance(entity_df, str) else f"a {type(entity_df).__name__}"
        raise InputError(
            f"entity_df is {what}; pass a pandas DataFrame or an Arrow table, one row for each entity and instant, "
            "or none, and start_date and end_date."
        )
    if len({*names}) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"entity_df has several columns '{twice}'; rename all but one.")
    time = infer_event_timestamp_from_entity_df(dict(zip(names, types, strict=True)))
    given = dict(zip(names, columns, strict=True))
    return Rows(given, time, instants.parse(given[time], time))


def _array(column: Any, name: str) -> pa.Array | pa.ChunkedArray:
    """A column as Arrow has it; raises `InputError` if it has values that Arrow cannot hold in one."""
    if isinstance(column, pa.Array | pa.ChunkedArray):
        return column
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise InputError(f"entity_df, column '{name}': {error}; give it values of one type.") from None


def _as_numpy(kind: pa.DataType) -> Any:
    """A NumPy type that says whether a column is one of instants."""
    return np.dtype("datetime64[us]") if pa.types.is_timestamp(kind) else np.dtype(object)
