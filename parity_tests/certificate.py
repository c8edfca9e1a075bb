"""The certificate: generated declarations over generated events, through every path, and that no bit differs.

Three parts. The *core*: thousands of small cases, the kernel against the oracle. The *engines*: hundreds of
declared features over hundreds of histories, streamed, built, published, served and trained for real, each
value against the other and against the oracle. *Known*: the same rows, trained on what had arrived by an instant,
against the oracle. The same seed gives the same certificate.
"""

import hashlib
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from dualpath.online.connection import embedded_folder
from dualpath.parity.check import PACKAGES, compare_with_oracle
from dualpath.parity.compare import differences
from dualpath.parity.events import read
from dualpath.parity.oracle import formerly
from dualpath.parity.sample import draw
from dualpath.parity.views import ViewGroup, serve, train
from dualpath.repo import Repo
from dualpath.runtime import redis
from parity_tests import generated, strategies
from parity_tests.cases import cases
from parity_tests.joined import Rows, joined
from parity_tests.shrink import Paste, disagreement, smallest
from parity_tests.strategies import CHANGED, COMBINATIONS, wide_views

Say = Callable[[str, int, int], None]
FEATURES = 20
"""In each generated view of the engines' part."""
VERSIONED = (*PACKAGES, "hypothesis", "duckdb")


