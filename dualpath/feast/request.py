"""A request to `get_online_features`: its entity rows, checked and cast before Feast or Redis sees them.

Entity rows come in two shapes, a list of rows or a dict of columns. Both become columns of one length. Feast gets only
those that it needs: join keys, cast to their declared types, and the request data of on-demand views.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from feast import ValueType
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values

from dualpath import entities, instants
from dualpath.errors import InputError
from dualpath.feast.selection import KEY_KINDS, Selection
from dualpath.times import EPOCH


@dataclass(frozen=True)
class Request:
    """One call: what it selects, and its rows.

    `as_of` int64[rows] is each row's instant, microseconds UTC. `named` bool[rows] says whether the row has an
    `event_timestamp`; a row without one is about the present, `now`. `named` is None if no row has one. `given` are the
    columns as the caller gave them.
    """

    selection: Selection
    now: int
    rows: int
    given: dict[str, list[Any]]
    as_of: np.ndarray
    named: np.ndarray | None
    _keys: dict[tuple[str, str], list[Any]] = field(default_factory=dict)

    def key(self, name: str, kind: str) -> list[Any]:
        """A join key's values, cast to its kind; raises `InputError` as `entities.cast` does."""
        found = self._keys.get((name, kind))
        if found is None:
            found = self._keys[name, kind] = entities.cast(self.given[name], kind, name)
        return found

    def columns(self) -> dict[str, list[Any]]:
        """The columns that Feast needs: join keys, cast, and the request data of on-demand views.

        Raises `InputError` if a view's join key is missing or has a value that cannot be one.
        """
        selection, found = self.selection, {}
        for name in [*self.given]:
            # Feast still takes an entity's name in place of its join key.
            key = name if name in selection.join_keys or name in selection.data else selection.key_of_entity.get(name)
            if key is not None and (key == name or key not in self.given):
                found[key] = self.given[key] = self.given[name]
        for key, view in selection.keys.items():
            if key in selection.data:
                raise InputError(
                    f"'{key}' is the join key of view '{view.name}' and request data of an on-demand view; rename one."
                )
            if key not in found:
                raise InputError(
                    f"the entity rows have no '{key}', the join key of view '{view.name}'; "
                    f"they have {', '.join(self.given) or 'no column'}."
                )
        for name, values in found.items():
            kind = None if name in selection.data else KEY_KINDS.get(selection.types.get(name))
            found[name] = self.key(name, kind) if kind else _checked(name, values, selection.types.get(name))
        return found


def check_precomputed(features: Any, request: Request) -> None:
    """Refuse a feature service that serves precomputed vectors, if the answer depends on the instant."""
    if not getattr(features, "precompute_online", False):
        return
    windowed = [each.name for each in request.selection.views if each.compiled]
    if windowed or request.named is not None:
        why = f"the values of view '{windowed[0]}' change with time" if windowed else "the rows name instants"
        raise InputError(
            f"feature service '{features.name}' has precompute_online=True, but {why}; take precompute_online out."
        )


CURRENT: ContextVar[Request] = ContextVar("CURRENT")
"""The request that is being answered; Feast passes on its own form of it alone."""


def read(entity_rows: Any, now: int, selection: Selection) -> Request:
    """Read entity rows; a row without `event_timestamp` is about `now`, microseconds UTC.

    Raises `InputError` for rows of another shape, unequal columns, and instants that `instants.parse` refuses.
    """
    columns, without = _columns(entity_rows)
    lengths = {name: len(values) for name, values in columns.items()}
    rows = next(iter(lengths.values()), 0)
    if set(lengths.values()) - {rows}:
        told = ", ".join(f"{n} of '{name}'" for name, n in lengths.items())
        raise InputError(f"the columns of the entity rows have different lengths, {told}; give each one value a row.")
    if instants.COLUMN not in columns:
        return Request(selection, now, rows, columns, np.full(rows, now, dtype=np.int64), None)
    given, named = columns.pop(instants.COLUMN), np.ones(rows, dtype=bool)
    if not without:
        return Request(selection, now, rows, columns, instants.parse(given), named)
    named[list(without)] = False
    # Each row gets some instant, so that a refusal names the row by the caller's count.
    as_of = instants.parse([value if is_named else EPOCH for value, is_named in zip(given, named, strict=True)])
    as_of[~named] = now
    return Request(selection, now, rows, columns, as_of, named)


def _columns(entity_rows: Any) -> tuple[dict[str, Any], Collection[int]]:
    """Entity rows as columns, and the rows that have no instant although others have one."""
    if isinstance(entity_rows, Mapping):
        return {name: _listed(name, values) for name, values in entity_rows.items()}, ()
    if not isinstance(entity_rows, Sequence) or not all(isinstance(row, Mapping) for row in entity_rows):
        raise InputError("entity_rows are a list of rows, each a dict, or one dict of columns; pass one of the two.")
    if not entity_rows:
        raise InputError("there are no entity rows; pass at least one.")
    names = dict.fromkeys(name for row in entity_rows for name in row)
    for number, row in enumerate(entity_rows):
        if lacking := names.keys() - row.keys() - {instants.COLUMN}:
            raise InputError(f"entity row {number} has no {_quoted(lacking)}, which others have; give it to every row.")
    columns = {name: [row.get(name) for row in entity_rows] for name in names}
    without = [i for i, row in enumerate(entity_rows) if instants.COLUMN not in row] if instants.COLUMN in names else ()
    return columns, without


def _listed(name: str, column: Any) -> Any:
    """A column as a sequence of values; Feast's server may pass its protobuf. A single text or number is no column."""
    if hasattr(column, "val"):
        return [_plain(value) for value in column.val]
    if isinstance(column, str | bytes | Mapping) or not isinstance(column, Iterable):
        raise InputError(f"the column '{name}' of the entity rows is a lone {type(column).__name__}; pass a list.")
    if isinstance(column, Set) or getattr(column, "ndim", 1) != 1:
        raise InputError(f"the column '{name}' of the entity rows has no first and second row; pass a list.")
    # A column of instants is parsed as a whole, which is faster in its own type.
    if name == instants.COLUMN and hasattr(column, "dtype"):
        return column
    return [_plain(value) if isinstance(value, Value) else value for value in column]


def _checked(name: str, values: list[Any], kind: ValueType | None) -> list[Any]:
    """Values that Feast casts by its own rules; raises `InputError` if it cannot."""
    values = [None if instants.absent(value) else value for value in values]
    if kind is None and any(isinstance(value, float | np.floating) for value in values):
        # Feast goes by the first value: after an integer it would cut 2.5 to 2. As in a data frame, all become floats.
        values = [float(value) if _is_integer(value) else value for value in values]
    try:
        python_values_to_proto_values(values, kind or ValueType.UNKNOWN)
    except Exception as error:  # a converter may raise anything
        raise InputError(f"the column '{name}' of the entity rows cannot be converted by Feast: {error}.") from error
    return values


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """The value of a Feast protobuf `Value`, whose timestamps are whole seconds."""
    which = value.WhichOneof("val")
    if which in (None, "null_val"):
        return None
    held = getattr(value, which)
    return np.datetime64(held, "s") if which == "unix_timestamp_val" else held


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))
