"""A repo whose data is in an object store ends in the bits of one in a folder, whatever the store does meanwhile."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from dualpath.errors import UnavailableError
from dualpath.repo import Repo
from dualpath.runtime import jars
from dualpath.sources.landing import land_payloads
from parity_tests import faults
from parity_tests.conftest import CHECKOUT, SOURCE, drain
from parity_tests.erasure.person import DEAD, DELIVERED, LINES, PERSON, ROWS
from parity_tests.startup.object_store import reached
from parity_tests.startup.s3 import Server

FILES = 4


def python(module: str, *words: str | Path, code: int = 0) -> str:
    """The last line that a program of the tests prints, in a process of its own."""
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout[-4_000:] + done.stderr[-4_000:]
    return (done.stdout.splitlines() or [""])[-1]


@pytest.fixture(scope="module")
def remote(new_repo: Callable[[], Repo], s3: Server) -> Repo:
    """An applied repo with events to stream."""
    try:
        jars.fetch("s3", os.environ)
    except UnavailableError as error:
        pytest.skip(error.message)
    repo = new_repo()
    settings = repo.folder / "feature_store.yaml"
    settings.write_text(settings.read_text().replace("path: data", f"path: {s3.fresh()}"))
    with reached(s3.environ):
        repo = Repo(repo.folder)
        repo.apply()
        landing, size = repo.storage(SOURCE).folder("landing"), -(-len(LINES) // FILES)
        land_payloads((line + b"\n" for line in LINES), landing, rows_per_file=size)
        land_payloads((line + b"\n" for line in DEAD), landing, rows_per_file=100, start=FILES)
    return repo


@pytest.fixture(scope="module")
def found(remote: Repo, s3: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What it says, after a stream that was killed between a commit and its end."""
    with reached(s3.environ):
        folder = tmp_path_factory.mktemp("crash")
        python("parity_tests.crash", folder, "after the commit", remote.folder, code=-signal.SIGKILL)
        assert remote.storage(SOURCE).reached()[0].query == 0 and len(remote.storage(SOURCE).logged()) == 1
    answers: dict[str, Any] = json.loads(python("parity_tests.files.whole_run", remote.folder, s3.folder))
    return answers


@pytest.mark.spark
def test_nothing_is_lost_or_doubled_by_a_kill_by_expired_credentials_and_by_a_slow_store(found: dict[str, Any]) -> None:
    assert found["expired"]["code"] == "unavailable"
    assert found["expired"]["error"].startswith("The object store cannot be used (")
    assert found["streamed"] == FILES + 1 - 2, "all but the batch that was killed, and one before they expired"
    assert found["after the stream"] == found["after the night"] == []
    assert found["published"] == 3
    status = found["status"]
    assert {name: status[name] for name in DELIVERED} == DELIVERED | {"duplicate": DELIVERED["duplicate"] + 50}


@pytest.mark.spark
def test_its_bits_are_those_of_a_repo_in_a_folder(
    found: dict[str, Any], spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    repo = new_repo()
    faults.post(repo, [*LINES, *DEAD])
    drain(spark, repo)
    records, ids = faults.bits(repo)
    assert found["bits"] == [sorted(map(list, records.elements())), sorted(ids.elements())]


@pytest.mark.spark
def test_spark_reads_the_rows_of_a_training_set_there(found: dict[str, Any]) -> None:
    assert found["rows of a path"]["same"] and found["rows of a path"]["counted"] > len(LINES)


@pytest.mark.spark
def test_an_erasure_leaves_nothing_also_in_landed_objects_which_are_not_read_again(found: dict[str, Any]) -> None:
    removed = {each["place"].removeprefix(f"{SOURCE}: "): each["rows"] for each in found["erased"]["removed"]}
    assert removed["event log"] == ROWS["accepted"] and removed["dead letters"] == ROWS["dead_letter"]
    assert removed["landed files"] == sum(PERSON.encode() in line for line in [*LINES, *LINES[:50], *DEAD]) + 1
    assert found["left"] == [] and not found["nothing"]["anything"] and found["read again"] == 0
    status = found["status after the erasure"]
    assert status["adds_up"] and status["sources"][SOURCE]["changed_in_landing"] == []
    assert status["erased"] == sum(ROWS.values()) + removed["duplicates"] - ROWS["duplicate"]


@pytest.mark.spark
def test_what_needs_a_folder_is_refused_in_a_sentence(found: dict[str, Any]) -> None:
    assert found["migrate"].startswith("the previous version needs a folder of this machine, and data is kept at s3://")
    assert "the demo needs a folder of this machine, and data is kept at s3://" in found["demo"]
