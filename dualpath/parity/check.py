"""The parity check: compares served and training values cell by cell, bit by bit.

Both sides are read as a user reads them: `get_online_features` with an `event_timestamp` in every row, and
`get_historical_features` with the same rows as `entity_df`. A sample is also compared with a naive oracle over the
event log.
"""

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from dualpath.errors import InputError
from dualpath.instants import iso
from dualpath.offline.history import History
from dualpath.parity.compare import Difference, differences
from dualpath.parity.events import Log
from dualpath.parity.sample import draw, happened
from dualpath.parity.views import Progress, ViewGroup, serve, train, view_groups
from dualpath.parts import parts
from dualpath.repo import Repo
from dualpath.view import View

PACKAGES = ("dualpath", "feast", "pyspark", "numba", "numpy", "pyarrow", "redis")


@dataclass(frozen=True)
class Row:
    """The result for one feature."""

    view: str
    feature: str
    cells: int
    differing: int


@dataclass(frozen=True)
class Certificate:
    """What was compared, and the result; the same repo, data and seed give the same certificate."""

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
        """Whether at least one cell was compared, and none differs."""
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

    Raises `InputError` if there are no events to compare, and `StaleRecordsError` if the record files lack events of
    the log, as while a stream runs.
    """
    say = progress or (lambda stage, done, total: None)
    found = view_groups(repo)
    features = sum(len(f.refs) for f in found)
    tally: dict[tuple[str, str], list[int]] = {}
    examples: list[str] = []
    oracle_compared = wrong = 0
    logs = _logs(repo)
    for number, group in enumerate(found):
        keys, as_of = _chosen(logs, group, -(-cells // features), seed + number)
        for each in group.views:
            History(repo.root).require(each)
        served, trained = serve(repo, group, keys, as_of, say), train(repo, group, keys, as_of, seed + number)
        unequal = differences(served, trained)
        for ref in group.refs:
            view, feature = ref.split(":")
            bad = [d for d in unequal if d.feature == ref]
            tally[view, feature] = [len(as_of), len(bad)]
            examples += [_example(d, group, keys, as_of, "served", "trained") for d in bad[:3]]
        if group.service:
            continue  # its views are compared with the oracle under their own names
        rows = -(-oracle_cells // sum(len(v.features) for f in found if not f.service for v in f.views))
        with TemporaryDirectory() as folder:
            of_entities = _copied(logs, group.views[0], keys, rows, Path(folder))
            compared, bad = compare_with_oracle(group, of_entities, keys, as_of[:rows], trained, say)
        oracle_compared, wrong = oracle_compared + compared, wrong + len(bad)
        examples += [_example(d, group, keys, as_of, "trained", "oracle") for d in bad[:3]]
    table = tuple(Row(view, feature, *counts) for (view, feature), counts in sorted(tally.items()))
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):  # pyspark, where only serving is installed
            versions[package] = version(package)
    return Certificate(
        sum(r.cells for r in table),
        sum(r.differing for r in table),
        seed,
        oracle_compared,
        wrong,
        table,
        tuple(examples),
        versions,
    )


def _logs(repo: Repo) -> dict[str, Log]:
    """The logs of the views' sources, by their names."""
    found = {}
    for name in dict.fromkeys(source.name for view in repo.views.values() for source in view.sources):
        found[name] = Log(repo.storage(name), repo.sources[name])
        if not found[name].files:
            raise InputError(f"source '{name}' has no events yet; run `dualpath stream --once`.")
    return found


def _chosen(logs: Mapping[str, Log], group: ViewGroup, rows: int, seed: int) -> tuple[list[pa.Array], np.ndarray]:
    """Join keys by the group's columns, and instants int64[rows]; each view of a service has its own keys."""
    columns: dict[str, pa.Array] = {}
    for number, names in enumerate(group.columns or (group.keys,)):
        view = group.views[number]
        events = partial(happened, view, [logs[source.name] for source in view.sources])
        keys, as_of = draw(events, (view, *group.views), rows, seed + number)
        columns = dict(zip(names, keys, strict=True)) | columns
    if group.service and (grain := max(view.resolution for view in group.views)) > 1:
        as_of = as_of // grain * grain - 1  # the instants were drawn for one source, and the views may have several
    return [columns[name] for name in group.keys], as_of


def _copied(logs: Mapping[str, Log], view: View, keys: Sequence[pa.Array], rows: int, to: Path) -> list[ds.Dataset]:
    """The events of the first rows' entities, of the log of each of the view's sources, in a folder."""
    entities = {each for each in zip(*(key[:rows].to_pylist() for key in keys), strict=True) if None not in each}
    return [logs[part.source.name].copy(part, entities, to / part.source.name) for part in parts(view)]


def compare_with_oracle(
    group: ViewGroup,
    logs: Sequence[pa.Table | ds.Dataset],
    keys: Sequence[pa.Array],
    as_of: np.ndarray,
    trained: dict[str, list[Any]],
    say: Progress,
    known_at: np.ndarray | None = None,
) -> tuple[int, list[Difference]]:
    """Compare the first rows with the oracle over the logs of the group's sources; returns the number of cells and the
    differences."""
    from dualpath.parity.oracle_runner import answers

    pairs = [(tuple(k[i].as_py() for k in keys), int(t)) for i, t in enumerate(as_of)]
    cells, bad = 0, []
    for number, view in enumerate(group.views):
        say("oracle", number, len(group.views))
        truth = answers(view, logs, pairs, None if known_at is None else known_at.tolist())
        left = {f"{view.name}:{f.name}": trained[f"{view.name}:{f.name}"][: len(pairs)] for f in view.features}
        right = {f"{view.name}:{f.name}": [row[f.name] for row in truth] for f in view.features}
        cells += len(left) * len(pairs)
        bad += differences(left, right)
    return cells, bad


def _example(
    d: Difference, group: ViewGroup, keys: Sequence[pa.Array], as_of: np.ndarray, left: str, right: str
) -> str:
    who = ", ".join(f"{n}={k[d.row].as_py()}" for n, k in zip(group.keys, keys, strict=True))
    when = iso(int(as_of[d.row]))
    return f"{d.feature} of {who} at {when}: {left} {d.left!r}, {right} {d.right!r}"
