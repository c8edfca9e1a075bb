"""The records of a small batch, arranged without Spark: they are those that Spark would have arranged."""

import itertools
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from dualpath.aggregates import ApproxDistinctCount
from dualpath.jobs import sink
from dualpath.online.small_batch import SmallBatch
from dualpath.online.spark_writer import record_rows
from dualpath.online.writer import TEXTS
from dualpath.repo import Repo
from dualpath.spark.admit import spark_type
from dualpath.spark.records import with_records
from dualpath.view import View
from parity_tests import faults
from parity_tests.conftest import REPOS, SOURCE, drain

START = datetime(2026, 3, 1, tzinfo=UTC)
Rows = Counter[tuple[str, str, str, tuple[int, ...]]]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Every aggregate over every kind of column, at exact and at coarse resolution."""
    folder = tmp_path_factory.mktemp("small_batch") / "wide"
    shutil.copytree(REPOS / "wide", folder, ignore=shutil.ignore_patterns("__pycache__"))
    repo = Repo(folder)
    repo.apply()
    return repo


def views_of(repo: Repo) -> list[View]:
    """The repo's, one whose records of a minute fold (of those in the repo, some sketch or dimension sets nearly all
    apart), and one with a sketch of fewer hashes than a minute has."""
    wide = repo.views["coarse"]
    names = ("count", "sum_integer", "min_decimal", "max_double", "first_text", "last_boolean")
    narrow = [feature for feature in wide.features if feature.name in names]
    assert len(narrow) == len(names)
    [sketch] = [feature for feature in wide.features if feature.name == "approxdistinctcount_integer"]
    brief = replace(sketch, aggregate=ApproxDistinctCount("clicks", error=0.5))
    more = {"narrow": narrow, "sketched": [brief]}
    return [*repo.views_of("visits"), *(replace(wide, name=n, features=tuple(fs)) for n, fs in more.items())]


def events(spark: SparkSession, repo: Repo, count: int) -> DataFrame:
    """Events of an hour as the log has them: several a minute, nulls among them, and some that were stamped ahead of
    their arrival, at the same instant too."""
    source, draw = repo.sources["visits"], np.random.default_rng(8)
    rows = []
    for number in range(count):
        time = START + timedelta(seconds=int(draw.integers(0, 150)) * 29)
        fields: list[Any] = [
            int(draw.integers(0, 3)),
            draw.choice(["home", "basket", "Ünï", None]),
            [2**63 - 1, 2**53 + 1, None][number % 3],
            int(draw.integers(-3, 1_000)) if number % 5 else None,
            Decimal(int(draw.integers(-999, 999))).scaleb(-2) if number % 7 else None,
            float(draw.choice([0.1, -0.0, 0.0, 5e-324, -1.5e300])) if number % 3 else None,
            [True, False, None][number % 3],
            time if number % 2 else None,
        ]
        arrival = time + timedelta(seconds=[0, -50, 400][number % 3])
        rows.append((f"v{number}", time, arrival, *fields, number % 3 == 2, f"2026-03-0{1 + number % 2}"))
    fields_ = ", ".join(f"`{f.name}` {spark_type(f)}" for f in source.fields)
    schema = (
        f"event_id string, event_time timestamp, arrival_time timestamp, {fields_}, late boolean, arrival_day string"
    )
    return spark.createDataFrame(rows, schema)


def arranged(repo: Repo, found: DataFrame, pieces: int = 1) -> list[tuple[str, str, str, tuple[int, ...]]]:
    """Rows for the writer, by way of `SmallBatch`."""

    def pack(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pydict(
            {"packed": [SmallBatch.packed([SmallBatch.of(batch) for batch in batches if batch.num_rows])]}
        )

    views = views_of(repo)
    tasks = with_records(found, views).repartition(pieces).mapInArrow(pack, "packed binary").collect()
    small_batch = SmallBatch.joined(task.packed for task in tasks)
    return [
        (row["view"], row["arrival_day"], row["entity"], tuple(row["words"]))
        for batch in small_batch.rows(views)
        for row in batch.to_pylist()
    ]


@pytest.mark.parametrize("pieces", [1, 3])
def test_the_records_of_a_small_batch_are_those_that_spark_arranges(
    pieces: int, spark: SparkSession, wide: Repo
) -> None:
    found = events(spark, wide, 1_500).cache()
    rows = arranged(wide, found, pieces)
    expected: Rows = Counter(
        (row["view"], row["arrival_day"], row["entity"], tuple(row["words"]))
        for row in record_rows(found, views_of(wide)).collect()
    )
    expected = Counter({row: 1 if row[0] == TEXTS else times for row, times in expected.items()})
    found.unpersist()
    assert {view for view, *_ in rows} == {TEXTS, "narrow", "sketched", *wide.views}
    assert Counter(rows) == expected
    assert sum(view == "narrow" for view, *_ in rows) < 1_000


def test_an_entitys_records_come_together_and_by_time(spark: SparkSession, wide: Repo) -> None:
    rows = [row for row in arranged(wide, events(spark, wide, 200)) if row[0] != TEXTS]
    runs = [rows[0][:3], *(row[:3] for before, row in itertools.pairwise(rows) if row[:3] != before[:3])]
    assert len(runs) == len(set(runs))
    assert all(before[3][0] <= row[3][0] for before, row in itertools.pairwise(rows) if before[:3] == row[:3])


def test_no_events_are_no_rows(spark: SparkSession, wide: Repo) -> None:
    assert arranged(wide, events(spark, wide, 1).where("false")) == []
    assert SmallBatch.joined([]).rows(wide.views_of("visits"))[0].num_rows == 0


@pytest.fixture
def served_by(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """By which way each batch reaches Redis."""
    ways: list[str] = []
    for name in ("write", "write_small_batch"):
        real: Callable[..., Any] = getattr(sink, name)
        monkeypatch.setattr(sink, name, lambda *a, real=real, name=name: (ways.append(name), real(*a))[1])
    yield ways


def test_a_batch_is_served_without_spark_if_it_is_small_and_so_was_the_one_before(
    spark: SparkSession, new_repo: Callable[[], Repo], served_by: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, lines = new_repo(), faults.payloads(faults.events())
    monkeypatch.setattr(sink, "SMALL_BATCH", 20)
    for piece in (lines[:200], lines[200:210], lines[210:220], lines[220:]):
        faults.post(repo, piece)
    for number, file in enumerate(sorted(repo.storage(SOURCE).folder("landing").iterdir())):
        os.utime(file, (number, number))  # the order they are read in
    drain(spark, repo, files_per_batch=1)
    assert served_by == ["write", "write", "write_small_batch", "write"]
    assert faults.misserved(repo, faults.log(repo)) == []
