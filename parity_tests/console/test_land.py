"""Commands that put events into the landing folder."""

import gzip
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from dualpath.repo import Repo
from parity_tests.conftest import SOURCE
from parity_tests.console.commands import run, run_json


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
        ("events.csv", b'"user_id,action\nann,buy\n', "the header cannot be read"),
        ("events.csv", b"\xff\xfe\x00", "is UTF-16; say so with --encoding utf-16"),
        ("events.csv.gz", b"no gzip", "cannot be read as CSV"),
        ("events.json", b'[{"user_id":"ann"}', "the array has no end"),
        ("events.csv", b"user_id,action,event_time\na,b,c\n", "no column arrival_time"),
        ("events.csv", b"user_id,action,event_time,arrival_time,action\na,b,c,d,e\n", "action stands there twice"),
        ("events.csv", b"", "has no column names"),
    ],
)
def test_a_file_that_cannot_be_events_lands_nothing(
    untouched: Repo, tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert complaint in run_json("ingest", tmp_path / name, "--repo", untouched.folder, code=1)["error"]
    assert landed(untouched) == []


HEAD = "user_id,action,event_time,arrival_time"


def test_files_and_folders_land_together_in_their_order(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "day=1").mkdir()
    (tmp_path / "day=1" / "b.csv").write_text(f"{HEAD}\nann,buy,1,2\nbob\n")
    (tmp_path / "day=1" / "_SUCCESS").touch()
    (tmp_path / "day=1" / "a.json").write_text('[{"user_id":"eve"}, {"user_id":"fay"}]')
    (tmp_path / "last.jsonl").write_text('{"user_id":"gus"}')
    found = run_json("ingest", tmp_path / "day=1", tmp_path / "last.jsonl", "--repo", repo.folder)
    names = [str(tmp_path / name) for name in ("day=1/a.json", "day=1/b.csv", "last.jsonl")]
    assert found["rows_by_input"] == dict(zip(names, (2, 2, 1), strict=True))
    assert found["rows"] == 5
    [file] = landed(repo)
    first, second, third, broken, last = map(json.loads, file.read_text().splitlines())
    assert [row["user_id"] for row in (first, second, third, last)] == ["eve", "fay", "ann", "gus"]
    assert broken == f"{names[1]}, line 3: 1 cell, and the header has 4: bob"


def test_rows_of_each_file_are_shown(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "a[b].jsonl").write_text("{}\n" * 3)
    (tmp_path / "c.jsonl").write_text("")
    shown = run("ingest", tmp_path, "--repo", repo.folder).stdout
    assert re.search(r"a\[b\]\.jsonl +3\n", shown)
    assert re.search(r"c\.jsonl +0\n", shown)
    assert "3 rows in 1 file landed in" in shown


def test_a_file_that_cannot_be_read_to_its_end_lands_none_of_them(untouched: Repo, tmp_path: Path) -> None:
    whole = gzip.compress(b"{}\n" * 100_000)
    (tmp_path / "a.jsonl").write_bytes(b"{}\n" * 30_000)
    (tmp_path / "b.jsonl.gz").write_bytes(whole[:-9])
    error = run_json("ingest", tmp_path, "--repo", untouched.folder, code=1)["error"]
    assert re.search(r"b\.jsonl\.gz cannot be read as JSON \(.*; nothing was landed", error)
    assert landed(untouched) == []


def test_nothing_is_written_before_every_file_is_looked_at(
    untouched: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    (tmp_path / "b.csv").write_text("user_id\n")
    monkeypatch.setattr("dualpath.sources.landing.land_payloads", None)
    assert "b.csv: no column" in run_json("ingest", tmp_path, "--repo", untouched.folder, code=1)["error"]
    (tmp_path / "b.csv").rename(tmp_path / "b.xlsx")
    assert "b.xlsx: of no known kind" in run_json("ingest", tmp_path, "--repo", untouched.folder, code=1)["error"]


def test_options_say_how_csv_is_written(repo: Repo, tmp_path: Path) -> None:
    lines = [HEAD, "'ann; a';NA;;é"]
    (tmp_path / "a.csv").write_text("\n".join([HEAD.replace(",", ";"), lines[1]]), encoding="latin-1")
    options = ("--delimiter", ";", "--quote", "'", "--null", "NA", "--null", "x", "--encoding", "latin-1")
    run_json("ingest", tmp_path / "a.csv", *options, "--repo", repo.folder)
    (tmp_path / "b.csv").write_text(HEAD.replace(",", "\t") + "\nbob\tbuy\t1\t2\n")
    run_json("ingest", tmp_path / "b.csv", "--delimiter", r"\t", "--repo", repo.folder)
    assert [json.loads(file.read_text()) for file in landed(repo)] == [
        {"user_id": "ann; a", "event_time": "", "arrival_time": "é"},
        {"user_id": "bob", "action": "buy", "event_time": "1", "arrival_time": "2"},
    ]


def test_options_of_csv_are_refused_where_there_is_none(untouched: Repo, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    options = (tmp_path / "a.jsonl", "--delimiter", ";", "--repo", untouched.folder)
    assert "are for CSV and TSV" in run_json("ingest", *options, code=1)["error"]


def test_a_name_of_nothing_is_told_the_datasets(untouched: Repo) -> None:
    error = run_json("ingest", "gone", "--repo", untouched.folder, code=1)["error"]
    assert error.startswith("gone is neither a file nor a folder. The datasets are ga4_shop_events")


def test_a_dataset_without_its_folder_says_how_to_name_it(untouched: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DUALPATH_DATA", raising=False)
    assert "DUALPATH_DATA" in run_json("ingest", "ga4_shop_events", "--repo", untouched.folder, code=1)["error"]