@dataclass(frozen=True)
class Part:
    """What one part compared. `digest` is of the values' bits; `failures` are tests to paste."""

    name: str
    cases: int
    cells: int
    differing: int
    digest: str
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Certificate:
    """The parts, and what they were drawn and computed with."""

    seed: int
    parts: tuple[Part, ...]
    versions: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing differs."""
        return all(part.cells and not part.differing for part in self.parts)


def certify(
    spark: SparkSession, folder: Path, *, seed: int, cases: int, views: int, histories: int, rows: int, say: Say
) -> Certificate:
    """All parts; `cases` are for `core`, the rest for the others. `folder` must not exist."""
    parts = (core(seed, cases, say), *engines(spark, folder, seed, views, histories, rows, say))
    return Certificate(seed, parts, {"python": platform.python_version(), **{p: version(p) for p in VERSIONED}})


def core(seed: int, each: int, say: Say) -> Part:
    """The kernel against the oracle, on `each` cases for every aggregate and kind of column."""
    count = cells = differing = 0
    digest, failures = hashlib.sha256(), []
    for number, (aggregate, kind) in enumerate(COMBINATIONS):
        say("core", number, len(COMBINATIONS))
        for case in generated.drawn(cases(aggregate, kind), each, seed + number):
            found = case.values(case.words)
            bad = differences(found, case.truth())
            digest.update(json.dumps(found).encode())
            count, cells, differing = count + 1, cells + sum(map(len, found.values())), differing + len(bad)
            failures += [repr(Paste(case.view, case.events, case.who, case.instants[d.row])) for d in bad[:1]]
    say("core", len(COMBINATIONS), len(COMBINATIONS))
    return Part("core", count, cells, differing, digest.hexdigest(), tuple(failures[:1]))


def engines(
    spark: SparkSession, folder: Path, seed: int, views: int, histories: int, rows: int, say: Say
) -> tuple[Part, Part]:
    """Stream, batch, publication and both stores, against each other and the oracle; and what was known.

    `views` declarations of `FEATURES` features, and a fifth as many of versions of rows that look fields up, read
    `histories` histories. Each is asked at `rows` entities and instants that hurt. A case is a declaration over a
    history.
    """
    declared = generated.drawn(wide_views(FEATURES), views, seed)
    declared += generated.drawn(wide_views(FEATURES, CHANGED), changed(views), seed)
    events = generated.together([history for history, _ in generated.drawn(strategies.histories(), histories, seed)])
    table = max(generated.drawn(strategies.tables(), 20, seed), key=len)
    repo = generated.declare(folder, declared, table)
    try:
        say("stream and batch", 0, 1)
        generated.stream(spark, repo, events, seed)
        say("stream and batch", 1, 1)
        cases = len(declared) * histories
        everything = compared(spark, repo, events, table, cases, seed, rows, say)
        return everything, known(repo, table, cases, seed, rows, say)
    finally:
        redis.stop(embedded_folder(repo.store.config))


def changed(views: int) -> int:
    """How many declarations of versions of rows stand beside so many others."""
    return (views + 4) // 5


def compared(
    spark: SparkSession, repo: Repo, events: Rows, table: Rows, cases: int, seed: int, rows: int, say: Say
) -> Part:
    """What a filled repo serves and trains, and what the oracle says."""
    cells = differing = 0
    digest, failures = hashlib.sha256(), []
    for group in generated.view_groups(repo):
        log = _log(repo, group, table)
        keys, as_of = draw(log.to_batches, group.views, rows, seed)
        served, trained = serve(repo, group, keys, as_of, say), train(repo, group, keys, as_of)
        _, wrong = compare_with_oracle(group, [log], keys, as_of, trained, say)
        bad = differences(served, trained) + wrong
        digest.update(json.dumps(trained).encode())
        cells, differing = cells + len(group.refs) * len(as_of), differing + len(bad)
        for cell in bad[:1]:
            who = tuple(key[cell.row].as_py() for key in keys)
            happened = joined(group.views[0].source, events, table)
            failures.append(_case(spark, group, cell.feature, happened, who, int(as_of[cell.row])))
    return Part("engines", cases, cells, differing, digest.hexdigest(), tuple(failures[:1]))


def known(repo: Repo, table: Rows, cases: int, seed: int, rows: int, say: Say) -> Part:
    """What a filled repo trains on what had arrived by an instant, and what the oracle says."""
    random = np.random.default_rng(seed)
    cells = differing = 0
    digest, failures = hashlib.sha256(), []
    for group in generated.view_groups(repo):
        log = _log(repo, group, table)
        keys, as_of = draw(log.to_batches, group.views, rows, seed)
        arrived = log["arrival_time"].cast(pa.int64()).to_numpy()
        known_at = random.choice(arrived, rows) + random.integers(-1, 2, rows)
        trained = train(repo, group, keys, as_of, known={"known_at": known_at.astype("datetime64[us]")})
        _, wrong = compare_with_oracle(group, [log], keys, as_of, trained, say, known_at)
        digest.update(json.dumps(trained).encode())
        cells, differing = cells + len(group.refs) * len(as_of), differing + len(wrong)
        failures += [f"{d} at {np.datetime64(int(as_of[d.row]), 'us')}Z" for d in wrong[:1]]
    return Part("known", cases, cells, differing, digest.hexdigest(), tuple(failures[:1]))


def _log(repo: Repo, group: ViewGroup, table: Rows) -> pa.Table:
    """A group's events, with what a naive join looks up, whatever the log has of that.

    Files list rows in the order of a shuffle; what is asked must not depend on it.
    """
    source = group.views[0].source
    log = read(repo.storage(source.name), source).sort_by("event_id")
    names = [field.name for lookup in source.lookups for field in lookup.fields]
    keys = [name for lookup in source.lookups for name in lookup.on]
    events = log.select(keys).append_column("event_time", log["event_time"].cast(pa.int64())).to_pylist()
    found = joined(source, events, table) if names else []
    for name in names:
        column = pa.array([event[name] for event in found], log.schema.field(name).type)
        log = log.set_column(log.column_names.index(name), name, column)
    return log


def _case(spark: SparkSession, group: ViewGroup, ref: str, events: Rows, who: tuple, as_of: int) -> str:
    """The smallest test of a cell that differs, or what cannot be shown without the stores."""
    view = next(view for view in group.views if view.name == ref.split(":")[0])
    view = replace(view, features=tuple(f for f in view.features if f.name == ref.split(":")[1]))
    mine = [e for e in events if who in [tuple(of(e, key) for key in view.keys) for of in (dict.get, formerly)]]
    if not disagreement(spark, view, mine, who, as_of):
        return f"{ref} of {who} at {np.datetime64(as_of, 'us')}Z differs only on its way through the stores"
    return repr(Paste(view, smallest(mine, lambda e: bool(disagreement(spark, view, e, who, as_of))), who, as_of))
