"""What a request wants, whatever its rows: views, features, join keys, and the places of all in the answer.

It follows from Feast's context of the request (`feast.utils._get_cached_request_context`), which Feast keeps until its
registry is read again; so it is prepared once for each context.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from feast import ValueType
from feast.feature_view import DUMMY_ENTITY_ID

from dualpath.declare import view_of
from dualpath.online import reader
from dualpath.plan import plan
from dualpath.view import View

KINDS = {ValueType.STRING: "text", ValueType.INT64: "integer", ValueType.INT32: "integer32"}
"""Join keys of these types are cast by `entities.cast`; those of others, which only ordinary views have, by Feast."""
KEPT = 256
"""Contexts remembered; Feast's own memory of them has no bound."""


class Compiled:
    """What answering from a windowed view takes that depends on nothing but its declaration and the features."""

    def __init__(self, view: View, features: tuple[str, ...]) -> None:
        self.plan = plan(view, features)
        self.format = reader.Format(self.plan.layout)
        self.kinds = [view.source.by_name[key].kind for key in view.keys]


compiled = lru_cache(maxsize=512)(Compiled)


@dataclass(frozen=True)
class WantedView:
    """A Feast view and its features in the order asked; `columns` of the rows hold its join keys, in its order.

    `prefix` stands before the features' names in the answer. `compiled` is None for an ordinary view.
    """

    view: Any
    features: list[str]
    columns: tuple[str, ...]
    prefix: str
    compiled: Compiled | None

    @property
    def name(self) -> str:
        """What the request calls the view."""
        return self.view.projection.name_to_use()


class Wanted:
    """`places` has the place of each feature in the answer, by its name there; `data` are the columns that the
    on-demand views `derived` ask for; `types` are Feast's types of the columns of join keys."""

    def __init__(self, context: tuple[Any, ...], full_names: bool) -> None:
        refs, self.derived, self.key_of_entity, self.types, self.join_keys, grouped, _, self.data, _ = context
        self.places = places(refs, full_names)
        self.views: list[WantedView] = []
        for view, features in grouped:
            prefix = f"{view.projection.name_to_use()}__" if full_names else ""
            order = self._ordered(features, prefix)
            keys = keys_of(view, self.key_of_entity)
            compiling = None
            if declared := view_of(view):
                compiling = compiled(declared, tuple(order))
                keys = {key: keys[key] for key in declared.keys}
            self.views.append(WantedView(view, order, tuple(keys.values()), prefix, compiling))
        self.keys = {name: each for each in self.views for name in each.columns if name != DUMMY_ENTITY_ID}

    def _ordered(self, features: Iterable[str], prefix: str) -> list[str]:
        """Features of a view as they are asked; Feast keeps them as a set, whose order is another in every process.

        Inputs of on-demand views, which nobody asked for, come last.
        """
        last = len(self.places)
        return sorted(features, key=lambda name: (self.places.get(prefix + name, last), name))


def keys_of(view: Any, key_of_entity: Mapping[str, str]) -> dict[str, str]:
    """The join keys of a Feast view, and the columns of a request that hold them."""
    own = [key_of_entity[name] for name in view.entities]
    return {key: view.projection.join_key_map.get(key, key) for key in own}


def places(refs: list[str], full_names: bool) -> dict[str, int]:
    """The place of each feature that is asked for, by its name in the answer.

    >>> places(["user@v2:n", "shop:m"], True)
    {'user@v2__n': 0, 'shop__m': 1}
    """
    names = [ref.split(":") for ref in refs]
    return {f"{view}__{feature}" if full_names else feature: place for place, (view, feature) in enumerate(names)}


_prepared: dict[int, tuple[tuple[Any, ...], Wanted]] = {}


def wanted(context: tuple[Any, ...], full_names: bool) -> Wanted:
    """What a context wants; prepared at most once for each, which is kept so that no other takes its identity."""
    known = _prepared.get(id(context))
    if known is None:
        if len(_prepared) >= KEPT:
            _prepared.clear()
        known = _prepared[id(context)] = context, Wanted(context, full_names)
    return known[1]
