"""What a caller of `get_online_features` asks: its entity rows, checked and cast before Feast or Redis sees them.

Entity rows come in two shapes, a list of rows or a dict of columns. Both become columns of one length, of which only
those that the request needs go on: join keys as they are declared, and the data that on-demand views ask for.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from feast import ValueType
from feast.feature_view import DUMMY_ENTITY_ID
from feast.type_map import python_values_to_proto_values

from dualpath.errors import InputError
from dualpath.stores import entities, instants

KINDS = {ValueType.STRING: "text", ValueType.INT64: "integer", ValueType.INT32: "integer"}
"""Join keys of these types are cast by `entities.cast`; those of others, which only ordinary views have, by Feast."""


@dataclass(frozen=True)
class Request:
    """The rows of one call.

    `as_of` int64[rows] has each row's instant, microseconds UTC, and `named` bool[rows] whether the row names it; one
    that does not means the present. `given` are the columns as they came, each of `rows` values; `places` says at
    which place of the answer each feature is asked, by its name there.
    """

    rows: int
    given: dict[str, list[Any]]
    as_of: np.ndarray
    named: np.ndarray
    places: Mapping[str, int]
    _keys: dict[tuple[str, str], list[Any]] = field(default_factory=dict)

    def key(self, name: str, kind: str) -> list[Any]:
        """A join key's values, cast to its kind; raises `InputError` as `entities.cast` does."""
        found = self._keys.get((name, kind))
        if found is None:
            found = self._keys[name, kind] = entities.cast(self.given[name], kind, name)
        return found

    def in_order(self, prefix: str, features: Iterable[str]) -> list[str]:
        """Features of a view in the order asked; inputs of on-demand views, which nobody asked for, come last."""
        last = len(self.places)
        return sorted(features, key=lambda feature: (self.places.get(prefix + feature, last), feature))

    def columns(self, context: tuple[Any, ...]) -> dict[str, list[Any]]:
        """The columns that Feast needs, by its context of the request: join keys, cast, and data for on-demand views.

        Raises `InputError` if the join key of a view is missing, or cannot be one.
        """
        _, _, key_of_entity, types, join_keys, grouped, _, data, _ = context
        found: dict[str, list[Any]] = {}
        for name in [*self.given]:
            # An entity's name in the place of its join key is Feast's own older spelling.
            key = name if name in join_keys or name in data else key_of_entity.get(name)
            if key is not None and (key == name or key not in self.given):
                found[key] = self.given[key] = self.given[name]
        for view, _ in grouped:
            for key in keys_of(view, key_of_entity).values():
                if key not in found and key != DUMMY_ENTITY_ID:
                    raise InputError(
                        f"the entity rows have no '{key}', the join key of view '{view.projection.name_to_use()}'; "
                        f"they have {', '.join(self.given) or 'no column'}."
                    )
        for name, values in found.items():
            kind = None if name in data else KINDS.get(types.get(name))
            found[name] = self.key(name, kind) if kind else _taken(name, values, types.get(name, ValueType.UNKNOWN))
        return found


NOWHERE: Mapping[str, int] = MappingProxyType({})
ASKED: ContextVar[Request] = ContextVar("ASKED")
"""The request that is being answered; Feast hands on its own form of it only."""


def keys_of(view: Any, key_of_entity: Mapping[str, str]) -> dict[str, str]:
    """The join keys of a Feast view, in its order, and the columns of the request that hold them."""
    own = [key_of_entity[name] for name in view.entities]
    return {key: view.projection.join_key_map.get(key, key) for key in own}


@lru_cache(maxsize=512)
def places(refs: tuple[str, ...], full_names: bool) -> dict[str, int]:
    """The place of each feature that is asked for, by its name in the answer.

    >>> places(("user@v2:n", "shop:m"), True)
    {'user@v2__n': 0, 'shop__m': 1}
    """
    names = [ref.split(":") for ref in refs]
    return {f"{view}__{feature}" if full_names else feature: place for place, (view, feature) in enumerate(names)}


def read(entity_rows: Any, now: int, places: Mapping[str, int] = NOWHERE) -> Request:
    """Take entity rows apart; a row without `event_timestamp` asks for `now`, microseconds UTC.

    Raises `InputError` for rows of another shape, unequal columns, and instants that `instants.parse` refuses.

    >>> read({"user_id": ["ann", "bob"], "event_timestamp": ["2022-01-01", "2022-01-02T12:00Z"]}, 0).as_of.tolist()
    [1640995200000000, 1641124800000000]
    """
    columns, without = _columns(entity_rows)
    lengths = {name: len(values) for name, values in columns.items()}
    rows = next(iter(lengths.values()), 0)
    if set(lengths.values()) - {rows}:
        told = ", ".join(f"{n} of '{name}'" for name, n in lengths.items())
        raise InputError(f"the columns of the entity rows have different lengths, {told}; give each one value a row.")
    given = columns.pop(instants.COLUMN, None)
    named = np.full(rows, given is not None)
    as_of = np.full(rows, now, dtype=np.int64)
    if without:
        named[list(without)] = False
        as_of[named] = instants.parse([value for value, is_named in zip(given or (), named, strict=True) if is_named])
    elif given is not None:
        as_of = instants.parse(given)
    return Request(rows, columns, as_of, named, places)


def _columns(entity_rows: Any) -> tuple[dict[str, Any], Collection[int]]:
    """Entity rows as columns, and the rows without an instant where others have one."""
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
    """A column as values by position; Feast's server may pass its protobuf. A lone text or number is no column."""
    if hasattr(column, "val"):
        return [_plain(value) for value in column.val]
    if isinstance(column, str | bytes | Mapping) or not isinstance(column, Iterable):
        raise InputError(f"the column '{name}' of the entity rows is a lone {type(column).__name__}; pass a list.")
    # A column of instants is parsed as a whole, which is faster by its own type.
    return column if name == instants.COLUMN and hasattr(column, "dtype") else list(column)


def _taken(name: str, values: list[Any], kind: ValueType) -> list[Any]:
    """Values that Feast converts by its own rules, once it is known that it can."""
    values = [None if instants.absent(value) else value for value in values]
    try:
        python_values_to_proto_values(values, kind)
    except Exception as error:  # whatever a converter raises on a value that it was not made for
        raise InputError(f"the column '{name}' of the entity rows cannot be converted by Feast: {error}.") from error
    return values


def _plain(value: Any) -> Any:
    """What a Feast protobuf value holds; its timestamps are whole seconds."""
    which = value.WhichOneof("val")
    if which in (None, "null_val"):
        return None
    held = getattr(value, which)
    return np.datetime64(held, "s") if which == "unix_timestamp_val" else held


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))
