"""Whole runs of the command line, each command as a user types it."""

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession

import dualpath.jobs.sink
from dualpath.console import demo, poison
from dualpath.errors import OtherDeclarationError
from dualpath.online import keys
from dualpath.online.connection import connect
from dualpath.record import UNFENCED
from dualpath.repo import Repo
from parity_tests.conftest import SOURCE
from parity_tests.console.commands import README, run, run_json, written

EVENTS = 5_000


def test_the_demo_deletes_no_events_that_it_did_not_make(repo: Repo) -> None:
    written(repo, 0, 1, [])
    assert "--fresh" in run_json("demo", "--repo", repo.folder, code=1)["error"]
    assert len(repo.storage(SOURCE).accounts()) == 1
    demo.prepare(repo, False)
    with pytest.raises(Exception, match="--fresh"):
        demo.prepare(repo, None)
    demo.prepare(repo, True)
    assert len(repo.storage(SOURCE).logged()) == 0
    written(repo, 0, 1, [])
    demo.prepare(repo, None)
    assert len(repo.storage(SOURCE).logged()) == 0


@pytest.mark.slow
def test_from_generated_events_to_a_tampered_log(
    spark: SparkSession, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = ("--repo", repo.folder)
    assert run_json("generate", *option, "--events", str(EVENTS), "--users", "100", "--days", "5")["rows"] == EVENTS
    lines = poison.lines(pd.Timestamp("2026-03-03T12:00Z").to_pydatetime())
    (tmp_path / "poison.jsonl").write_text("\n".join(lines))
    assert run_json("ingest", tmp_path / "poison.jsonl", *option)["rows"] == len(lines)

    counts = run_json("stream", "--once", *option)["sources"][SOURCE]
    assert counts["rows_read"] == EVENTS + len(lines)
    assert counts["dead_letter"] == len(lines)
    assert run_json("stream", "--once", *option)["sources"][SOURCE]["rows_read"] == 0

    night = run_json("nightly", "--date", "2026-03-04", *option)["sources"][SOURCE]
    assert night["published"]["user_activity"]["changed"] is True
    unbuilt = run_json("parity", *option, code=1)["error"]
    assert re.search("its record files lack events of 2026-03-05.*; run `dualpath batch`", unbuilt)
    assert len(run_json("batch", *option)["sources"][SOURCE]["built"]) >= 2
    assert "up to date" in run("batch", *option).stdout
    assert "has not come yet" in run_json("nightly", "--date", "9999-01-01", *option, code=1)["error"]
    assert "it is not over" in run_json("nightly", "--date", "today", *option, code=1)["error"]

    proof = run_json("parity", *option, "--cells", "5000", "--oracle-cells", "200")
    assert proof["cells"] >= 5_000
    assert proof["differing"] == proof["oracle_differing"] == 0
    assert {"seed", "oracle_cells", "versions"} <= proof.keys()

    said = run_json("status", *option)
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
    proof = run_json("parity", *option, "--cells", "5000", "--oracle-cells", "200", code=1)
    assert proof["differing"] > 0 and not proof["passed"] and proof["oracle_differing"] == 0

    Path(repo.storage(SOURCE).paths()[0]).unlink()
    assert run_json("status", *option, code=1)["adds_up"] is False


@pytest.mark.slow
def test_a_signal_ends_the_stream_after_the_batch_it_is_in(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_json("generate", "--repo", repo.folder, "--events", "100")
    land = dualpath.jobs.sink.Sink.land

    def interrupted(self: dualpath.jobs.sink.Sink, batch: Any, number: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        land(self, batch, number)

    monkeypatch.setattr(dualpath.jobs.sink.Sink, "land", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    counts = run_json("stream", "--interval", "0", "--repo", repo.folder)["sources"][SOURCE]
    assert counts["rows_read"] == 100
    storage = repo.storage(SOURCE)
    assert storage.reached()[0] == storage.reached()[1] > UNFENCED and len(storage.accounts()) == len(storage.logged())
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.slow
def test_a_stream_that_fails_says_the_message_and_the_code_of_its_cause(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = 'view "häufig": C:\\new, of another declaration;\n\tpublish it anew.'

    def refuse(self: dualpath.jobs.sink.Sink, spark: SparkSession) -> None:
        raise OtherDeclarationError(message)

    monkeypatch.setattr(dualpath.jobs.sink.Sink, "agree", refuse)
    monkeypatch.setattr(dualpath.jobs.sink.Sink, "ready", lambda self, spark: None)
    run_json("generate", "--repo", repo.folder, "--events", "10")
    found = run_json("stream", "--once", "--repo", repo.folder, code=1)
    assert found == {"error": message, "code": "state-of-another-declaration"}


@pytest.mark.slow
def test_the_demo_proves_itself(
    spark: SparkSession, new_repo: Callable[[], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_repo().folder
    shutil.rmtree(folder / "data")
    monkeypatch.setattr(demo, "GENERATED", 4_000)
    monkeypatch.delenv("DUALPATH_DATA", raising=False)
    said = run_json("demo", "--repo", folder, "--cells", "3000")
    assert said["passed"] is True
    assert len(said["steps"]) == 8
    assert said["status"]["dead_letter"] == said["status"]["rows_read"] - 4_000 > 0
    assert said["parity"]["cells"] >= 3_000
