"""What serving knew: tokens give the bits that were served, `known_at` those of the oracle; on every aggregate's kind.

Events come in no order, some several times, in four batches. A snapshot is published in between. After each batch the
same rows are served, each with its token.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from dualpath.aggregates import Sum
from dualpath.errors import InputError, StaleRecordsError
from dualpath.jobs import log_compaction
from dualpath.jobs.build import build
from dualpath.jobs.publish import publish
from dualpath.jobs.stream import start
from dualpath.kinds import INSTANT
from dualpath.online.connection import embedded_folder
from dualpath.parity.check import compare_with_oracle
from dualpath.parity.compare import differences
from dualpath.parity.events import read
from dualpath.parity.sample import draw
from dualpath.parity.views import ViewGroup, serve, train
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.schema import EventSource, integer, text
from dualpath.sources.directory import Directory
from dualpath.view import Feature, View
from dualpath.windows import hours
from parity_tests import generated
from parity_tests.generated import PUBLISHED, SEALED, drawn
from parity_tests.strategies import CLICKS, histories, wide_views

BATCHES, ROWS, SEED = 4, 60, 3


class Asked(NamedTuple):
    """Rows asked of a group of views, and what was served of them after each batch."""

    group: ViewGroup
    keys: list[pa.Array]
    as_of: np.ndarray
    served: list[dict[str, list[Any]]]


class World(NamedTuple):
    """A repo whose stream has read everything, and what it served on the way."""

    repo: Repo
    asked: list[Asked]
    log: pa.Table


@pytest.fixture(scope="module")
def world(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    events = generated.together([history for history, _ in drawn(histories(), 40, SEED)])
    repo = generated.declare(tmp_path_factory.mktemp("known") / "repo", drawn(wide_views(8), 6, SEED))
    source, storage, random = repo.sources[CLICKS.name], repo.storage(CLICKS.name), np.random.default_rng(SEED)
    columns = {key: pa.array([event[key] for event in events]) for key in ("user", "shop")}
    table = pa.table(columns | {"event_time": pa.array([event["event_time"] for event in events], INSTANT)})
    asked = [
        Asked(with_tokens(group), *draw(table.to_batches, group.views, ROWS, SEED), [])
        for group in generated.view_groups(repo)
    ]
    lines = np.repeat([generated.payload(event) for event in events], random.integers(1, 3, len(events)))
    random.shuffle(lines)
    landing = storage.folder("landing")
    landing.mkdir(parents=True)
    storage.close_day(SEALED)
    for number, part in enumerate(np.array_split(lines, BATCHES)):
        (landing / f"{number}.jsonl").write_text("\n".join(part) + "\n")
        start(spark, repo, source, Directory(landing, 1)).awaitTermination()
        if number == 1:
            storage.close_day(PUBLISHED)
            build(spark, repo, source)
            publish(spark, repo, repo.views_of(source.name), PUBLISHED)
        for each in asked:
            each.served.append(serve(repo, each.group, each.keys, each.as_of))
    build(spark, repo, source)
    yield World(repo, asked, read(storage, source))
    redis.stop(embedded_folder(repo.store.config))


def with_tokens(group: ViewGroup) -> ViewGroup:
    """A group whose requests ask what they know too."""
    return replace(group, refs=(*group.refs, *(f"{view.name}:{view.known_feature}" for view in group.views)))


def values(group: ViewGroup) -> ViewGroup:
    """A group without what it knows."""
    return replace(group, refs=tuple(ref for ref in group.refs if ":known_" not in ref))


def tokens(found: dict[str, list[Any]]) -> dict[str, list[str]]:
    """The columns of tokens among served values, as an `entity_df` has them."""
    return {ref.split(":")[1]: column for ref, column in found.items() if ":known_" in ref}


@pytest.fixture(params=["in process", "on Spark"])
def repo(request: pytest.FixtureRequest, world: World) -> Repo:
    """The repo, with a path for its training sets."""
    found = Repo(world.repo.folder)
    found.store.config.offline_store.spark_above_rows = 0 if request.param == "on Spark" else 10**9
    return found


def again(repo: Repo, each: Asked, found: dict[str, list[Any]]) -> list[Any]:
    """Where a training set with the tokens of served values differs from these."""
    group = values(each.group)
    return differences(
        {ref: found[ref] for ref in group.refs}, train(repo, group, each.keys, each.as_of, known=tokens(found))
    )


def test_tokens_give_the_bits_that_were_served(world: World, repo: Repo) -> None:
    for each in world.asked:
        for found in each.served:
            assert again(repo, each, found) == []


def test_without_tokens_what_was_served_early_differs(world: World) -> None:
    for each in world.asked:
        group = values(each.group)
        final = train(world.repo, group, each.keys, each.as_of)
        early = [{ref: found[ref] for ref in group.refs} for found in each.served]
        assert [bool(differences(found, final)) for found in early] == [True, True, True, False]


def test_a_row_says_the_last_batch_it_has(world: World) -> None:
    for each in world.asked:
        said = [{token for column in tokens(found).values() for token in column} for found in each.served]
        assert said == [{f"q1b{number}"} for number in range(BATCHES)]


def test_known_at_counts_what_had_arrived(world: World, repo: Repo) -> None:
    random = np.random.default_rng(SEED)
    arrived = world.log["arrival_time"].cast(pa.int64()).to_numpy()
    for each in world.asked:
        group = values(each.group)
        known_at = random.choice(arrived, len(each.as_of)) + random.integers(-1, 2, len(each.as_of))
        known = {"known_at": pd.to_datetime(known_at, unit="us", utc=True)}
        trained = train(repo, group, each.keys, each.as_of, known=known)
        cells, wrong = compare_with_oracle(
            group, [world.log], each.keys, each.as_of, trained, lambda *_: None, known_at=known_at
        )
        assert (cells, wrong) == (len(group.refs) * ROWS, [])
        assert differences(trained, train(repo, group, each.keys, each.as_of))  # else it would prove nothing


def test_a_lag_is_known_at_for_all_rows(world: World, repo: Repo) -> None:
    repo.store.config.offline_store.known_lag = pd.Timedelta(hours=6).to_pytimedelta()
    for each in world.asked:
        group = values(each.group)
        known = {"known_at": (each.as_of - 6 * 3_600_000_000).astype("datetime64[us]")}
        assert (
            differences(
                train(repo, group, each.keys, each.as_of), train(world.repo, group, each.keys, each.as_of, known=known)
            )
            == []
        )


def test_tokens_hold_after_the_log_is_compacted_and_read_anew(
    world: World, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_compaction, "FEW", 1)
    storage = world.repo.storage(CLICKS.name)
    before = len(storage.files())
    assert log_compaction.compact_log(spark, storage) and len(storage.files()) < before
    for index in (world.repo.root / "records").glob("*/index.json"):
        index.unlink()
    build(spark, world.repo, world.repo.sources[CLICKS.name])
    for each in world.asked:
        assert again(world.repo, each, each.served[0]) == []


def rows(each: Asked, **columns: Any) -> pd.DataFrame:
    """Two rows of a training set."""
    keys = {name: key.to_pylist()[:2] for name, key in zip(each.group.keys, each.keys, strict=True)}
    return pd.DataFrame(keys | {"event_timestamp": each.as_of[:2].astype("datetime64[us]")} | columns)


@pytest.mark.parametrize(
    ("given", "said"),
    {
        "no batch of the log": ("q1b9", "no finished batch 'q1b9', its last one is q1b3"),
        "an unknown query": ("q7b0", "no finished batch 'q7b0'"),
        "a number": (3, "row 0: 3 is not a token"),
        "none": (None, "row 0: the token is missing"),
    }.values(),
)
def test_a_token_that_cannot_be_honoured_is_refused(world: World, given: Any, said: str) -> None:
    each = world.asked[0]
    view = each.group.views[0]
    with pytest.raises((InputError, StaleRecordsError), match=said):
        frame = rows(each, **{view.known_feature: [given, "q1b0"]})
        world.repo.store.get_historical_features(frame, [each.group.refs[0]]).to_df()


def test_a_row_can_know_only_one_thing_and_says_it_of_every_view(world: World) -> None:
    each = next(each for each in world.asked if len(each.group.views) > 1)
    first, second = each.group.views[:2]
    refs = [f"{view.name}:{view.features[0].name}" for view in (first, second)]
    own = {first.known_feature: ["q1b0"] * 2}
    with pytest.raises(InputError, match=f"no tokens of view '{second.name}'"):
        world.repo.store.get_historical_features(rows(each, **own), refs, full_feature_names=True)
    with pytest.raises(InputError, match="a row can know only one thing"):
        both = rows(each, **own, known_at=each.as_of[:2].astype("datetime64[us]"))
        world.repo.store.get_historical_features(both, refs[:1])
    with pytest.raises(InputError, match="two columns of the same tokens"):
        twice = rows(each, **own, **{f"{first.name}__{first.known_feature}": ["q1b0"] * 2})
        world.repo.store.get_historical_features(twice, refs[:1])
    with pytest.raises(InputError, match="known_at, row 1: the instant is missing"):
        world.repo.store.get_historical_features(rows(each, known_at=[pd.Timestamp(0), pd.NaT]), refs[:1]).to_df()


def test_what_was_known_is_told_by_the_rows_or_nobody(world: World) -> None:
    each = world.asked[0]
    view = each.group.views[0]
    refs = [each.group.refs[0], f"{view.name}:{view.known_feature}", f"{view.name}:{view.arrived_feature}"]
    given = world.repo.store.get_historical_features(rows(each, **{view.known_feature: ["q1b0", "q1b1"]}), refs).to_df()
    assert given[view.known_feature].tolist() == ["q1b0", "q1b1"]
    alone = world.repo.store.get_historical_features(rows(each), refs[1:]).to_df()
    assert alone[[view.known_feature, view.arrived_feature]].isna().all(axis=None) and len(alone) == 2
    final = world.repo.store.get_historical_features(rows(each), refs).to_df()
    assert final[[view.known_feature, view.arrived_feature]].isna().all(axis=None)


def test_a_field_may_have_the_name_of_a_column_of_record_files(spark: SparkSession, tmp_path: Path) -> None:
    source = EventSource("visits", (text("user"), integer("arrived")))
    view = View("v0", ("user",), source, (Feature("total", Sum("arrived"), hours(1)),))
    repo = generated.declare(tmp_path / "repo", [view])
    landing = repo.storage("visits").folder("landing")
    landing.mkdir(parents=True)
    at = {"event_time": "2026-03-01T12:00:00Z", "arrival_time": "2026-03-01T12:00:01Z"}
    lines = [json.dumps({"event_id": f"{n}", "user": "ann", "arrived": n} | at) for n in (2, 5)]
    (landing / "0.jsonl").write_text("\n".join(lines) + "\n")
    try:
        start(spark, repo, repo.sources["visits"], Directory(landing)).awaitTermination()
        build(spark, repo, repo.sources["visits"])
        rows = {"user": ["ann"], "event_timestamp": ["2026-03-01T12:30:00Z"]}
        served = repo.store.get_online_features(["v0:total"], rows).to_dict()["total"]
        trained = repo.store.get_historical_features(pd.DataFrame(rows), ["v0:total"]).to_df()["total"].tolist()
        assert served == trained == [7]
    finally:
        redis.stop(embedded_folder(repo.store.config))
