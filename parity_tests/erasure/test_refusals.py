"""What an erasure refuses, and what a dry run says."""

from pathlib import Path

import pytest

from dualpath.declare import event_source
from dualpath.erasure import keys
from dualpath.errors import InputError
from dualpath.online.connection import connect
from dualpath.repo import Repo
from dualpath.schema import identifier
from parity_tests import faults
from parity_tests.conftest import SOURCE
from parity_tests.console.commands import run, run_json
from parity_tests.erasure.person import ASKED, LINES, MINE, PERSON


def said(repo: Repo, *words: str | Path) -> str:
    """The sentence by which a command is refused."""
    return run_json("erase", "--repo", repo.folder, *words, code=1)["error"]


def test_names_that_are_none_are_refused_with_those_that_are(repo: Repo) -> None:
    known = "the repo has product_id, user_id."
    assert said(repo, "--key", "usr=ann") == f"there is no join key 'usr'; {known}"
    assert said(repo, "--key", "user_id").startswith("--key user_id is not of the form NAME=VALUE")
    assert said(repo).startswith("nobody is named")


def test_a_value_that_is_no_key_of_its_kind_is_refused() -> None:
    source = event_source("numbered", fields=[identifier("user_id", required=True)])
    with pytest.raises(InputError, match=r"user_id, row 0: 'ann' \(str\) is not an integer key"):
        keys.fields(source, {"user_id": ("ann",)})


def test_a_dry_run_changes_nothing_and_says_what_there_is(repo: Repo, tmp_path: Path) -> None:
    everything = {file: file.read_bytes() for file in repo.root.rglob("*.*") if file.suffix in (".parquet", ".jsonl")}
    stored = faults.stored(repo)
    (tmp_path / "people").write_text(f"{ASKED}\n\nuser_id=nobody\n")
    found = run_json("erase", "--repo", repo.folder, "--keys-from", tmp_path / "people", "--dry-run")
    assert {file: file.read_bytes() for file in everything} == everything and faults.stored(repo) == stored
    removed = {each["place"]: each for each in found["removed"]}
    assert found["anything"] and removed[f"{SOURCE}: landed files"]["rows"] >= len(MINE)
    assert removed["Redis: kept decisions"]["keys"] == removed["served log data/served"]["rows"] == 1
    assert removed["Redis: state of the entity"]["keys"] > 2
    output = run("erase", "--repo", repo.folder, "--key", ASKED, "--dry-run").output
    assert "there is" in output and "Backups" in output and PERSON not in output


def test_files_that_are_not_read_are_refused(repo: Repo) -> None:
    landing = repo.storage(SOURCE).folder("landing")
    faults.post(repo, LINES[:1])
    assert "not read yet; run `dualpath stream --once`, then erase." in said(repo, "--key", ASKED)
    [new] = [file for file in landing.glob("*.jsonl") if file.name == "0010.jsonl"]
    new.rename(landing / "more.csv")
    assert "does not read landing/more.csv" in said(repo, "--key", ASKED)
    (landing / "more.csv").rename(landing / ".0011.jsonl.tmp")
    assert "does not read landing/.0011.jsonl.tmp" in said(repo, "--key", ASKED)


def test_a_running_stream_is_named(repo: Repo) -> None:
    with repo.storage(SOURCE).alone():
        assert "another stream is running on this checkpoint; stop it first." in said(repo, "--key", ASKED)


def test_a_batch_that_was_cut_off_and_counts_that_do_not_add_up_are_refused(repo: Repo) -> None:
    storage = repo.storage(SOURCE)
    last, _ = storage.reached()
    commit = storage.folder("checkpoint") / f"query={last.query}" / "commits" / str(last.batch)
    content = commit.read_bytes()
    commit.unlink()
    assert "stopped in the middle of a batch; run `dualpath stream --once`" in said(repo, "--key", ASKED)
    commit.write_bytes(content)
    [file, *_] = storage.files()
    (storage.folder("log") / file.path).unlink()
    assert f"log/{file.path} is missing, so what is erased could not be told" in said(repo, "--key", ASKED)


def test_an_empty_online_store_is_refused(repo: Repo) -> None:
    connect(repo.redis_address).flushall()
    assert "the online store has lost writes" in said(repo, "--key", ASKED)
