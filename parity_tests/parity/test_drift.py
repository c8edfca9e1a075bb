"""Drift has a cause: each of them is found where it was made, on a repo that was read while it streamed."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pyspark.sql import SparkSession

from dualpath.console.drift import run
from dualpath.errors import InputError
from dualpath.jobs.build import build
from dualpath.parity.drift import Drift, FeatureDrift, TrainingFile, drift
from dualpath.repo import Repo
from dualpath.view import digest
from parity_tests import faults
from parity_tests.conftest import SOURCE, drain
from parity_tests.parity.test_edges import DAY, MINUTE, NOON, SECOND, bought

USERS = ("calm", "behind", "late", "both")
READ = NOON + MINUTE
NEXT_DAY = READ + DAY
ACTIONS, LAST_ACTIVE = "user_activity:actions_30min", "user_activity:last_active"
ORDERS, LEVEL = "user_orders:user_7d_orders", "engagement:engagement_level"


def post(repo: Repo, amount: int, *users: str, delay: int = 0) -> None:
    """An order of each user, of noon, that arrives so much later."""
    faults.post(repo, [bought(user, NOON, f"{amount}.00", delay=delay)[1] for user in users])


def ask(repo: Repo, now: int) -> None:
    """Ask at `now`, and log the answers."""
    online: Any = repo.store._get_provider().online_store
    online.clock = lambda: now
    repo.store.get_online_features(repo.store.get_feature_service("audited_profile"), [{"user_id": u} for u in USERS])
    online.served_log.flush()


@pytest.fixture(scope="module")
def streamed(spark: SparkSession, new_repo: Callable[[], Repo]) -> Repo:
    """A repo that was read while an event waited for the stream, and before another arrived; then again a day later."""
    repo = new_repo()
    post(repo, 1, *USERS)
    drain(spark, repo)
    post(repo, 2, "behind", "both", delay=SECOND)
    ask(repo, READ)
    post(repo, 3, "late", "both", delay=2 * MINUTE)
    drain(spark, repo)
    ask(repo, NEXT_DAY)
    build(spark, repo, repo.sources[SOURCE])
    return repo


@pytest.fixture
def repo(streamed: Repo) -> Iterator[Repo]:
    """The same; what a test does to its log is undone."""
    before = {file: file.read_bytes() for file in (streamed.folder / "data/served").rglob("*.parquet")}
    yield Repo(streamed.folder)
    for file, content in before.items():
        file.write_bytes(content)


def change(repo: Repo, column: str, value: Any) -> None:
    """Give a column of all logged rows another value."""
    for file in (repo.folder / "data/served").rglob("*.parquet"):
        table = pq.read_table(file)
        values = pa.array([value] * len(table), table.schema.field(column).type)
        pq.write_table(table.set_column(table.column_names.index(column), column, values), file)


def of(found: Drift, ref: str) -> FeatureDrift:
    return next(each for each in found.features if each.feature == ref)


def causes(found: Drift, ref: str) -> dict[str, int]:
    return {cause: rows for cause, rows in of(found, ref).causes.items() if rows}


def saved(tmp_path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), tmp_path / "training.parquet")
    return tmp_path / "training.parquet"


def test_every_row_has_the_cause_that_was_made(streamed: Repo) -> None:
    """Of the four rows of the first read one is as it should be, and one has both causes."""
    found = drift(streamed, 0)
    expected = {"same": 5, "not yet streamed": 2, "late": 2}
    assert (found.rows, found.waiting, found.untold) == (8, 0, 0)
    assert causes(found, ORDERS) == expected
    assert causes(found, ACTIONS) == expected
    assert causes(found, LAST_ACTIVE) == causes(found, LEVEL) == {"same": 8}
    assert (of(found, LEVEL).main_cause, of(found, LEVEL).psi) == ("same", 0)
    assert {each.feature.split(":")[0] for each in found.features} == {"user_activity", "user_orders", "engagement"}


@pytest.mark.parametrize("user, cause", [("calm", "same"), ("behind", "not yet streamed"), ("late", "late")])
def test_the_main_cause_is_the_one_of_most_rows(repo: Repo, user: str, cause: str) -> None:
    for file in (repo.folder / "data/served").rglob("*.parquet"):
        table = pq.read_table(file)
        pq.write_table(table.filter(pc.equal(table["user_id"], user)), file)
    found = drift(repo, READ, READ + 1)
    assert (of(found, ORDERS).causes[cause], of(found, ORDERS).main_cause, found.rows) == (1, cause, 1)


def test_the_span_is_open_on_the_right(streamed: Repo) -> None:
    assert [drift(streamed, *ends).rows for ends in ((READ, NEXT_DAY), (READ, NEXT_DAY + 1), (READ + 1,))] == [4, 8, 4]
    with pytest.raises(
        InputError, match=r"nothing was logged since 1970-01-01T00:00:00.* and before 2026-03-04T12:01:00"
    ):
        drift(streamed, 0, READ)
    with pytest.raises(InputError, match="no feature service 'user_profile' has a logging_config"):
        drift(streamed, 0, service="user_profile")


def test_served_values_lie_beside_the_final_ones_of_the_same_rows_day_by_day(streamed: Repo) -> None:
    """Four users were served one order each, and had 1, 2, 2 and 3. A day later all were served."""
    orders = of(drift(streamed, 0), ORDERS)
    assert (orders.training.median, orders.served.median, orders.final_psi) == (2, 1, None)
    assert [(day.day, day.rows) for day in orders.days] == [("2026-03-04", 4), ("2026-03-05", 4)]
    # The shares of 1, 2 and 3 orders were 1/4, 1/2, 1/4 in training, and 1, 0, 0 as served.
    floor = 1e-4
    first = (1 - 0.25) * np.log(1 / 0.25) + sum((floor - t) * np.log(floor / t) for t in (0.5, 0.25))
    assert [day.psi for day in orders.days] == [pytest.approx(first), 0]
    assert of(drift(streamed, 0), ACTIONS).days[1].psi == 0, "nobody had done anything for a day, in training neither"


def test_a_row_that_was_served_by_another_declaration_has_no_other_cause(repo: Repo) -> None:
    change(repo, "user_activity__declaration", "another")
    found = drift(repo, 0)
    for ref in (ACTIONS, LEVEL):  # the level is computed from the view
        assert (causes(found, ref), of(found, ref).main_cause) == ({"definition changed": 8}, "definition changed")
    assert "definition changed" not in causes(found, ORDERS)
    change(repo, "user_activity__declaration", digest(repo.views["user_activity"]))
    change(repo, "user_orders__declaration", "another")
    found = drift(repo, 0)
    assert (of(found, ORDERS).main_cause, of(found, LEVEL).main_cause) == ("definition changed", "same")


def test_a_row_that_got_its_final_value_is_the_same_whatever_the_clocks_say(repo: Repo) -> None:
    change(repo, "__log_timestamp", NOON - 1)  # before any event arrived
    assert causes(drift(repo, 0), ORDERS) == {"same": 5, "not yet streamed": 3, "late": 3}


def test_a_batch_that_the_record_files_lack_waits_and_a_row_without_a_token_is_untold(repo: Repo) -> None:
    change(repo, "user_activity__known_user_activity", "q9b0")
    found = drift(repo, 0)
    assert (found.rows, found.waiting, found.untold, found.features, found.ages) == (8, 8, 0, (), ())
    change(repo, "user_activity__known_user_activity", None)
    found = drift(repo, 0)
    assert (found.rows, found.waiting, found.untold, found.features, found.ages) == (8, 0, 8, (), ())


@pytest.mark.parametrize("column", ["user_orders__user_7d_orders", "user_7d_orders"])
def test_a_world_that_changed_since_training_is_real_drift(streamed: Repo, tmp_path: Path, column: str) -> None:
    found = drift(streamed, 0, training=saved(tmp_path, {column: [9, 10, None, 12] * 250}))
    orders = of(found, ORDERS)
    assert (orders.main_cause, orders.training.null_share, orders.served.null_share) == ("real drift", 0.25, 0)
    assert orders.psi and orders.final_psi and orders.psi > 1 < orders.final_psi
    assert (of(found, ACTIONS).psi, of(found, ACTIONS).training.rows) == (None, 0), "the model does not use it"


def test_a_column_without_its_views_name_is_of_the_one_feature_of_this_name(tmp_path: Path) -> None:
    file = TrainingFile(saved(tmp_path, {"clicks": [1], "b__buys": [2], "buys": [3]}))
    service: Any = SimpleNamespace(columns={"a__clicks": "a:clicks", "a__buys": "a:buys", "b__buys": "b:buys"})
    assert [file.column(service, name).to_pylist() for name in service.columns] == [[1], [], [2]]


def test_what_was_served_late_is_no_real_drift(streamed: Repo, tmp_path: Path) -> None:
    """Training knew what the log has: 1, 2, 2, 3 orders. Chance alone makes so few rows differ."""
    found = drift(streamed, READ, READ + 1, training=saved(tmp_path, {"user_7d_orders": [1, 2, 2, 3] * 250}))
    orders = of(found, ORDERS)
    assert orders.psi and orders.psi > 1
    assert (orders.final_psi, orders.main_cause) == (0, "not yet streamed")
    few = drift(streamed, READ, READ + 1, training=saved(tmp_path, {"user_7d_orders": [1, 1, 2, 3]}))
    assert of(few, ORDERS).final_psi and of(few, ORDERS).main_cause == "not yet streamed"


def test_a_training_file_that_does_not_fit_is_refused(streamed: Repo, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training\.parquet has no column of a feature that was served; it may have "):
        drift(streamed, 0, training=saved(tmp_path, {"other": [1]}))
    with pytest.raises(InputError, match="feature 'user_orders:user_7d_orders': training has string, but int64 was"):
        drift(streamed, 0, training=saved(tmp_path, {"user_7d_orders": ["many"]}))
    for file in (tmp_path / "none.parquet", streamed.folder / "feature_store.yaml"):
        with pytest.raises(InputError, match=f"{re.escape(file.name)} cannot be read as Parquet"):
            drift(streamed, 0, training=file)


def test_the_age_is_from_the_newest_arrival_to_the_read(streamed: Repo) -> None:
    ages = {each.view: each for each in drift(streamed, READ, READ + 1).ages}
    assert {(each.rows, each.p50, each.p99) for each in ages.values()} == {(4, 60, 60)}
    assert [*ages] == ["user_activity", "user_orders"]


def test_the_report_is_ok_and_its_numbers_go_to_prometheus(streamed: Repo, tmp_path: Path) -> None:
    file = tmp_path / "drift.prom"
    trained = saved(tmp_path, {"user_7d_orders": [1, 2, 3, None]})
    report = run(streamed, "2026-03-01", "2026-03-31T00:00:00Z", "audited_profile", trained, file)
    assert report.ok and report.data["rows"] == 8 and report.shown
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    }
    service = "audited_profile"
    [orders] = [each for each in report.data["features"] if each["feature"] == ORDERS]
    assert samples["dualpath_drift_psi", ORDERS, service] == orders["psi"]
    assert ("dualpath_drift_psi", ACTIONS, service) not in samples
    assert samples["dualpath_drift_null_share", ORDERS, service, "training"] == 0.25
    assert samples["dualpath_drift_null_share", ORDERS, service, "served"] == 0
    assert samples["dualpath_drift_rows", "late", ORDERS, service] == 2
    assert samples["dualpath_served_age_seconds", "0.5", service, "user_orders"] > 60
    with pytest.raises(InputError, match=r"--until: 'noon' is not an instant; write it as 2026-03-04T12:00:00Z"):
        run(streamed, "2026-03-01", "noon", None, None, None)
    with pytest.raises(InputError, match=r"cannot be written \(No such file or directory\); name another"):
        run(streamed, "2026-03-01", None, None, None, tmp_path / "none" / "drift.prom")
