"""The command line: what a person reads, what a program reads, and the exit code both act on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from typer.testing import CliRunner, Result

import dualpath.jobs.sink
from dualpath.cli import app
from dualpath.console import demo, options, poison, status
from dualpath.console.cause import sentence
from dualpath.errors import StateError
from dualpath.log.storage import Storage
from dualpath.online import keys
from dualpath.online.connection import connect
from dualpath.repo import Repo
from parity_tests.conftest import CHECKOUT, SOURCE

COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]
README = (CHECKOUT / "README.md").read_text()
EVENTS = 5_000


def run(*words: str | Path) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(map(str, words)))


def told(*words: str | Path, code: int = 0) -> dict[str, Any]:
    """The one JSON object a command prints."""
    result = run(*words, "--json")
    assert result.exit_code == code, result.output
    [line] = result.stdout.splitlines()
    return json.loads(line)


def python(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program that needs a process of its own."""
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def untouched(new_repo: Callable[[], Repo]) -> Repo:
    """A repo without events, for commands that only read."""
    return new_repo()


@pytest.fixture
def repo(new_repo: Callable[[], Repo]) -> Repo:
    return new_repo()


def landed(repo: Repo) -> list[Path]:
    return sorted(repo.storage(SOURCE).folder("landing").glob("*"))


# --- every command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_takes_repo_and_json(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "--repo" in result.stdout
    assert "--json" in result.stdout


def test_the_readme_documents_every_command_and_no_other() -> None:
    assert set(re.findall(r"^\| `dualpath (\w+)", README, re.MULTILINE)) == set(COMMANDS)
    assert set(re.findall(r"dualpath (\w+) --", README)) <= set(COMMANDS)


def test_the_readmes_declaration_is_the_one_in_the_repo() -> None:
    [declaration] = re.findall(r"```python\n(from entities.*?)```", README, re.DOTALL)
    assert declaration in (CHECKOUT / "feature_repo/user_orders.py").read_text()


def test_help_and_doctor_import_neither_spark_nor_feast() -> None:
    program = """
import sys
from typer.testing import CliRunner
from dualpath.cli import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
CliRunner().invoke(app, ["doctor"])
print(sorted({"pyspark", "feast", "great_expectations", "pandas"} & sys.modules.keys()))
"""
    assert python(program).stdout == "[]\n"


def test_with_json_even_what_another_process_prints_stays_off_standard_output() -> None:
    program = """
import os, sys
from dualpath.console.report import Report, finish
def work():
    print("chatter")
    os.system("echo noise")
    return Report({"fine": True}, ["for people"])
assert finish(work, True)
print("the end")
"""
    ran = python(program)
    assert ran.stdout == '{"fine": true}\nthe end\n'
    assert ran.stderr.split() == ["chatter", "noise"]


# --- errors


