"""`dualpath status` and `dualpath doctor`: what they count, and when they fail."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from dualpath.log.outcomes import COUNTS
from dualpath.log.snapshot import DataFile
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER
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
    written(repo, 0, 5, ["amount is not finite: NaN", "amount is not finite: inf"], duplicate=2, rows_read=9)
    written(repo, 1, 3, ["not a JSON object"], late=1, latest_by=90_000_000, skipped=4, rows_read=8, further=6)
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
    written(repo, 0, 5, [], rows_read=6)
    written(repo, 1, 5, ["not a JSON object"], dead_letter=2, rows_read=7)
    written(repo, 2, 5, ["not a JSON object"])
    [_, lost, longer], [_, broken] = (storage.files(outcome) for outcome in (ACCEPTED, DEAD_LETTER))
    (storage.folder("log") / lost.path).unlink()
    (storage.folder("log") / broken.path).write_bytes(b"broken")
    with (storage.folder("log") / longer.path).open("ab") as file:
        file.write(b"more")
    said = run_json("status", "--repo", repo.folder, code=1)
    assert said["adds_up"] is False
    assert said["sources"][SOURCE]["faults"] == [
        "query=1/batch=0: rows were read, but their outcomes sum up to another number",
        f"log/{lost.path} is missing",
        f"log/{longer.path} has {longer.size + 4:,} bytes of {longer.size:,}",
        "the log holds 2 rows with the outcome dead_letter, and 3 are counted",
        f"log/{broken.path} has 6 bytes of {broken.size:,}",
    ]
    assert said["error"].count("log/outcome=") == 3


def test_files_are_opened_if_asked(repo: Repo) -> None:
    """One has the rows of others, and one has none, in as many bytes as the log says."""
    storage = repo.storage(SOURCE)
    for batch in range(3):
        written(repo, batch, 5 + batch % 2, ["not a JSON object"])
    folder, (less, more, broken) = storage.folder("log"), storage.files()
    sizes = [(folder / each.path).stat().st_size for each in (less, more)]
    content = (folder / less.path).read_bytes()
    (folder / more.path).write_bytes(content[:4] + b"." * (sizes[1] - sizes[0]) + content[4:])
    (folder / broken.path).write_bytes(b"." * broken.size)
    assert run_json("status", "--repo", repo.folder)["adds_up"] is True
    said = run_json("status", "--files", "--repo", repo.folder, code=1)
    other, unread = said["sources"][SOURCE]["faults"]
    assert other == f"log/{more.path} has 5 rows of 6"
    assert unread.startswith(f"log/{broken.path} cannot be read (")
    assert (said["accepted"], said["dead_letter"]) == (16, 3)


def test_status_fails_where_the_log_is_older_than_the_ledger(repo: Repo, tmp_path: Path) -> None:
    storage = repo.storage(SOURCE)
    written(repo, 0, 5, [])
    shutil.copytree(storage.folder("log"), tmp_path / "older")
    written(repo, 1, 5, [])
    shutil.rmtree(storage.folder("log"))
    shutil.copytree(tmp_path / "older", storage.folder("log"))
    said = run_json("status", "--repo", repo.folder, code=1)["sources"][SOURCE]
    assert said["faults"] == ["query=1/batch=1 was finished, and the log lacks it"] and said["accepted"] == 5


def test_status_fails_where_the_ledger_is_older_than_the_log(repo: Repo) -> None:
    storage = repo.storage(SOURCE)
    written(repo, 0, 5, [])
    older = (storage.folder("ledger") / "progress.json").read_text()
    written(repo, 1, 5, [])
    (storage.folder("ledger") / "progress.json").write_text(older)
    said = run_json("status", "--repo", repo.folder, code=1)["sources"][SOURCE]
    assert said["faults"] == ["the log has query=1/batch=1, and the ledger lacks it"] and said["accepted"] == 5


def test_a_batch_that_finishes_while_status_looks_is_no_fault(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    written(repo, 0, 5, ["not a JSON object"])
    real, later = Storage.files, iter([1])

    def late(storage: Storage, *arguments: Any) -> list[DataFile]:
        for batch in later:
            written(repo, batch, 5, ["not a JSON object"], duplicate=2)
            storage.begin(1, batch + 1)
        return real(storage, *arguments)

    monkeypatch.setattr(Storage, "files", late)
    said = run_json("status", "--repo", repo.folder)
    assert (said["adds_up"], said["accepted"]) == (True, 5)
    assert run_json("status", "--repo", repo.folder)["accepted"] == 10


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
