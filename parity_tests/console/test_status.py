"""`dualpath status` and `dualpath doctor`: what they count, and when they fail."""

from pathlib import Path

import pytest

from dualpath.log import ledger
from dualpath.log.outcomes import COUNTS
from dualpath.repo import Repo
from parity_tests.conftest import SOURCE
from parity_tests.console.commands import run, run_json, written


def test_a_repo_that_has_read_nothing_adds_up(untouched: Repo) -> None:
    said = run_json("status", "--repo", untouched.folder)
    assert [said[k] for k in ("rows_read", "accepted", "duplicate", "dead_letter", "late")] == [0] * 5
    assert said["adds_up"] is True
    assert "not running" in said["redis"]


def test_status_sums_batches_and_groups_reasons(repo: Repo) -> None:
    storage = repo.storage(SOURCE)
    written(storage, 0, 5, ["amount is not finite: NaN", "amount is not finite: inf"], duplicate=2, rows_read=9)
    written(storage, 1, 3, ["not a JSON object"], late=1, latest_by=90_000_000, skipped=4, rows_read=8, further=6)
    storage.begin(1, 2)
    said = run_json("status", "--repo", repo.folder)
    assert {k: said[k] for k in COUNTS} == {
        "rows_read": 17,
        "accepted": 8,
        "duplicate": 2,
        "dead_letter": 3,
        "skipped": 4,
        "late": 1,
        "out_of_retention": 0,
        "further": 6,
    }
    assert said["messages"] == 11
    assert (said["adds_up"], said["latest_by"], said["batches"]) == (True, "0:01:30", 2)
    shop = said["sources"][SOURCE]
    assert shop["dead_letter_reasons"] == {"amount is not finite": 2, "not a JSON object": 1}
    assert shop["unfinished_batches"] == 1


def test_status_fails_where_outcomes_do_not_sum_up_or_files_hold_other_rows(repo: Repo) -> None:
    storage = repo.storage(SOURCE)
    written(storage, 0, 5, [], rows_read=6)
    written(storage, 1, 5, ["not a JSON object"])
    written(storage, 2, 5, ["not a JSON object"])
    (storage.folder("log") / "query=1/batch=1/epoch=2026-03-01/part.parquet").unlink()
    (storage.folder("dead") / "query=1/batch=2/part.parquet").write_bytes(b"broken")
    said = run_json("status", "--repo", repo.folder, code=1)
    assert said["adds_up"] is False
    first, second, third = said["sources"][SOURCE]["faults"]
    assert first.startswith("query=1/batch=0: 6 rows read")
    assert second == "query=1/batch=1: log/ holds 0 rows of 5"
    assert third.startswith("query=1/batch=2: a file under dead/ cannot be read")


def test_files_of_batches_that_are_folded_into_a_block_are_opened_if_asked(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "BLOCK", 2)
    storage = repo.storage(SOURCE)
    for batch in range(4):
        written(storage, batch, 5, ["not a JSON object"])
    for kind in ("log", "dead"):
        for batch in (1, 3):
            [file] = (storage.folder(kind) / f"query=1/batch={batch}").rglob("*.parquet")
            file.unlink()
    lost = [f"query=1/batch=3: {kind}/ holds 0 rows of {rows}" for kind, rows in (("log", 5), ("dead", 1))]
    assert run_json("status", "--repo", repo.folder, code=1)["sources"][SOURCE]["faults"] == lost
    blocks = [
        f"query=1/batches=0-1: {kind}/ holds {rows} rows of {2 * rows}" for kind, rows in (("log", 5), ("dead", 1))
    ]
    said = run_json("status", "--files", "--repo", repo.folder, code=1)
    assert said["sources"][SOURCE]["faults"] == [*blocks, *lost]
    assert (said["accepted"], said["dead_letter"]) == (20, 4)


def test_status_fails_where_redis_does_not_answer(untouched: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALPATH_REDIS", "127.0.0.1:1,password=secret")
    said = run_json("status", "--repo", untouched.folder, code=1)
    assert said["error"] == said["redis"]
    assert said["redis"].startswith("Redis at 127.0.0.1:1 does not answer: ")
    assert said["adds_up"] is True


def test_the_doctor_needs_no_repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DUALPATH_REDIS", raising=False)
    said = run_json("doctor")
    assert said["ok"] is True
    assert {"Python", "Java", "Redis", "Disk"} <= {finding["name"] for finding in said["findings"]}


def test_the_doctor_asks_the_redis_of_the_repo_and_names_the_remedy(
    untouched: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = (untouched.folder / "feature_store.yaml").read_text()
    address = "127.0.0.1:1,password=secret"
    (tmp_path / "feature_store.yaml").write_text(
        configured.replace('connection_string: ""', f'connection_string: "{address}"')
    )
    result = run("doctor", "--repo", tmp_path)
    assert result.exit_code == 1
    assert "Redis" in result.stderr
    assert "secret" not in result.output


def test_stop_ends_the_embedded_redis_and_keeps_its_data(repo: Repo) -> None:
    assert repo.redis_address
    assert run_json("stop", "--repo", repo.folder) == {"stopped": True}
    assert run_json("stop", "--repo", repo.folder) == {"stopped": False}
    assert (repo.folder / "data/redis").is_dir()
