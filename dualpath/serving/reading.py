"""Reads the features of a reader and of candidates: online for a decision, from the log to make it again.

Both give `Inputs`, so the context is evaluated by the same code on the same bits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from dualpath.errors import InputError
from dualpath.instants import COLUMN
from dualpath.kinds import INSTANT
from dualpath.repo import Repo
from dualpath.serving.context import Inputs
from dualpath.serving.decision import Decision
from dualpath.view import View

READER, CANDIDATE = "user_id", "article_id"
"""The join keys of the two."""
STALE = "OUTSIDE_MAX_AGE"
"""The status of features whose stream is behind."""
Columns: TypeAlias = dict[str, list[Any]]
Known: TypeAlias = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Read:
    """What one request read: features, the tokens of each view, and whether the stream is behind."""

    inputs: Inputs
    known: Known
    stale: bool


@dataclass(frozen=True)
class Group:
    """Features of one entity, `view:feature`, and the views that have them."""

    key: str
    features: tuple[str, ...]
    views: tuple[View, ...]

    @classmethod
    def of(cls, repo: Repo, key: str, names: Iterable[str]) -> "Group":
        """Those of the named features whose view has this join key."""
        view_of = {name: repo.views[name.partition(":")[0]] for name in names}
        mine = tuple(name for name in names if view_of[name].keys == (key,))
        return cls(key, mine, tuple(dict.fromkeys(view_of[name] for name in mine)))

    @property
    def tokens(self) -> tuple[str, ...]:
        """The features that say what was known."""
        return tuple(f"{view.name}:{view.known_feature}" for view in self.views)


class Features:
    """The features that a context is made of, of a repo."""

    def __init__(self, repo: Repo, names: Sequence[str]) -> None:
        """Raises `InputError` for a name that is no feature of a reader or an article."""
        for name in names:
            view, _, feature = name.partition(":")
            if view not in repo.views or feature not in {f.name for f in repo.views[view].features}:
                raise InputError(f"the context names '{name}', which the registry does not have; correct it.")
            if repo.views[view].keys not in ((READER,), (CANDIDATE,)):
                raise InputError(
                    f"the context names '{name}' of another entity; use features by {READER} or {CANDIDATE}."
                )
        self.repo = repo
        self.reader, self.candidates = (Group.of(repo, key, names) for key in (READER, CANDIDATE))

    async def read(self, user_id: str, device: str, candidates: Sequence[str], as_of: int) -> Read:
        """Read at `as_of`, microseconds UTC. Raises as `get_online_features` does."""
        found, known, stale = await self._online({self.reader: [user_id], self.candidates: candidates}, as_of)
        one = {name: values[0] for name, values in found[self.reader].items()}
        return Read(Inputs(as_of, device, one, found[self.candidates], len(candidates)), known, stale)

    async def of_reader(self, user_id: str, as_of: int) -> tuple[dict[str, Any], Known, bool]:
        """The features of a reader alone, by name, with what was known and whether the stream is behind."""
        found, known, stale = await self._online({self.reader: [user_id]}, as_of)
        return {name: values[0] for name, values in found[self.reader].items()}, known, stale

    async def _online(
        self, keys: Mapping[Group, Sequence[str]], as_of: int
    ) -> tuple[dict[Group, Columns], Known, bool]:
        """The features of each group, a row for each of its keys: one read, in which a row has a key of one group."""
        asked = {group: those for group, those in keys.items() if group.features}
        if not asked:
            return {group: {} for group in keys}, {}, False
        count, start = sum(map(len, asked.values())), 0
        rows: dict[str, Any] = {COLUMN: np.full(count, as_of, dtype="int64").astype("datetime64[us]")}
        place = {}
        for group, those in asked.items():
            place[group] = slice(start, start + len(those))
            rows[group.key] = [*[None] * start, *those, *[None] * (count - start - len(those))]
            start += len(those)
        names = [name for group in asked for name in (*group.features, *group.tokens)]
        store = self.repo.store
        online: Any = store._get_provider().online_store
        answer = await online.get_columns(store.config, names, rows, store.registry, True)
        found = {
            group: {name: answer.values[name.replace(":", "__")][place[group]] for name in group.features}
            if group in asked
            else {}
            for group in keys
        }
        known = {}
        for group in asked:
            for view in group.views:  # a read beside the stream may know more of one entity than of another
                tokens = answer.values[f"{view.name}__{view.known_feature}"][place[group]]
                known[view.name] = tuple(tokens[:1] if len(set(tokens)) == 1 else tokens)
        return found, known, any(STALE in each for each in answer.statuses.values())

    def trained(self, decisions: Sequence[Decision]) -> list[Inputs]:
        """What each decision read, from the log alone. Raises as `get_historical_features` does."""
        readers = self._training(self.reader, [(d.user_id, d, 0) for d in decisions])
        articles = self._training(self.candidates, [(c, d, n) for d in decisions for n, c in enumerate(d.candidates)])
        found, start = [], 0
        for row, each in enumerate(decisions):
            end = start + len(each.candidates)
            of_reader = {name: values[row] for name, values in readers.items()}
            of_articles = {name: values[start:end] for name, values in articles.items()}
            found.append(Inputs(each.decided_at, each.device, of_reader, of_articles, end - start))
            start = end
        return found

    def _training(self, group: Group, rows: Sequence[tuple[str, Decision, int]]) -> dict[str, list[Any]]:
        if not group.features or not rows:
            return {name: [] for name in group.features}
        columns = {
            group.key: [key for key, _, _ in rows],
            **{view.known_feature: [d.token(view.name, n) for _, d, n in rows] for view in group.views},
        }
        found = training(self.repo, columns, [d.decided_at for _, d, _ in rows], group.features)
        return {name: values.to_pylist(maps_as_pydicts="strict") for name, values in found.items()}


def training(
    repo: Repo, columns: Mapping[str, Sequence[Any]], as_of: Sequence[int], features: Sequence[str]
) -> dict[str, pa.ChunkedArray]:
    """A training set: features `view:feature` of rows with these columns beside their instants, microseconds UTC.

    Raises as `get_historical_features` does.
    """
    entity_df = pa.table({**columns, COLUMN: instants(as_of)}).to_pandas()
    table = repo.store.get_historical_features(entity_df, list(features), full_feature_names=True).to_arrow()
    return {name: table[name.replace(":", "__")] for name in features}


def instants(microseconds: Sequence[int]) -> pa.Array:
    """Microseconds UTC as Arrow's timestamps."""
    return pa.array(microseconds, pa.int64()).cast(INSTANT)
