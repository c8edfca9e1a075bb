"""The served log takes what reads offer, never waits, and counts what it cannot keep."""

import logging
from collections.abc import Iterator
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

from dualpath.feast import served_log
from dualpath.feast.served_log import ServedLog
from dualpath.repo import Repo
from parity_tests.filled import fill

EVENT = {"user_id": "ann", "action": "view_item", "event_time": "2026-03-01T12:00:00Z"}
AT = "2026-03-01T12:00:01.000001Z"


@pytest.fixture(scope="module")
def filled(new_repo: Any) -> Repo:
    repo = new_repo()
    fill(repo, [EVENT | {"arrival_time": "2026-03-01T12:00:00Z"}])
    return repo


@pytest.fixture
def repo(filled: Repo) -> Iterator[Repo]:
    yield Repo(filled.folder)
    for file in (filled.folder / "data").glob("served/*.parquet"):
        file.unlink()


def log_of(repo: Repo) -> ServedLog:
    return repo.store._get_provider().online_store.served_log  # type: ignore[attr-defined]


def ask(repo: Repo, service: str = "audited_profile", *, full: bool = False) -> dict[str, list[Any]]:
    rows = [{"user_id": user, "event_timestamp": AT} for user in ("ann", "nobody")]
    found = repo.store.get_online_features(repo.store.get_feature_service(service), rows, full_feature_names=full)
    return found.to_dict()


def logged(repo: Repo) -> pa.Table:
    log_of(repo).flush()
    return pq.read_table(repo.folder / "data/served")


@pytest.mark.parametrize("full", [False, True])
def test_the_rows_have_feasts_columns_and_the_bits_that_were_served(repo: Repo, full: bool) -> None:
    answer, table = ask(repo, full=full), logged(repo).to_pydict()
    for ref, column in {"user_activity:actions_30min": [1, 0], "engagement:engagement_level": ["browsing"] * 2}.items():
        name = ref.replace(":", "__")
        assert table[name] == answer[name if full else ref.split(":")[1]] == column
    assert (table["user_id"], table["user_activity__known_user_activity"]) == (["ann", "nobody"], ["q1b1", "q0b0"])
    assert {at.isoformat() for at in table["user_orders__user_7d_orders__timestamp"]} == {
        "2026-03-01T12:00:01.000001+00:00"
    }
    assert table["user_activity__actions_30min__status"] == [FieldStatus.PRESENT, FieldStatus.NOT_FOUND]
    assert len({*table["__request_id"]}) == 1 and len(table["__log_timestamp"]) == 2


def test_a_service_without_logging_and_a_list_of_features_are_not_logged(repo: Repo) -> None:
    ask(repo, "user_profile")
    repo.store.get_online_features(["user_activity:actions_30min"], [{"user_id": "ann"}])
    log_of(repo).flush()
    assert not (repo.folder / "data/served").exists() or not [*(repo.folder / "data/served").iterdir()]
    assert log_of(repo).counts == {}


def test_a_sample_of_the_answers_is_logged(repo: Repo) -> None:
    log = log_of(repo)
    drawn = iter([0.2, 0.8, 0.4, 0.5])
    log.sample = SimpleNamespace(random=lambda: next(drawn))  # type: ignore[assignment]
    service = SimpleNamespace(logging_config=SimpleNamespace(sample_rate=0.5))
    assert [log.wants(service) for _ in range(4)] == [True, False, True, False]


def test_rows_beyond_the_bound_are_dropped_and_counted(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_log, "QUEUED_ROWS", 3)
    monkeypatch.setattr(served_log, "FILE_SECONDS", 3_600)
    for _ in range(3):
        assert ask(repo)["actions_30min"] == [1, 0]
    assert len(logged(repo)) == 2
    assert log_of(repo).counts == {"dropped": 4, "written": 2}


def test_rows_that_cannot_be_written_are_counted_and_reads_go_on(repo: Repo, caplog: pytest.LogCaptureFixture) -> None:
    folder = repo.folder / "data/served"
    if folder.exists():
        folder.rmdir()
    folder.write_text("a file in the place of a folder")
    with caplog.at_level(logging.ERROR):
        ask(repo)
        log_of(repo).flush()
    assert log_of(repo).counts == {"failed": 2}
    assert "2 served rows of 'audited_profile' could not be logged" in caplog.text
    folder.unlink()
    assert ask(repo)["actions_30min"] == [1, 0] and len(logged(repo)) == 2


def test_a_thread_that_is_gone_is_started_again(repo: Repo) -> None:
    """As in a process that was forked."""
    log_of(repo)._thread = SimpleNamespace(is_alive=lambda: False)  # type: ignore[assignment]
    ask(repo)
    assert len(logged(repo)) == 2


def test_where_no_thread_can_be_started_a_read_goes_on_and_its_rows_count_as_dropped(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refused(Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(served_log, "Thread", Refused)
    assert ask(repo)["actions_30min"] == [1, 0]
    assert log_of(repo).counts == {"dropped": 2}
