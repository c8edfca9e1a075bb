"""The groups of views that parity compares, and their values from both sides, read as a user reads them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dualpath.parity import spellings
from dualpath.repo import Repo
from dualpath.view import View

Progress = Callable[[str, int, int], None]
NOTHING: Mapping[str, Any] = MappingProxyType({})
ROWS_PER_REQUEST = 500
"""Entity rows in one call of `get_online_features`."""


@dataclass(frozen=True)
class ViewGroup:
    """Views that one request can read, with their features and those of on-demand views on them.

    Either the views have the same join keys and sources, or they are those of a feature `service`. A service may rename
    views and join keys; `columns` has each view's columns of join keys.
    """

    views: tuple[View, ...]
    refs: tuple[str, ...]
    service: str = ""
    columns: tuple[tuple[str, ...], ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns of the join keys, each once."""
        return tuple(dict.fromkeys(name for names in self.columns or (self.views[0].keys,) for name in names))


def view_groups(repo: Repo) -> list[ViewGroup]:
    """The repo's views, grouped by sources and join keys; then its feature services that rename what they serve."""
    grouped: dict[tuple[tuple[str, ...], tuple[str, ...]], list[View]] = {}
    for view in repo.views.values():
        grouped.setdefault((tuple(source.name for source in view.sources), view.keys), []).append(view)
    derived = [d for d in repo.store.list_on_demand_feature_views() if not d.source_request_sources]
    found = []
    for views in grouped.values():
        names = {v.name for v in views}
        refs = [f"{v.name}:{f.name}" for v in views for f in v.features]
        for each in derived:
            inputs = {p.name for p in each.source_feature_view_projections.values()}
            if inputs and inputs <= names:
                refs += [f"{each.name}:{f.name}" for f in each.features]
        found.append(ViewGroup(tuple(views), tuple(refs)))
    return found + _services(repo)


def _services(repo: Repo) -> list[ViewGroup]:
    """The feature services of windowed views alone that rename views or join keys."""
    found = []
    for service in repo.store.list_feature_services():
        projections = service.feature_view_projections
        views = [repo.views.get(p.name) for p in projections]
        if all(views) and any(p.name_alias or p.join_key_map for p in projections):
            refs = [f"{p.name_to_use()}:{feature.name}" for p in projections for feature in p.features]
            columns = [
                tuple(p.join_key_map.get(key, key) for key in view.keys)
                for p, view in zip(projections, views, strict=True)
                if view
            ]
            found.append(ViewGroup(tuple(v for v in views if v), tuple(refs), service.name, tuple(columns)))
    return found


def serve(
    repo: Repo, group: ViewGroup, keys: Sequence[pa.Array], as_of: np.ndarray, say: Progress = lambda *_: None
) -> dict[str, list[Any]]:
    """Served values, one list for each feature reference. Each request writes its rows in another way."""
    columns: dict[str, list[Any]] = {ref: [] for ref in group.refs}
    features = _features(repo, group)
    for number, start in enumerate(range(0, len(as_of), ROWS_PER_REQUEST)):
        part = slice(start, start + ROWS_PER_REQUEST)
        rows = {n: spellings.keys(k[part], number + i) for i, (n, k) in enumerate(zip(group.keys, keys, strict=True))}
        rows["event_timestamp"] = spellings.instants(as_of[part], number)
        answer = repo.store.get_online_features(features, rows, full_feature_names=True).to_dict()
        for ref in group.refs:
            columns[ref] += answer[ref.replace(":", "__")]
        say("served", min(start + ROWS_PER_REQUEST, len(as_of)), len(as_of))
    return columns


def train(
    repo: Repo,
    group: ViewGroup,
    keys: Sequence[pa.Array],
    as_of: np.ndarray,
    spelling: int = 1,
    known: Mapping[str, Any] = NOTHING,
) -> dict[str, list[Any]]:
    """Training values, one list for each feature reference. `spelling` says how the rows are written; `known` are the
    columns of what they know."""
    frame = {n: spellings.keys(k, spelling + i) for i, (n, k) in enumerate(zip(group.keys, keys, strict=True))}
    frame["event_timestamp"] = spellings.instants(as_of, spelling)
    frame |= known
    job = repo.store.get_historical_features(pd.DataFrame(frame), _features(repo, group), full_feature_names=True)
    table = job.to_arrow()
    return {ref: table[ref.replace(":", "__")].to_pylist(maps_as_pydicts="strict") for ref in group.refs}


def _features(repo: Repo, group: ViewGroup) -> Any:
    return repo.store.get_feature_service(group.service) if group.service else list(group.refs)
