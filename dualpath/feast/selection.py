"""The views and features that a request selects, with their join keys, whatever its entity rows.

A selection follows from Feast's context of the request (`feast.utils._get_cached_request_context`), which Feast keeps
until it reads its registry again. So a selection is made once for each context.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from feast import ValueType
from feast.feature_view import DUMMY_ENTITY_ID

from dualpath.declare import own_features, view_of
from dualpath.online import reader
from dualpath.parts import parts
from dualpath.plan import plan
from dualpath.record import layout
from dualpath.view import View

KEY_KINDS = {ValueType.STRING: "text", ValueType.INT64: "integer", ValueType.INT32: "integer32"}
"""Join keys of these types are cast by `entities.cast`. Only ordinary views have others, which Feast casts."""
MAX_KEPT = 256
"""How many selections are kept; Feast's own memory of contexts has no bound."""


class CompiledView:
    """What a windowed view's values are computed with; it depends on the declaration and the features alone.

    `tokens` says whether they are asked what they know.
    """

    def __init__(self, view: View, features: tuple[str, ...]) -> None:
        own = own_features(view)
        self.tokens = not own.keys().isdisjoint(features)
        self.plan = plan(view, tuple(name for name in features if name not in own))
        self.formats = {part: reader.Format(layout(part)) for part in parts(view)}
        self.key_kinds = [view.fields[key].key for key in view.keys]


compiled = lru_cache(maxsize=512)(CompiledView)


@dataclass(frozen=True)
class SelectedView:
    """A Feast view and its selected features, in the order of the request.

    `columns` of the entity rows hold the view's join keys, in its order. `prefix` stands before the features' names in
    the answer. `compiled` is None for an ordinary view.
    """

    view: Any
    features: list[str]
    columns: tuple[str, ...]
    prefix: str
    compiled: CompiledView | None

    @property
    def name(self) -> str:
        """The view's name in the request."""
        return self.view.projection.name_to_use()


class Selection:
    """The selected views, and what their on-demand views need.

    `places` has each feature's place in the answer, by its name there. `derived` are the on-demand views, `data` the
    columns of request data that they need. `types` are Feast's types of the join keys' columns. `all_windowed` says
    that every feature is one of a windowed view.
    """

    def __init__(self, context: tuple[Any, ...], full_names: bool) -> None:
        refs, self.derived, self.key_of_entity, self.types, self.join_keys, grouped, _, self.data, _ = context
        self.places = places(refs, full_names)
        self.views: list[SelectedView] = []
        for view, features in grouped:
            prefix = f"{view.projection.name_to_use()}__" if full_names else ""
            order = self._ordered(features, prefix)
            keys = keys_of(view, self.key_of_entity)
            compiling = None
            if declared := view_of(view):
                compiling = compiled(declared, tuple(order))
                keys = {key: keys[key] for key in declared.keys}
            self.views.append(SelectedView(view, order, tuple(keys.values()), prefix, compiling))
        self.keys = {name: each for each in self.views for name in each.columns if name != DUMMY_ENTITY_ID}
        self.all_windowed = not self.derived and all(each.compiled for each in self.views)

    def _ordered(self, features: Iterable[str], prefix: str) -> list[str]:
        """A view's features in the order of the request; Feast keeps them in a set, whose order differs by process.

        Inputs of on-demand views that the request does not name come last.
        """
        last = len(self.places)
        return sorted(features, key=lambda name: (self.places.get(prefix + name, last), name))


def keys_of(view: Any, key_of_entity: Mapping[str, str]) -> dict[str, str]:
    """The join keys of a Feast view, and the columns of a request that hold them."""
    own = [key_of_entity[name] for name in view.entities]
    return {key: view.projection.join_key_map.get(key, key) for key in own}


def places(refs: list[str], full_names: bool) -> dict[str, int]:
    """The place of each requested feature, by its name in the answer.

    >>> places(["user@v2:n", "shop:m"], True)
    {'user@v2__n': 0, 'shop__m': 1}
    """
    names = [ref.split(":") for ref in refs]
    return {f"{view}__{feature}" if full_names else feature: place for place, (view, feature) in enumerate(names)}


_kept: dict[int, tuple[tuple[Any, ...], Selection]] = {}


def select(context: tuple[Any, ...], full_names: bool) -> Selection:
    """The selection of a context; it is made once, and kept with the context, so that no other takes its identity."""
    known = _kept.get(id(context))
    if known is None:
        if len(_kept) >= MAX_KEPT:
            _kept.clear()
        known = _kept[id(context)] = context, Selection(context, full_names)
    return known[1]
