"""The audit of live traffic: every logged answer has the bits that its token gives, and a changed one is found."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from dualpath.errors import InputError
from dualpath.parity.audit import audit
from dualpath.repo import Repo
from parity_tests import live
from parity_tests.console.commands import run_json

USERS = 20
COUNT = "user_activity__actions_30min"
TOKEN = "user_activity__known_user_activity"


@pytest.fixture(scope="module")
def served(spark: SparkSession, new_repo: Callable[[], Repo]) -> tuple[Repo, live.Live]:
    """A repo that was read while it streamed."""
    repo = new_repo()
    return repo, live.run(
        spark, repo, readers=2, every=0.002, interval=timedelta(seconds=0.1), requests=150, users=USERS, events=40
    )


@pytest.fixture
def repo(served: tuple[Repo, live.Live]) -> Iterator[Repo]:
    """The same; what a test does to its log is undone."""
    repo, _ = served
    before = {file: file.read_bytes() for file in files(repo)}
    yield Repo(repo.folder)
    for file in files(repo):
        if file in before:
            file.write_bytes(before[file])
        else:
            file.unlink()


def files(repo: Repo) -> list[Path]:
    return sorted((repo.folder / "data/served").rglob("*.parquet"))


def change(repo: Repo, column: str, make: Callable[[pa.ChunkedArray], pa.Array]) -> int:
    """Give a column of the first file other values; how many rows it has."""
    table = pq.read_table(files(repo)[0])
    at = table.column_names.index(column)
    pq.write_table(table.set_column(at, column, make(table[column])), files(repo)[0])
    return len(table)


def test_answers_at_now_beside_a_stream_are_derived_again_bit_for_bit(served: tuple[Repo, live.Live]) -> None:
    _, found = served
    assert (found.rows, found.cells) == (found.requests, found.requests * 10) and found.requests >= 300
    assert (found.differing, found.passed) == (0, True)
    assert found.late_rows > 0, "no answer knew less than the log, so nothing was shown"


def test_a_value_that_was_not_served_is_found_and_named(repo: Repo) -> None:
    rows = audit(repo, 0).rows
    changed = change(repo, COUNT, lambda column: pa.array([value + 1 for value in column.to_pylist()], pa.int64()))
    found = audit(repo, 0)
    assert (found.rows, found.differing, found.passed) == (rows, changed, False)
    assert {each.feature: each.differing for each in found.features if each.differing} == {
        "user_activity:actions_30min": changed
    }
    for cell in found.cells:
        assert cell.same_declaration and cell.served == cell.derived + 1 and cell.keys["user_id"].startswith("u")


def test_a_token_of_an_earlier_batch_is_not_the_one_that_was_served(repo: Repo) -> None:
    change(repo, TOKEN, lambda column: pa.array(["q1b0"] * len(column)))
    found = audit(repo, 0)
    assert found.differing > 0 and not found.passed


def test_a_row_that_does_not_say_what_it_knew_fails_the_audit(repo: Repo) -> None:
    changed = change(repo, TOKEN, lambda column: pa.nulls(len(column), pa.string()))
    found = audit(repo, 0)
    assert (found.untold, found.differing, found.passed) == (changed, 0, False)


def test_a_batch_that_the_record_files_do_not_have_yet_waits(repo: Repo) -> None:
    changed = change(repo, TOKEN, lambda column: pa.array(["q9b0"] * len(column)))
    found = audit(repo, 0)
    assert (found.waiting, found.differing, found.passed) == (changed, 0, True)


def test_a_changed_declaration_is_named_as_the_cause(repo: Repo) -> None:
    change(repo, COUNT, lambda column: pa.array([-1] * len(column), pa.int64()))
    change(repo, "user_activity__declaration", lambda column: pa.array(["another"] * len(column)))
    assert {cell.same_declaration for cell in audit(repo, 0).cells} == {False}


def test_what_was_logged_before_is_left_out(repo: Repo) -> None:
    with pytest.raises(InputError, match="nothing was logged since 2100-01-01"):
        audit(repo, 4_102_444_800_000_000)
    with pytest.raises(InputError, match="no feature service 'user_profile' has a logging_config"):
        audit(repo, 0, "user_profile")


def test_the_command_exits_with_0_if_every_bit_is_derived_again(repo: Repo) -> None:
    said = run_json("audit", "--repo", repo.folder, "--since", "2020-01-01")
    assert (said["passed"], said["differing"]) == (True, 0)
    assert said["compared"] == said["rows"] * 10


def test_the_command_names_the_events_that_an_earlier_answer_lacks(repo: Repo) -> None:
    change(repo, TOKEN, lambda column: pa.array(["q1b0"] * len(column)))
    said = run_json("audit", "--repo", repo.folder, "--since", "2020-01-01", code=1)
    causes = [cell["cause"] for cell in said["cells"] if cell["feature"].startswith("user_activity:")]
    assert causes
    for cause in causes:
        assert re.match(r"it is the value of (q1b[1-9]\d*|final), by \w+ \(not yet known for q1b0\)", cause), cause


def test_the_command_says_that_no_knowledge_gives_a_value(repo: Repo) -> None:
    change(repo, COUNT, lambda column: pa.array([-1] * len(column), pa.int64()))
    said = run_json("audit", "--repo", repo.folder, "--since", "2020-01-01", code=1)
    assert {cell["cause"][:22] for cell in said["cells"]} == {"neither the whole log "}
