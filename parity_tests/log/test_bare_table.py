"""Whoever reads the log as the Delta table that it is, without dualpath, counts what `dualpath status` counts."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from dualpath.log import batches, forms
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE
from dualpath.record import Fence
from dualpath.repo import Repo
from dualpath.schema import decimal, integer
from parity_tests import evolved, logged
from parity_tests.conftest import SOURCE
from parity_tests.console.commands import run_json, written

COUNTED = "SELECT outcome, count(*) AS n FROM log WHERE outcome <> 'batch' GROUP BY outcome ORDER BY outcome"
ACCOUNTS = """
    SELECT count(*) AS batches, sum(account.rows_read) AS rows_read, sum(account.accepted) AS accepted,
           sum(account.duplicate) AS duplicate, sum(account.dead_letter) AS dead_letter
    FROM log WHERE outcome = 'batch'
"""


def by_duckdb(folder: Path, query: str) -> list[dict[str, object]]:
    log = DeltaTable(folder).to_pyarrow_dataset()
    with duckdb.connect() as connection:
        return connection.register("log", log).sql(query).to_arrow_table().to_pylist()


def by_datafusion(folder: Path, query: str) -> list[dict[str, object]]:
    found = QueryBuilder().register("log", DeltaTable(folder)).execute(query)
    return pa.table(found.read_all()).to_pylist()


READERS: dict[str, Callable[[Path, str], list[dict[str, object]]]] = {"DuckDB": by_duckdb, "DataFusion": by_datafusion}


def assert_counted(repo: Repo) -> None:
    """Everybody counts what `dualpath status` does, by the rows and by the accounts."""
    said = run_json("status", "--files", "--repo", repo.folder)
    expected = {outcome: said[outcome] for outcome in (ACCEPTED, DUPLICATE, DEAD_LETTER) if said[outcome]}
    for name, ask in READERS.items():
        folder = repo.storage(SOURCE).folder("log")
        assert {row["outcome"]: row["n"] for row in ask(folder, COUNTED)} == expected, name
        [accounts] = ask(folder, ACCOUNTS)
        assert accounts == {each: said[each] for each in accounts} and accounts["batches"], name


def test_outsiders_count_what_status_counts(new_repo: Callable[[], Repo]) -> None:
    repo = new_repo()
    storage = repo.storage(SOURCE)
    for number in range(8):
        reasons = ["amount is not finite: NaN", "not a JSON object"][: number % 3]
        written(repo, number, number + 1, reasons, duplicate=number % 2)
    assert_counted(repo)
    batches.sum_up(storage.table)
    logged.compact(storage)
    assert_counted(repo)
    storage.table.vacuum()
    storage.table.remove_unused()
    assert_counted(repo)
    written(repo, 8, 3, ["user is missing"], duplicate=2)
    storage.table.checkpoint()
    assert_counted(repo)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A log of two declarations, with two arrival days."""
    found = evolved.storage(tmp_path)
    evolved.append(found, evolved.orders(integer("x")), [evolved.payload(n, x=n) for n in range(5)])
    evolved.append(found, evolved.orders(decimal("x", scale=2)), [evolved.payload(9, x="0.25")])
    letters = pa.table({"payload": ["{}", "["], "reason": ["x is missing", "not JSON: ["]})
    logged.append(found, evolved.orders(decimal("x", scale=2)), {(DEAD_LETTER, "2026-03-02"): letters})
    return found


@pytest.mark.parametrize("reader", READERS)
def test_outsiders_read_events_of_every_form_times_and_reasons(storage: Storage, reader: str) -> None:
    ask, folder = READERS[reader], storage.folder("log")
    query = """
        SELECT event_id, CAST(arrival_day AS VARCHAR) AS day, query, batch, event_time,
               coalesce(CAST("x" AS DOUBLE), CAST("x-decimal2" AS DOUBLE)) AS x
        FROM log WHERE outcome = 'accepted' ORDER BY event_id
    """
    found = ask(folder, query)
    expected = [f"2026-03-01 10:{number:02}:00+00:00" for number in (0, 1, 2, 3, 4, 9)]
    assert [str(row.pop("event_time")) for row in found] == expected
    assert found == [
        {"event_id": f"e{n}", "day": evolved.DAY, "query": 1, "batch": int(n == 9), "x": 0.25 if n == 9 else float(n)}
        for n in (0, 1, 2, 3, 4, 9)
    ]
    [reasons] = ask(folder, "SELECT count(DISTINCT reason) AS n, max(batch) AS last FROM log WHERE reason IS NOT NULL")
    assert reasons == {"n": 2, "last": 2}


def test_outsiders_see_a_batch_when_it_is_committed_and_can_tell_it_by_its_account(storage: Storage) -> None:
    """It is not finished yet: the online store may lack it."""
    source = evolved.orders(decimal("x", scale=2))
    logged.append(storage, source, {(ACCEPTED, evolved.DAY): pa.table({"event_id": ["late"]})}, finished=False)
    columns = forms.known(storage, source).columns(source)
    assert columns["x"] == "x-decimal2" and storage.reached() == (Fence(1, 2), Fence(1, 3))
    for ask in READERS.values():
        [found] = ask(storage.folder("log"), "SELECT count(*) AS n FROM log WHERE outcome = 'accepted' AND batch = 3")
        [last] = ask(storage.folder("log"), "SELECT max(batch) AS batch FROM log WHERE outcome = 'batch'")
        assert (found["n"], last["batch"]) == (1, 3)
    assert storage.accounts().total().accepted == 6
