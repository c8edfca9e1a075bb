"""Buckets of record files: a read opens those of its entities, and answers are the bits of files without any."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dualpath import preview
from dualpath.aggregates import Count, LastK, Sum
from dualpath.files.parquet import dataset
from dualpath.jobs import build as job
from dualpath.known import Known
from dualpath.offline import buckets, history, local
from dualpath.offline.history import RECORDS, History, view_version
from dualpath.parts import parts
from dualpath.payloads import event
from dualpath.repo import Repo
from dualpath.schema import EventSource, integer, text
from dualpath.view import Feature, View
from dualpath.windows import hours
from parity_tests import faults
from parity_tests.conftest import SOURCE, drain

FIELDS = (text("user", required=True), integer("amount"))
CLICKS, ORDERS = EventSource("clicks", FIELDS), EventSource("orders", FIELDS)
FEATURES = (
    Feature("events", Count(), hours(2)),
    Feature("spent", Sum("amount"), hours(1)),
    Feature("last", LastK("amount", k=3), hours(3)),
)
ONE = View("one", ("user",), CLICKS, FEATURES)
TWO = View("two", ("user",), CLICKS, FEATURES, others=(ORDERS,))
DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")
NAMES = tuple(feature.name for feature in FEATURES)
USERS = [f"user {n}" for n in range(90)]
START, SPAN = datetime(2026, 3, 1, tzinfo=UTC), 6 * 3_600 * 10**6
BEGIN = int(START.timestamp()) * 10**6


RECORDS_A_DAY = 700


@cache
def records(view: View, seed: int) -> pa.Table:
    """Records of drawn events of a view of one source, of all but some of the users."""
    draw = np.random.default_rng(seed)
    events = [
        {
            "event_id": f"{view.source.name} {seed} {number}",
            "event_time": (START + timedelta(microseconds=int(draw.integers(0, SPAN)))).isoformat(),
            "user": str(draw.choice(USERS[:70])),
            "amount": int(draw.integers(1, 99)),
        }
        for number in range(RECORDS_A_DAY)
    ]
    entity, words = preview.records(view, [event(view, number, each) for number, each in enumerate(events)])
    columns = {
        "entity": entity,
        "words": words.tolist(),
        "arrived": words[:, 0] + draw.integers(0, SPAN, len(words)),
        "batch": draw.integers(0, 50, len(words)),
    }
    return pa.table(columns, RECORDS).sort_by("entity")


def publish(root: Path, view: View, *, split: Sequence[int]) -> History:
    """Publish records of three days; a day is split into so many buckets as `split` says, 0: none."""
    made = History(root)
    for part in parts(view):
        for number, (day, count) in enumerate(zip(DAYS, split, strict=True)):
            table, staged = records(part, seed=number + len(part.name)), root / "staged" / f"arrival_day={day}"
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(buckets, "BUCKETS", count or 1)
                of_row = buckets.of(table["entity"].combine_chunks())
                for bucket in range(count or 1):
                    folder = staged / f"bucket={bucket if count else buckets.ALL}"
                    folder.mkdir(parents=True)
                    pq.write_table(table.filter(pa.array(of_row == bucket)), folder / "part-0.parquet")
                made.publish(view_version(part), staged.parent, {day: f"{day}-x"}, len(table))
    return made


@pytest.mark.parametrize("by", [None, "arrived", "batch"])
@pytest.mark.parametrize("view", [ONE, TWO], ids=["one", "several"])
@pytest.mark.parametrize("split", [(8, 0, 8), (2, 16, 0), (0, 0, 0)], ids=str)
def test_a_training_set_bucket_after_bucket_has_the_same_bits(
    view: View, by: Any, split: Sequence[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever files there are, and however many entities a read takes for few."""
    draw, whole = np.random.default_rng(1), publish(tmp_path / "whole", view, split=(0, 0, 0))
    entity = pa.array(draw.choice([*USERS, "nobody", None], 1_000), pa.string())
    as_of = BEGIN + draw.integers(0, SPAN, 1_000)
    limits = draw.integers(0, 50, (1_000, 2) if view is TWO else 1_000)
    known = {None: None, "arrived": Known("arrived", as_of), "batch": Known("batch", limits)}[by]
    expected = pa.table(local.features(view, NAMES, entity, as_of, whole, known))
    assert len({*map(tuple, expected["last"].to_pylist())}) > 100
    split_up = publish(tmp_path / "split", view, split=split)
    for few, together in ((10**6, 10**9), (0, 10**9), (0, 0), (7, 0), (30, 0)):
        monkeypatch.setattr(history, "FILTERED_BELOW", few)
        monkeypatch.setattr(local, "FILTERED_BELOW", few)
        monkeypatch.setattr(local, "TOGETHER", together)
        found = local.features(view, NAMES, entity, as_of, split_up, known)
        assert pa.table(found).equals(expected), (few, together)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The day and the bucket of the files that each read opens, without the empty reads."""
    found: list[list[str]] = []

    def spied(paths: Sequence[str], schema: pa.Schema) -> ds.Dataset:
        if paths:
            places = [Path(path).parts for path in paths]
            found.append([" ".join(place[n].partition("=")[2] for n in (-4, -2)) for place in places])
        return dataset(paths, schema)

    monkeypatch.setattr(history, "dataset", spied)
    return found


def test_a_read_opens_the_files_of_its_entities_alone(tmp_path: Path, opened: list[list[str]]) -> None:
    made = publish(tmp_path, ONE, split=(8, 0, 8))
    [bucket] = buckets.of(pa.array(["user 3"])).tolist()
    table = made.records(ONE, pa.array(["user 3", None]))
    assert opened == [[f"{DAYS[0]} {bucket}-of-8", f"{DAYS[1]} all", f"{DAYS[2]} {bucket}-of-8"]]
    assert {*table["entity"].to_pylist()} == {"user 3"}


def test_many_entities_are_read_bucket_after_bucket(
    tmp_path: Path, opened: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No read has two buckets; files of all entities are read for each, and only the rows of its entities."""
    made, sizes = publish(tmp_path, ONE, split=(8, 0, 8)), []
    monkeypatch.setattr(history, "FILTERED_BELOW", 3)
    monkeypatch.setattr(local, "FILTERED_BELOW", 3)
    monkeypatch.setattr(local, "TOGETHER", 0)
    read = History.records

    def measured(*given: Any) -> pa.Table:
        sizes.append(len(found := read(*given)))
        return found

    monkeypatch.setattr(History, "records", measured)
    local.features(ONE, NAMES, pa.array(USERS), np.full(len(USERS), BEGIN + SPAN), made)
    of_buckets = [{name.split(" ")[1].split("-")[0] for name in each if "-of-" in name} for each in opened]
    assert all(len(each) <= 1 for each in of_buckets)
    assert {bucket for each in of_buckets for bucket in each} == {str(n) for n in range(8)}
    assert sum(sizes) == 3 * RECORDS_A_DAY > 2 * max(sizes)


