"""Bounds: entities with too much state are found and nothing else changes; a sum that leaves 64 bits is an error that
names view and entity, wherever it is computed."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from dualpath.aggregates import Count, Sum
from dualpath.cli import app
from dualpath.console.live import read
from dualpath.declare import feature_view, view_of
from dualpath.errors import DeclarationError, InputError, carried
from dualpath.jobs.build import build
from dualpath.log.table import DEAD_LETTER
from dualpath.online import bounds, keys, manifest
from dualpath.online.bounds import LargeEntity, large_entities
from dualpath.online.connection import connect, embedded_folder
from dualpath.online.extent import Publication
from dualpath.online.writer import FencedWrite
from dualpath.plan import FoldError
from dualpath.record import Fence, compact, layout
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.spark.records import records
from dualpath.view import MAX_RECORDS, Feature, View
from dualpath.windows import SECOND, hours, lifetime
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE, drain
from parity_tests.events import dictionary, values
from parity_tests.shrink import frame
from parity_tests.strategies import CLICKS

VIEW = "product_activity"
DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")
QUARTER = MAX_RECORDS // bounds.SHARE


@pytest.fixture(scope="module")
def emptied(new_repo: Callable[[], Repo]) -> Repo:
    """A repo whose views have these three days as their arrival days."""
    repo = new_repo()
    for name in repo.views:
        manifest.place(connect(repo.redis_address), repo.project, name, manifest.Manifest("n1").with_arrival_days(DAYS))
    return repo


@pytest.fixture
def repo(emptied: Repo) -> Iterator[Repo]:
    """Without state."""
    yield emptied
    client = connect(emptied.redis_address)
    for key in [*dict(keys.states(client, "shop", views=[VIEW])), keys.large_entities("shop", VIEW)]:
        client.delete(key)


def write(
    repo: Repo,
    sizes: dict[str, int],
    *,
    day: str = DAYS[0],
    batch: int = 1,
    publication: Publication | None = None,
) -> None:
    """Write so many records of each product."""
    view = repo.views[VIEW]
    words = np.arange(sum(sizes.values()) * layout(view).width, dtype=np.int64)
    lists = pa.ListArray.from_arrays(pa.array(np.arange(0, len(words) + 1, layout(view).width, dtype=np.int32)), words)
    entities = [name for name, records in sorted(sizes.items()) for _ in range(records)]
    columns = [pa.array([each] * len(entities)) for each in (VIEW, day)]
    rows = pa.record_batch([*columns, pa.array(entities), lists], ["view", "arrival_day", "entity", "words"])
    part = replace(repo.destination(view, "n1"), publication=publication)
    list(FencedWrite(repo.redis_address, repo.project, {VIEW: part}, Fence(1, batch)).write([rows]))


def found(repo: Repo) -> list[LargeEntity]:
    return large_entities(connect(repo.redis_address), repo.project, repo.views.values())


def over_bound(entity: str, records: int) -> LargeEntity:
    return LargeEntity(VIEW, entity, records, MAX_RECORDS)


# --- state


def test_an_entity_is_over_its_bound_from_one_record_too_many_on(repo: Repo) -> None:
    write(repo, {"light": 10, "full": MAX_RECORDS, "heavy": MAX_RECORDS + 1})
    assert found(repo) == [over_bound("heavy", MAX_RECORDS + 1)]


def test_an_append_that_passes_the_bound_is_seen(repo: Repo) -> None:
    write(repo, {"grows": MAX_RECORDS})
    assert found(repo) == []
    write(repo, {"grows": 2}, batch=2)
    assert found(repo) == [over_bound("grows", MAX_RECORDS + 2)]


def test_all_parts_that_are_served_count_together_and_the_largest_entity_comes_first(repo: Repo) -> None:
    for day in DAYS:
        write(repo, {"spread": 40_000, "larger": 50_000, "within": 33_000}, day=day)
    write(repo, {"larger": 200_000}, day="2026-03-09")  # not served
    assert found(repo) == [over_bound("larger", 150_000), over_bound("spread", 120_000)]


def test_an_entity_that_has_shrunk_is_over_its_bound_no_more(repo: Repo) -> None:
    write(repo, {"compacted": MAX_RECORDS + 1}, publication=Publication(1, DAYS[0]))
    client = connect(repo.redis_address)
    known = manifest.read(client, repo.project, VIEW)
    manifest.move(client, repo.project, VIEW, lambda p: replace(p, snapshot=DAYS[0], arrival_days=()))
    assert found(repo) == [over_bound("compacted", MAX_RECORDS + 1)]
    write(repo, {"compacted": 5}, publication=Publication(2, DAYS[0]))
    assert found(repo) == []
    manifest.move(client, repo.project, VIEW, lambda _: known)


def test_a_writer_that_died_before_it_noted_an_entity_notes_it_when_it_repeats_the_write(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as faulty:
        faults.crash(faulty, bounds, "note")
        with pytest.raises(faults.Crash):
            write(repo, {"heavy": MAX_RECORDS + 1})
    assert found(repo) == []
    write(repo, {"heavy": MAX_RECORDS + 1})
    assert found(repo) == [over_bound("heavy", MAX_RECORDS + 1)]


def test_only_entities_with_a_large_part_are_noted_and_only_so_many(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "NOTED", 2)
    client, name = connect(repo.redis_address), keys.large_entities(repo.project, VIEW)
    write(repo, {"small": QUARTER})
    assert client.zcard(name) == 0
    write(repo, {"one": QUARTER + 1, "three": QUARTER + 3})
    write(repo, {"two": QUARTER + 2})
    assert client.zrange(name, 0, -1) == [b"two", b"three"]
    write(repo, {"three": QUARTER + 1}, day=DAYS[1])
    assert client.zrange(name, 0, -1) == [b"two", b"three"], "a smaller part of an entity counts less"


def test_status_names_entities_over_their_bound(repo: Repo) -> None:
    write(repo, {"heavy": MAX_RECORDS + 1})
    told = json.loads(CliRunner().invoke(app, ["status", "--repo", str(repo.folder), "--json"]).stdout)
    assert told["over_bound"] == [{"view": VIEW, "entity": "heavy", "records": 100_001, "bound": 100_000}]
    shown = CliRunner().invoke(app, ["status", "--repo", str(repo.folder)])
    assert shown.exit_code == 0
    [line] = [line for line in shown.stdout.splitlines() if "100,001" in line]
    assert line.split() == [VIEW, "heavy", "100,001", "100,000"]


def test_without_large_entities_status_has_no_table_of_them(repo: Repo) -> None:
    told = json.loads(CliRunner().invoke(app, ["status", "--repo", str(repo.folder), "--json"]).stdout)
    assert told["over_bound"] == []
    assert "max_records" not in CliRunner().invoke(app, ["status", "--repo", str(repo.folder)]).stdout


# --- the declaration


def bounded(**options: Any) -> View:
    return View("clicks_by_user", ("user",), CLICKS, (Feature("n", Count(), hours(1)),), **options)


def test_the_bound_is_part_of_the_declaration_and_not_of_the_records() -> None:
    view = bounded(max_records=7)
    assert View.from_dict(json.loads(json.dumps(view.to_dict()))) == view
    assert layout(view) == layout(bounded())
    earlier = {key: value for key, value in view.to_dict().items() if key != "max_records"}
    assert View.from_dict(earlier) == bounded()


def test_a_feature_view_takes_a_bound(applied: Path) -> None:
    [user] = [each for each in Repo(applied).store.list_entities() if each.name == "user"]
    source = Repo(applied).sources[SOURCE]
    features = [Feature("n", Count(), hours(1))]
    declared = feature_view("small", entity=user, source=source, features=features, max_records=7)
    assert view_of(declared).max_records == 7
    with pytest.raises(DeclarationError, match="view 'none': max_records=0 lets no event in"):
        feature_view("none", entity=user, source=source, features=features, max_records=0)


# --- overflow

LARGE = """
from datetime import timedelta

