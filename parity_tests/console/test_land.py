"""Commands that put events into the landing folder."""

import json
from pathlib import Path

import pandas as pd
import pytest

from dualpath.repo import Repo
from parity_tests.conftest import SOURCE
from parity_tests.console.commands import run_json


def landed(repo: Repo) -> list[Path]:
    return sorted(repo.storage(SOURCE).folder("landing").glob("*"))


def test_generated_events_land_beside_those_that_are_there(repo: Repo) -> None:
    for seed in ("1", "2"):
        assert run_json("generate", "--repo", repo.folder, "--events", "300", "--seed", seed)["rows"] == 300
    first, second = landed(repo)
    assert first.name.startswith("00000000-")
    assert second.name.startswith("00000001-")
    assert first.read_bytes() != second.read_bytes()


def test_lines_of_json_land_as_they_are(repo: Repo, tmp_path: Path) -> None:
    content = b'{"user_id":"ann"}\n\nnot JSON\r\n\xff\xfe\n{"cut'
    (tmp_path / "events.jsonl").write_bytes(content)
    assert run_json("ingest", tmp_path / "events.jsonl", "--repo", repo.folder)["rows"] == 5
    [file] = landed(repo)
    assert file.read_bytes() == content + b"\n"


def test_cells_of_csv_land_as_their_text_and_empty_ones_not_at_all(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(
        "user_id,action,event_time,arrival_time,amount,quantity,shop\n"
        'ann,"view, twice",2026-03-01,2026-03-01,0010.50,,east\n'
    )
    run_json("ingest", tmp_path / "events.csv", "--repo", repo.folder)
    [file] = landed(repo)
    assert json.loads(file.read_text()) == {
        "user_id": "ann",
        "action": "view, twice",
        "event_time": "2026-03-01",
        "arrival_time": "2026-03-01",
        "amount": "0010.50",
    }


def test_columns_of_parquet_land_exactly(repo: Repo, tmp_path: Path) -> None:
    at = pd.to_datetime(["2026-03-01T12:00:00.000001Z"]).astype("datetime64[us, UTC]")
    events = pd.DataFrame({"user_id": ["ann"], "action": ["buy"], "event_time": at, "arrival_time": at, "quantity": 3})
    events.to_parquet(tmp_path / "events.parquet")
    run_json("ingest", tmp_path / "events.parquet", "--repo", repo.folder)
    [file] = landed(repo)
    assert json.loads(file.read_text())["event_time"] == "2026-03-01T12:00:00.000001Z"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("events.xlsx", b"PK", "no known kind"),
        ("events.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
        ("events.csv", b"user_id,action\nann,buy,more\n", "cannot be read as CSV"),
        ("events.csv", b"\xff\xfe\x00", "cannot be read as CSV"),
        ("events.csv", b"user_id,action,event_time\na,b,c\n", "no column arrival_time"),
        ("events.csv", b"user_id,action,event_time,arrival_time,action\na,b,c,d,e\n", "action stands there twice"),
        ("events.csv", b"", "cannot be read as CSV"),
    ],
)
def test_a_file_that_cannot_be_events_lands_nothing(
    untouched: Repo, tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert complaint in run_json("ingest", tmp_path / name, "--repo", untouched.folder, code=1)["error"]
    assert landed(untouched) == []


def test_a_dataset_without_its_folder_says_how_to_name_it(untouched: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DUALPATH_DATA", raising=False)
    assert "DUALPATH_DATA" in run_json("ingest", "ga4_shop_events", "--repo", untouched.folder, code=1)["error"]