@pytest.mark.parametrize("small", [0, 10**6])
def test_a_build_puts_large_days_into_sorted_buckets_and_small_ones_into_one_file(
    spark: SparkSession, new_repo: Any, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "SMALL_DAY", small)
    repo: Repo = new_repo()
    source, payloads = repo.sources[SOURCE], faults.payloads(faults.events())
    for some in (payloads[:-1], payloads[-1:]):
        faults.post(repo, some)
        drain(spark, repo)
        built = job.build(spark, repo, source)
    assert len(built) == 1, "the second build makes one day anew"
    first, *_, last = (History(repo.root).paths(view_version(view)) for view in repo.views_of(SOURCE))
    for lost in (first[0], last[-1]):
        Path(lost).unlink()
    assert len(job.build(spark, repo, source)) == 2, "of each of two views another day"
    for view in repo.views_of(SOURCE):
        paths = History(repo.root).paths(view_version(view))
        assert all(buckets.is_whole(path) == (small > 0) for path in paths)
        for path in paths:
            entities = pq.read_table(path)["entity"].combine_chunks()
            assert entities.to_pylist() == sorted(entities.to_pylist())
            if not small:
                [bucket] = {*buckets.of(entities).tolist()}
                assert [n for n in range(8) if buckets.has(path, n)] == [bucket]
        found = spark.read.parquet(*paths)
        assert found.columns == RECORDS.names
        if not small:
            of_spark = found.select(F.pmod(F.xxhash64("entity"), F.lit(buckets.BUCKETS))).distinct().collect()
            assert {row[0] for row in of_spark} == {n for n in range(8) if any(buckets.has(path, n) for path in paths)}
            assert len(of_spark) > 1
    assert faults.disagreements(repo, rows=100) == []