from entities import user
from sources import shop_events

from dualpath.aggregates import Sum
from dualpath.declare import feature, feature_view
from dualpath.windows import hours

large = feature_view(
    "large",
    entity=user,
    source=shop_events,
    features=[feature("squares", Sum("quantity * quantity"), over=hours(1))],
    max_records=3,
)
by_minute = feature_view(
    "by_minute",
    entity=user,
    source=shop_events,
    resolution=timedelta(minutes=1),
    features=[feature("squares", Sum("quantity * quantity"), over=hours(1))],
)
"""
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SENTENCE = "view '{}', feature 'squares': the sum leaves 64 bits; bound the field's values or narrow the window."


@pytest.fixture(scope="module")
def large(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, applied: Path) -> Iterator[Repo]:
    """A repo in which `ann` has 103 events of 9 * 10^16 within a second, `bob` one less, and one of `eve` is larger."""
    folder = tmp_path_factory.mktemp("large") / "feature_repo"
    shutil.copytree(applied, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "large.py").write_text(LARGE)
    repo = Repo(folder)
    repo.apply()
    who = ["ann"] * 103 + ["bob"] * 102 + ["eve"]
    events = [
        {
            "user_id": name,
            "action": "buy",
            "quantity": 10**9 if name == "eve" else 3 * 10**8,
            "event_time": (NOON - timedelta(minutes=1, milliseconds=n)).isoformat(),
            "arrival_time": NOON.isoformat(),
        }
        for n, name in enumerate(who)
    ]
    try:
        faults.post(repo, [json.dumps(each).encode() for each in events])
        drain(spark, repo)
        build(spark, repo, repo.sources[SOURCE])
        yield repo
    finally:
        redis.stop(embedded_folder(repo.store.config))


def served(repo: Repo, view: str, users: Sequence[str]) -> list[int]:
    rows = [{"user_id": user, "event_timestamp": NOON} for user in users]
    return repo.store.get_online_features([f"{view}:squares"], rows).to_dict()["squares"]


def trained(repo: Repo, view: str, users: Sequence[str]) -> list[int]:
    frame = pd.DataFrame({"user_id": users, "event_timestamp": [NOON] * len(users)})
    return repo.store.get_historical_features(frame, [f"{view}:squares"]).to_df()["squares"].tolist()


def trained_on_spark(repo: Repo, view: str, users: Sequence[str]) -> list[int]:
    distributed = Repo(repo.folder)
    distributed.store.config.offline_store.spark_above_rows = 0
    return trained(distributed, view, users)


@pytest.mark.parametrize("view", ["large", "by_minute"])
@pytest.mark.parametrize("read", [served, trained, trained_on_spark])
def test_a_sum_that_leaves_64_bits_is_an_error_that_names_view_and_entity(
    read: Callable[[Repo, str, Sequence[str]], list[int]], view: str, large: Repo
) -> None:
    assert read(large, view, ["bob", "eve", "nobody"]) == [102 * 9 * 10**16, 0, 0]
    with pytest.raises(InputError) as raised:
        read(large, view, ["bob", "ann"])
    assert raised.value.message == f"{SENTENCE.format(view)} (entity 'ann')"


def test_the_stream_exports_how_many_entities_are_over_their_bound(large: Repo) -> None:
    exported = read(large.storage(SOURCE)).by("view", "dualpath_entities_over_bound")
    assert exported == {**dict.fromkeys(large.views, 0), "large": 2}


def test_an_event_that_a_view_cannot_calculate_with_is_refused_with_the_calculation(large: Repo) -> None:
    dead = logged.rows(large.storage(SOURCE), DEAD_LETTER)
    [row] = dead.to_pylist()
    assert json.loads(row["payload"])["user_id"] == "eve"
    assert row["reason"] == "quantity * quantity has more than seventeen digits"


def test_an_event_of_the_log_that_a_new_view_cannot_calculate_with_is_named(spark: SparkSession) -> None:
    view = View("cubes", ("user",), CLICKS, (Feature("total", Sum("quantity * quantity * quantity"), lifetime()),))
    event = {"event_id": "e7", "event_time": 0, "arrival_time": 0, "user": "ann", "quantity": 10**6}
    with pytest.raises(Exception, match="e7") as raised:
        records(frame(spark, view, [event]), [view]).collect()
    error = carried(raised.value)
    assert isinstance(error, InputError)
    assert re.match(r"view 'cubes': quantity \* quantity \* quantity has more .* \(event 'e7'\)", error.message)


def test_compaction_keeps_a_sum_that_leaves_64_bits_an_error() -> None:
    view = View("spent", ("user",), CLICKS, (Feature("total", Sum("quantity"), lifetime()),))
    for words in ([2**62, 2**62], [-(2**62), -(2**62), -1], [2**63 - 1, -5]):
        bag = np.array([[i, i, word] for i, word in enumerate(words)], dtype=np.int64)
        compacted = compact(bag, layout(view), view, earliest_as_of=9 * SECOND)
        assert len(compacted) == 1
        with pytest.raises(FoldError, match="view 'spent', feature 'total': the sum leaves 64 bits"):
            values(view, compacted, [9 * SECOND], dictionary(view, []))
    bag = np.array([[0, 0, 2**62], [1, 1, 2**62], [2, 2, -(2**62)]], dtype=np.int64)
    compacted = compact(bag, layout(view), view, earliest_as_of=9 * SECOND)
    assert values(view, compacted, [9 * SECOND], dictionary(view, [])) == {"total": [2**62]}
