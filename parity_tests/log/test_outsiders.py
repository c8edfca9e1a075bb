"""Engines that know nothing of dualpath read the log and the record files, and count what `dualpath status` counts."""

from collections.abc import Callable
from typing import Any

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from dualpath.console import status
from dualpath.jobs import log_compaction
from dualpath.jobs.build import build
from dualpath.offline.history import History, view_version
from dualpath.repo import Repo
from parity_tests import faults
from parity_tests.conftest import SOURCE, drain
from parity_tests.jobs.stream import LINES, POISON

COUNTED = ("accepted", "duplicate", "dead_letter")


@pytest.fixture(scope="module")
def repo(spark: SparkSession, new_repo: Callable[[], Repo]) -> Repo:
    """A repo whose log has files that a night has replaced, and which are still there, and a file that nobody has
    committed."""
    made = new_repo()
    faults.post(made, [*LINES, *POISON, *LINES[:50]], files=4)
    drain(spark, made, files_per_batch=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log_compaction, "FEW", 1)
        assert log_compaction.compact_log(spark, made.storage(SOURCE))
    build(spark, made, made.sources[SOURCE])
    storage = made.storage(SOURCE)
    [some, *_] = storage.files()
    (storage.folder("log") / some.path).with_name("part-of-nobody.parquet").write_bytes(b"")
    assert len([*storage.folder("log").rglob("part-*.parquet")]) > 2 * len(storage.files())
    return made


def by_polars(log: str) -> dict[str, Any]:
    rows = pl.scan_delta(log).group_by("outcome").len().collect()
    accounts = pl.scan_delta(log).filter(pl.col("outcome") == "batch").select("account").unnest("account").collect()
    sums = {name: accounts[name].sum() for name in COUNTED}
    return {"rows": dict(rows.iter_rows()), "sums": sums, "events": rows_of(pl.scan_delta(log).collect().to_arrow())}


def by_duckdb(log: str) -> dict[str, Any]:
    connection = duckdb.connect()
    connection.register("log", DeltaTable(log).to_pyarrow_dataset())
    rows = connection.sql("SELECT outcome, count(*) FROM log GROUP BY 1").fetchall()
    sums = ", ".join(f"sum(account.{name})" for name in COUNTED)
    [found] = connection.sql(f"SELECT {sums} FROM log WHERE outcome = 'batch'").fetchall()
    counts = {name: int(each) for name, each in zip(COUNTED, found, strict=True)}
    return {"rows": dict(rows), "sums": counts, "events": rows_of(connection.sql("FROM log").to_arrow_table())}


def rows_of(table: Any) -> set[tuple[Any, ...]]:
    """What the log says of accepted events: each id, with its arrival day."""
    found = table.select(["outcome", "event_id", "arrival_day"]).to_pylist()
    return {(row["event_id"], str(row["arrival_day"])) for row in found if row["outcome"] == "accepted"}


@pytest.mark.parametrize("read", [by_polars, by_duckdb])
def test_the_bare_table_has_the_counts_of_status(read: Callable[[str], dict[str, Any]], repo: Repo) -> None:
    said, found = status.report(repo, files=True), read(str(repo.storage(SOURCE).folder("log")))
    assert said.ok and said.data["dead_letter"] == len(POISON) and said.data["duplicate"] >= 50
    assert {name: found["rows"][name] for name in COUNTED} == {name: said.data[name] for name in COUNTED}
    assert found["sums"] == {name: said.data[name] for name in COUNTED}
    assert found["rows"]["batch"] == said.data["batches"] == 4
    assert len(found["events"]) == said.data["accepted"]
    assert {day for _, day in found["events"]} == {*repo.storage(SOURCE).arrival_days()}


def test_the_bare_record_files_have_the_records_of_every_view(repo: Repo) -> None:
    history = History(repo.root)
    for view in repo.views_of(SOURCE):
        found = (
            pl.scan_delta(str(history.folder(view_version(view)))).select("entity", "words", "arrival_day").collect()
        )
        own = pl.scan_parquet(history.paths(view_version(view)), hive_partitioning=True).select("entity", "words")
        assert found.drop("arrival_day").sort("entity", "words").equals(own.collect().sort("entity", "words"))
        assert {str(day) for day in found["arrival_day"]} <= {*repo.storage(SOURCE).arrival_days()}
        assert len(found) == sum(file.rows for file in history.table(view_version(view)).snapshot().files()) > 5