def test_a_folder_without_a_repo_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    result = run("status", "--repo", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {tmp_path} has no feature_store.yaml; name a feature repo with --repo.\n"


def test_with_json_an_error_is_an_object(tmp_path: Path) -> None:
    assert "has no feature_store.yaml" in told("status", "--repo", tmp_path, code=1)["error"]


def test_the_repo_is_feature_repo_or_the_current_folder(
    untouched: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for here in (untouched.folder, untouched.folder.parent):
        monkeypatch.chdir(here)
        assert run("status").exit_code == 0
    monkeypatch.chdir(tmp_path)
    assert "--repo" in run("status").stderr


def test_a_source_that_does_not_exist_is_answered_with_those_that_do(untouched: Repo) -> None:
    assert SOURCE in told("generate", "--repo", untouched.folder, "--source", "clicks", code=1)["error"]


def test_a_day_is_written_out_or_told_from_today() -> None:
    assert options.day("2026-03-04") == date(2026, 3, 4)
    assert options.day("today") - options.day("yesterday") == timedelta(days=1)
    for text in ("04.03.2026", "2026-02-30", "tomorrow", "2026-03-04T12:00"):
        result = run("nightly", "--date", text)
        assert result.exit_code == 2 and f"'{text}' is no day" in result.stderr


def test_an_error_of_ours_is_found_in_what_spark_quotes() -> None:
    class Py4JJavaError(Exception):
        __module__ = "py4j.protocol"

    quoted = (
        'Traceback (most recent call last):\n  File "sink.py"\ndualpath.errors.StateError: the state is gone; rebuild.'
    )
    assert sentence(Py4JJavaError(quoted)) == "the state is gone; rebuild."
    assert sentence(Py4JJavaError("something else")) is None
    assert sentence(ValueError("dualpath.errors.StateError: no")) is None


# --- generate and ingest


def test_generated_events_land_beside_those_that_are_there(repo: Repo) -> None:
    for seed in ("1", "2"):
        assert told("generate", "--repo", repo.folder, "--events", "300", "--seed", seed)["rows"] == 300
    first, second = landed(repo)
    assert first.name.startswith("00000000-")
    assert second.name.startswith("00000001-")
    assert first.read_bytes() != second.read_bytes()


def test_lines_of_json_land_as_they_are(repo: Repo, tmp_path: Path) -> None:
    content = b'{"user_id":"ann"}\n\nnot JSON\r\n\xff\xfe\n{"cut'
    (tmp_path / "events.jsonl").write_bytes(content)
    assert told("ingest", tmp_path / "events.jsonl", "--repo", repo.folder)["rows"] == 5
    [file] = landed(repo)
    assert file.read_bytes() == content + b"\n"


def test_cells_of_csv_land_as_their_text_and_empty_ones_not_at_all(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(
        "user_id,action,event_time,arrival_time,amount,quantity,shop\n"
        'ann,"view, twice",2026-03-01,2026-03-01,0010.50,,east\n'
    )
    told("ingest", tmp_path / "events.csv", "--repo", repo.folder)
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
    told("ingest", tmp_path / "events.parquet", "--repo", repo.folder)
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
    assert complaint in told("ingest", tmp_path / name, "--repo", untouched.folder, code=1)["error"]
    assert landed(untouched) == []


def test_a_dataset_without_its_folder_says_how_to_name_it(untouched: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DUALPATH_DATA", raising=False)
    assert "DUALPATH_DATA" in told("ingest", "ga4_shop_events", "--repo", untouched.folder, code=1)["error"]


# --- status


def written(storage: Storage, batch: int, accepted: int, reasons: list[str], **counts: int) -> None:
    """A finished batch with its files, as the stream leaves it."""
    entry = storage.begin(1, batch)
    log, dead = (storage.folder(kind) / entry.name for kind in ("log", "dead"))
    (log / "epoch=2026-03-01").mkdir(parents=True)
    dead.mkdir(parents=True)
    pq.write_table(pa.table({"event_id": [str(i) for i in range(accepted)]}), log / "epoch=2026-03-01/part.parquet")
    pq.write_table(pa.table({"reason": pa.array(reasons, pa.string())}), dead / "part.parquet")
    outcomes = {"rows_read": accepted + len(reasons), "accepted": accepted, "dead_letter": len(reasons)}
    storage.finish(storage.note(entry, **{**outcomes, **counts}, arrival_days=("2026-03-01",)))


def test_a_repo_that_has_read_nothing_adds_up(untouched: Repo) -> None:
    said = told("status", "--repo", untouched.folder)
    assert [said[k] for k in ("rows_read", "accepted", "duplicate", "dead_letter", "late")] == [0] * 5
    assert said["adds_up"] is True
    assert "not running" in said["redis"]


def test_status_sums_batches_and_groups_reasons(repo: Repo) -> None:
    storage = repo.storage(SOURCE)
    written(storage, 0, 5, ["amount is not finite: NaN", "amount is not finite: inf"], duplicate=2, rows_read=9)
    written(storage, 1, 3, ["not a JSON object"], late=1, latest_by=90_000_000)
    storage.begin(1, 2)
    said = told("status", "--repo", repo.folder)
    assert {k: said[k] for k in status.OUTCOMES} == {
        "rows_read": 13,
        "accepted": 8,
        "duplicate": 2,
        "dead_letter": 3,
        "late": 1,
        "out_of_retention": 0,
    }
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
    said = told("status", "--repo", repo.folder, code=1)
    assert said["adds_up"] is False
    first, second, third = said["sources"][SOURCE]["faults"]
    assert first.startswith("query=1/batch=0: 6 rows read")
    assert second == "query=1/batch=1: log/ holds 0 rows of 5"
    assert third.startswith("query=1/batch=2: a file under dead/ cannot be read")


def test_status_fails_where_redis_does_not_answer(untouched: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALPATH_REDIS", "127.0.0.1:1,password=secret")
    said = told("status", "--repo", untouched.folder, code=1)
    assert said["error"] == said["redis"]
    assert said["redis"].startswith("Redis at 127.0.0.1:1 does not answer: ")
    assert said["adds_up"] is True


# --- doctor, stop and the demo's care


def test_the_doctor_needs_no_repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DUALPATH_REDIS", raising=False)
    said = told("doctor")
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
    assert told("stop", "--repo", repo.folder) == {"stopped": True}
    assert told("stop", "--repo", repo.folder) == {"stopped": False}
    assert (repo.folder / "data/redis").is_dir()


def test_the_demo_deletes_no_events_that_it_did_not_make(repo: Repo) -> None:
    written(repo.storage(SOURCE), 0, 1, [])
    assert "--fresh" in told("demo", "--repo", repo.folder, code=1)["error"]
    assert repo.storage(SOURCE).entries()
    demo.prepare(repo, False)
    with pytest.raises(Exception, match="--fresh"):
        demo.prepare(repo, None)
    demo.prepare(repo, True)
    assert not repo.storage(SOURCE).entries()
    written(repo.storage(SOURCE), 0, 1, [])
    demo.prepare(repo, None)
    assert not repo.storage(SOURCE).entries()


# --- from end to end


@pytest.mark.slow
def test_from_generated_events_to_a_tampered_log(
    spark: SparkSession, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = ("--repo", repo.folder)
    assert told("generate", *option, "--events", str(EVENTS), "--users", "100", "--days", "5")["rows"] == EVENTS
    lines = poison.lines(pd.Timestamp("2026-03-03T12:00Z").to_pydatetime())
    (tmp_path / "poison.jsonl").write_text("\n".join(lines))
    assert told("ingest", tmp_path / "poison.jsonl", *option)["rows"] == len(lines)

    counts = told("stream", "--once", *option)["sources"][SOURCE]
    assert counts["rows_read"] == EVENTS + len(lines)
    assert counts["dead_letter"] == len(lines)
    assert told("stream", "--once", *option)["sources"][SOURCE]["rows_read"] == 0

    night = told("nightly", "--date", "2026-03-04", *option)["sources"][SOURCE]
    assert night["published"]["user_activity"]["changed"] is True
    unbuilt = told("parity", *option, code=1)["error"]
    assert re.search("its record files lack events of 2026-03-05.*; run `dualpath batch`", unbuilt)
    assert len(told("batch", *option)["sources"][SOURCE]["built"]) >= 2
    assert "up to date" in run("batch", *option).stdout
    assert "has not come yet" in told("nightly", "--date", "9999-01-01", *option, code=1)["error"]
    assert "it is not over" in told("nightly", "--date", "today", *option, code=1)["error"]

    proof = told("parity", *option, "--cells", "5000", "--oracle-cells", "200")
    assert proof["cells"] >= 5_000
    assert proof["differing"] == proof["oracle_differing"] == 0
    assert {"seed", "oracle_cells", "versions"} <= proof.keys()

    said = told("status", *option)
    assert said["adds_up"] is True
    assert said["rows_read"] == said["accepted"] + said["duplicate"] + said["dead_letter"] == EVENTS + len(lines)
    assert said["snapshots"]["user_activity"] == "2026-03-04"

    monkeypatch.chdir(repo.folder.parent)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n((?:from datetime|import pandas).*?)```", README, re.DOTALL):
        exec(block, names)
    assert {k: v[0] for k, v in names["then"].items()}["actions_30min"] == names["training"]["actions_30min"][0]

    redis = connect(repo.redis_address)
    states = keys.states(redis, repo.project, views=["user_activity"])
    redis.delete(*(key for key, found in states if found.part.startswith("e")))
    proof = told("parity", *option, "--cells", "5000", "--oracle-cells", "200", code=1)
    assert proof["differing"] > 0 and not proof["passed"] and proof["oracle_differing"] == 0

    next(repo.storage(SOURCE).folder("log").rglob("*.parquet")).unlink()
    assert told("status", *option, code=1)["adds_up"] is False


@pytest.mark.slow
def test_a_signal_ends_the_stream_after_the_batch_it_is_in(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    told("generate", "--repo", repo.folder, "--events", "100")
    land = dualpath.jobs.sink.Sink.land

    def interrupted(self: dualpath.jobs.sink.Sink, batch: Any, number: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        land(self, batch, number)

    monkeypatch.setattr(dualpath.jobs.sink.Sink, "land", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    counts = told("stream", "--interval", "0", "--repo", repo.folder)["sources"][SOURCE]
    assert counts["rows_read"] == 100
    assert all(entry.done for entry in repo.storage(SOURCE).entries())
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.slow
def test_a_stream_that_fails_says_the_sentence_of_its_cause(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: dualpath.jobs.sink.Sink, batch: Any, number: int) -> None:
        raise StateError("the state is of another declaration; publish it anew.")

    monkeypatch.setattr(dualpath.jobs.sink.Sink, "land", refuse)
    told("generate", "--repo", repo.folder, "--events", "10")
    result = run("stream", "--once", "--repo", repo.folder)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "Error: the state is of another declaration; publish it anew."


@pytest.mark.slow
def test_the_demo_proves_itself(
    spark: SparkSession, new_repo: Callable[[], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_repo().folder
    shutil.rmtree(folder / "data")
    monkeypatch.setattr(demo, "GENERATED", 4_000)
    monkeypatch.delenv("DUALPATH_DATA", raising=False)
    said = told("demo", "--repo", folder, "--cells", "3000")
    assert said["passed"] is True
    assert len(said["steps"]) == 8
    assert said["status"]["dead_letter"] == said["status"]["rows_read"] - 4_000 > 0
    assert said["parity"]["cells"] >= 3_000
