"""Fields that are looked up as of event time, from files through every job to every answer, and a table's faults."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dualpath.dimension import dimension, lookup
from dualpath.errors import InputError, StateError
from dualpath.jobs.build import build
from dualpath.jobs.metrics import Metrics
from dualpath.jobs.nightly import nightly
from dualpath.jobs.sink import Sink
from dualpath.jobs.stream import start
from dualpath.log.accounts import Entry
from dualpath.log.table import ACCEPTED, DEAD_LETTER
from dualpath.online.connection import connect, embedded_folder
from dualpath.parity.check import check
from dualpath.parity.explain import explain
from dualpath.preview import preview
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.schema import EventSource, text
from dualpath.sources.dimensions import load
from dualpath.sources.directory import Directory
from dualpath.spark.admit import admit
from parity_tests import logged
from parity_tests.both_ways import served_and_trained
from parity_tests.conftest import REPOS

pytestmark = pytest.mark.slow
START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=1)
COUNT = 1_000
SHOPS = "chain,shop,batch,opened\nx,1,north,1772323200\nx,1,south,1772355600\ny,1,south,1772323200\n"
HEAD = "id,category,price,late,valid_from,gone\n"


def iso(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


def products(random: Random) -> dict[str, list[str | None]]:
    """Three versions of each of forty products, in any order."""
    rows = []
    for product in range(40):
        for version, minute in enumerate(sorted(random.sample(range(900), 3))):
            price = f"{random.randrange(5000) / 100:.2f}" if random.random() < 0.9 else None
            gone = iso(minute + 5) if random.random() < 0.2 else None
            rows.append((f"p{product}", f"c{product % 3}.{version}", price, iso(-minute), iso(minute), gone))
    random.shuffle(rows)
    return dict(zip(HEAD.strip().split(","), map(list, zip(*rows, strict=True)), strict=True))


def sale(random: Random, at: int) -> dict[str, Any]:
    """A sale of a product that may be unknown, or not known yet; it arrives up to a day late."""
    minute = random.randrange(0, 1_000 * 60) / 60
    return {
        "user": random.choice(("ann", "bob", "eve")),
        "sku": f"p{random.randrange(44)}" if random.random() < 0.97 else None,
        "chain": random.choice("xy"),
        "at": {"shop": 1},
        "quantity": at % 7,
        "event_time": iso(minute),
        "arrival_time": iso(minute + random.choice((0, 1, 400))),
    }


def write(repo: Repo, table: str) -> None:
    """Replace the table of products, as a producer of files does."""
    folder = repo.folder / "tables" / "products"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".new").write_text(table)
    (folder / ".new").replace(folder / "new.csv")


def land(repo: Repo, name: str, events: list[dict[str, Any]]) -> None:
    landing = repo.storage("sales").folder("landing")
    landing.mkdir(parents=True, exist_ok=True)
    hidden, at = landing / f".{name}", 1_772_000_000 + int(name)
    hidden.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    os.utime(hidden, (at, at))  # the stream reads files in the order of their times
    hidden.rename(landing / f"{name}.jsonl")


def drain(spark: SparkSession, repo: Repo, metrics: Metrics | None = None) -> None:
    source = repo.sources["sales"]
    start(
        spark, repo, source, Directory(repo.storage("sales").folder("landing"), 1), metrics=metrics
    ).awaitTermination()


def rows(repo: Repo, outcome: str) -> list[dict[str, Any]]:
    return logged.rows(repo.storage("sales"), outcome).to_pylist()


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repo]:
    shutil.copytree(REPOS / "dimensions", tmp_path / "repo", ignore=shutil.ignore_patterns("__pycache__"))
    made = Repo(tmp_path / "repo")
    made.apply()
    (made.folder / "tables").mkdir()
    (made.folder / "tables" / "shops.csv").write_text(SHOPS)
    yield made
    redis.stop(embedded_folder(made.store.config))


def test_what_is_looked_up_is_the_same_in_the_log_previewed_served_and_trained(spark: SparkSession, repo: Repo) -> None:
    random = Random(3)
    table, events = products(random), [sale(random, at) for at in range(COUNT)]
    folder = repo.folder / "tables" / "products"
    folder.mkdir()
    pq.write_table(pa.table(table), folder / "all.parquet")
    unknown = events[0] | {"chain": None, "user": "lost"}
    land(repo, "1", [*events[: COUNT // 2], unknown])
    land(repo, "2", [*events[COUNT // 2 :], *events[::7]])
    drain(spark, repo)
    [dead] = rows(repo, DEAD_LETTER)
    at = f"{datetime.fromisoformat(unknown['event_time']).isoformat(timespec='microseconds').removesuffix('+00:00')}Z"
    assert dead["reason"] == f"shops has no version of chain null, shop 1 at {at}"

    # The log has of each event what DuckDB's ASOF JOIN finds.
    logged = {key(row): row for row in rows(repo, ACCEPTED)}
    assert len(logged) == COUNT
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    times = [datetime.fromisoformat(event["event_time"]) for event in events]
    engine.register("sold", pa.table({"number": range(COUNT), "sku": [e["sku"] for e in events], "sold_at": times}))
    engine.register("versions", pa.table(table))
    joined = engine.execute(
        "SELECT IF(live, category, NULL), IF(live, price::DECIMAL(18, 2), NULL), IF(live, late, NULL)::TIMESTAMPTZ FROM"
        " (SELECT *, coalesce(sold_at < gone::TIMESTAMPTZ, TRUE) AS live FROM sold ASOF LEFT JOIN versions "
        "ON sku = id AND sold_at >= valid_from::TIMESTAMPTZ) ORDER BY number"
    ).fetchall()
    names = ("product_category", "product_price", "product_late")
    assert [tuple(logged[key(event)][name] for name in names) for event in events] == joined
    assert 100 < sum(each[0] is None for each in joined) < 900
    assert Counter(logged[key(e)]["field-batch"] for e in events) == Counter(
        "south" if e["chain"] == "y" or e["event_time"] >= iso(540) else "north" for e in events
    )

    source = repo.sources["sales"]
    tables = {each.dimension.name: load(each.dimension, repo.folder) for each in source.lookups}
    for night in (False, True):
        if night:
            # Later corrections do not rewrite the past.
            write(repo, f"{HEAD}p1,other,1,,2000-01-01T00:00:00Z,\n")
            shutil.rmtree(repo.storage("sales").folder("dimensions"))
            gate = nightly(spark, repo, source, START.date()).gate
            assert gate.passed
        else:
            build(spark, repo, source)
        for view in repo.views.values():
            previewed = preview(view, events, END, dimensions=tables)
            served, trained = served_and_trained(repo, view, previewed, END)
            assert served == trained == previewed
    proof = check(repo, cells=1_000, oracle_cells=300, seed=0)
    assert (proof.differing, proof.oracle_differing) == (0, 0)
    told = explain(repo, "of_category:sold", {"product_category": "c0.0"}, END).to_dict()
    assert len(told["counted"]) == sum(row["product_category"] == "c0.0" for row in logged.values())

    # A lost Redis is filled from the log, with the same answers.
    connect(repo.redis_address).flushall()
    drain(spark, repo)
    view = repo.views["of_user"]
    previewed = preview(view, events, END, dimensions=tables)
    assert served_and_trained(repo, view, previewed, END)[0] == previewed


def key(event: dict[str, Any]) -> tuple[Any, ...]:
    """What tells the events of the test apart, as payloads and as rows of the log."""
    time = event["event_time"]
    return (datetime.fromisoformat(time) if isinstance(time, str) else time, event["user"], event["quantity"])


def test_a_stream_whose_table_is_missing_or_broken_does_not_start_and_says_why(spark: SparkSession, repo: Repo) -> None:
    land(repo, "1", [sale(Random(0), 1)])
    with pytest.raises(InputError, match=r"^dimension 'products': .*tables/products is neither a file nor a folder"):
        drain(spark, repo)
    write(repo, f"{HEAD}p1,c,1,,2026-01-01T00:00:00Z,\np1,d,1,,2026-01-01T00:00:00Z,\n")
    with pytest.raises(InputError, match=r"new.csv, row 1 and .*new.csv, row 2 are both of id p1 from 2026-01-01T"):
        drain(spark, repo)
    assert rows(repo, ACCEPTED) == []


def test_a_table_that_is_replaced_serves_from_the_next_batch_on_and_a_broken_one_does_not(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    events = [sale(Random(0), at) | {"sku": "p1", "chain": "y", "quantity": at} for at in range(4)]
    tables = {
        0: f"{HEAD}p1,first,1,,2026-01-01T00:00:00Z,\n",
        1: f"{HEAD}p1,broken,one,,2026-01-01T00:00:00Z,\n",
        2: None,
        3: f"{HEAD}p1,second,2,,2026-01-01T00:00:00Z,\n",
    }
    land_of, metrics, refused = Sink.land, Metrics(), []

    def replaced(sink: Sink, frame: Any, number: int) -> None:
        new = tables[number]
        if new is None:
            shutil.rmtree(repo.folder / "tables" / "products")
        else:
            write(repo, new)
        land_of(sink, frame, number)
        labels = {"source": "sales", "dimension": "products"}
        refused.append(metrics.registry.get_sample_value("dualpath_dimension_refused", labels))

    monkeypatch.setattr(Sink, "land", replaced)
    write(repo, f"{HEAD}p1,before,0,,2026-01-01T00:00:00Z,\n")
    for at, event in enumerate(events):
        land(repo, str(at), [event])
    drain(spark, repo, metrics)
    found = {row["quantity"]: (row["product_category"], row["product_price"]) for row in rows(repo, ACCEPTED)}
    first, second = ("first", Decimal("1.00")), ("second", Decimal("2.00"))
    assert found == {0: first, 1: first, 2: first, 3: second}
    assert refused == [0, 1, 1, 0]
    said = [record.getMessage() for record in caplog.records if "last good table" in record.getMessage()]
    assert len(said) == 2
    assert said[0].endswith("row 1: price is not of kind decimal: one; correct the row. The last good table serves.")
    assert [file.suffix for file in repo.storage("sales").folder("dimensions").iterdir()].count(".arrow") == 2


@pytest.mark.parametrize("step", ["log", "serve"])
def test_a_batch_that_is_repeated_uses_the_tables_of_its_first_attempt(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    events = [sale(Random(at), at) | {"sku": "p1", "quantity": at} for at in range(40)]
    write(repo, f"{HEAD}p1,first,1,,2026-01-01T00:00:00Z,\n")
    land(repo, "1", events)
    with monkeypatch.context() as fault:
        fault.setattr(Sink, step, lambda *_: 1 / 0)
        with pytest.raises(Exception, match="ZeroDivisionError"):
            drain(spark, repo)
    # By these tables the batch would have other values, and refuse rows that were accepted.
    write(repo, f"{HEAD}p1,second,2,,2026-01-01T00:00:00Z,\n")
    (repo.folder / "tables" / "shops.csv").write_text(SHOPS.replace("y,", "z,"))
    land(repo, "2", [event | {"quantity": event["quantity"] + 40} for event in events])
    drain(spark, repo)
    found = Counter(row["product_category"] for row in rows(repo, ACCEPTED))
    in_x = sum(event["chain"] == "x" for event in events)
    assert 0 < in_x < 40
    assert found == {"first": 40, "second": in_x}
    assert len(rows(repo, DEAD_LETTER)) == 40 - in_x
    answer = repo.store.get_online_features(
        ["of_category:sold"], [{"product_category": "first", "event_timestamp": END}]
    ).to_dict()
    assert answer["sold"] == [sum(range(40))]


@pytest.mark.parametrize("required", [True, False])
def test_only_a_required_lookup_may_refuse_other_rows_of_a_batch_that_is_logged(required: bool) -> None:
    sink, entry = Sink.__new__(Sink), Entry(0, 1, rows_read=5, dead_letter=1)
    products = dimension("products", path="p.csv", keys=[text("sku")], fields=[text("category")])
    sink.source = EventSource("s", (text("sku"),), lookups=(lookup(products, required=required),))
    sink.recognise(entry, {"rows_read": 5, "skipped": 0, "dead_letter": 1})
    with nullcontext() if required else pytest.raises(StateError, match="batch 1 had 5 rows"):
        sink.recognise(entry, {"rows_read": 5, "skipped": 0, "dead_letter": 2})
    with pytest.raises(StateError, match="batch 1 had 5 rows when it was landed and has 4 now"):
        sink.recognise(entry, {"rows_read": 4, "skipped": 0, "dead_letter": 1})


def test_a_source_without_lookups_has_the_plan_that_it_had(spark: SparkSession) -> None:
    """Nothing of a lookup is in it: no Python, no column."""
    raw = spark.range(1).select(
        F.lit("{}").alias("value"),
        *(F.lit(None).cast(kind).alias(name) for name, kind in (
            ("event_id", "string"), ("arrival_time", "timestamp"), ("origin", "string"), ("position", "bigint"),
            ("refusal", "string"))),
        F.current_timestamp().alias("admitted_at"),
    )  # fmt: skip
    plan = admit(raw, EventSource("clicks", (text("user"),)))._jdf.queryExecution().toString()  # type: ignore[operator]
    assert "Arrow" not in plan and "__lookup" not in plan
