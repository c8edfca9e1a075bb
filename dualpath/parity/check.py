"""The proof: what serving answers and what training holds, cell by cell, bit by bit.

Both sides are asked as a user would: `get_online_features` with an `event_timestamp` in every row, and
`get_historical_features` with the same rows as `entity_df`. A third answer, from the naive oracle over the
event log, is compared on a sample.
"""

import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pyarrow as pa

from dualpath.errors import InputError
from dualpath.offline.history import History
from dualpath.parity.asking import Family, Progress, families, serve, train
from dualpath.parity.compare import Difference, differences
from dualpath.parity.events import read
from dualpath.parity.instants import choose
from dualpath.repo import Repo
from dualpath.schema import EventSource

PACKAGES = ("dualpath", "feast", "pyspark", "numba", "numpy", "pyarrow", "redis")


@dataclass(frozen=True)
class Row:
    """The verdict on one feature."""

    view: str
    feature: str
    cells: int
    differing: int


@dataclass(frozen=True)
class Certificate:
    """What was compared and what came out; the same repo, data and seed give the same certificate."""

    cells: int
    differing: int
    seed: int
    oracle_cells: int
    oracle_differing: int
    rows: tuple[Row, ...]
    examples: tuple[str, ...]
    versions: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing differs."""
        return self.cells > 0 and self.differing == 0 and self.oracle_differing == 0


def check(
    repo: Repo,
    *,
    cells: int = 100_000,
    oracle_cells: int = 2_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Certificate:
    """Compare at least `cells` (entity, instant, feature) cells, and `oracle_cells` of them with the oracle.

    Raises `InputError` if there are no events to compare, and `StateError` if record files were not built of all
    that the log has, as while a stream runs.
    """
    say = progress or (lambda stage, done, total: None)
    found = families(repo)
    features = sum(len(f.refs) for f in found)
    tally: dict[tuple[str, str], list[int]] = {}
    examples: list[str] = []
    judged = wrong = 0
    events = lru_cache(maxsize=1)(partial(_events, repo))  # one log at a time: it may be most of the memory
    for number, family in enumerate(found):
        keys, as_of = _chosen(events, family, -(-cells // features), seed + number)
        for each in family.views:
            History(repo.root).require(each)
        served, trained = serve(repo, family, keys, as_of, say), train(repo, family, keys, as_of, seed + number)
        unequal = differences(served, trained)
        for ref in family.refs:
            view, feature = ref.split(":")
            bad = [d for d in unequal if d.feature == ref]
            tally[view, feature] = [len(as_of), len(bad)]
            examples += [_example(d, family, keys, as_of, "served", "trained") for d in bad[:3]]
        if family.service:
            continue  # the oracle knows views by their own names, and has seen these
        rows = -(-oracle_cells // sum(len(v.features) for f in found if not f.service for v in f.views))
        asked, bad = judge(family, events(family.views[0].source), keys, as_of[:rows], trained, say)
        judged, wrong = judged + asked, wrong + len(bad)
        examples += [_example(d, family, keys, as_of, "trained", "oracle") for d in bad[:3]]
    table = tuple(Row(view, feature, *counts) for (view, feature), counts in sorted(tally.items()))
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):  # pyspark, where only serving is installed
            versions[package] = version(package)
    return Certificate(
        sum(r.cells for r in table),
        sum(r.differing for r in table),
        seed,
        judged,
        wrong,
        table,
        tuple(examples),
        versions,
    )


def _events(repo: Repo, source: EventSource) -> pa.Table:
    events = read(repo.storage(source.name), source)
    if not len(events):
        raise InputError(f"source '{source.name}' has no events yet; run `dualpath stream --once`.")
    return events


def _chosen(
    events: Callable[[EventSource], pa.Table], family: Family, rows: int, seed: int
) -> tuple[list[pa.Array], np.ndarray]:
    """Join keys by the family's columns, and instants int64[rows]; each view of a service has keys of its own."""
    columns: dict[str, pa.Array] = {}
    for number, names in enumerate(family.columns or (family.keys,)):
        view = family.views[number]
        keys, as_of = choose(events(view.source), (view, *family.views), rows, seed + number)
        columns = dict(zip(names, keys, strict=True)) | columns
    if family.service and (grain := max(view.resolution for view in family.views)) > 1:
        as_of = as_of // grain * grain - 1  # an instant suits one source's last event, and the views may have several
    return [columns[name] for name in family.keys], as_of


def judge(
    family: Family,
    events: pa.Table,
    keys: Sequence[pa.Array],
    as_of: np.ndarray,
    trained: dict[str, list[Any]],
    say: Progress,
) -> tuple[int, list[Difference]]:
    """Compare the first rows with the oracle: (cells compared, differences)."""
    from dualpath.parity.oracle_runner import answers

    asked = [(tuple(k[i].as_py() for k in keys), int(t)) for i, t in enumerate(as_of)]
    cells, bad = 0, []
    for number, view in enumerate(family.views):
        say("oracle", number, len(family.views))
        truth = answers(view, events, asked)
        left = {f"{view.name}:{f.name}": trained[f"{view.name}:{f.name}"][: len(asked)] for f in view.features}
        right = {f"{view.name}:{f.name}": [row[f.name] for row in truth] for f in view.features}
        cells += len(left) * len(asked)
        bad += differences(left, right)
    return cells, bad


def _example(d: Difference, family: Family, keys: Sequence[pa.Array], as_of: np.ndarray, left: str, right: str) -> str:
    who = ", ".join(f"{n}={k[d.row].as_py()}" for n, k in zip(family.keys, keys, strict=True))
    when = np.datetime64(int(as_of[d.row]), "us")
    return f"{d.feature} of {who} at {when}Z: {left} {d.left!r}, {right} {d.right!r}"
