"""Whatever fails, in the driver, in a worker or in the JVM, ends in one sentence: what, where, what to do."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import py4j
import pyspark
import pytest
from pyspark.sql import SparkSession

from dualpath.console import jobs
from dualpath.console.cause import MachineError, defect, explain
from dualpath.console.report import Report, finish
from dualpath.console.stream import drain, landed
from dualpath.files.durable import write_atomically
from dualpath.jobs.sink import Sink
from dualpath.log.accounts import Entry
from dualpath.repo import Repo
from parity_tests import faults
from parity_tests.conftest import BRIEFLY, SOURCE

LINES = faults.payloads(faults.events())[:20]
IN_THE_WAY = "something else stands where dualpath keeps its files; move it away."


@pytest.fixture(scope="module")
def fed(new_repo: Callable[[], Repo]) -> Repo:
    """A repo with a file to read, whose stream always fails."""
    repo = new_repo()
    faults.post(repo, LINES)
    return repo


def stream(spark: SparkSession, repo: Repo) -> Report:
    return drain(spark, repo, landed(repo, [repo.sources[SOURCE]], 1), say=str)


def said(work: Callable[[], Report], capfd: pytest.CaptureFixture[str]) -> str:
    """The one line that a failing command ends in."""
    assert not finish(work, as_json=False)
    return capfd.readouterr().err.splitlines()[-1].removeprefix("Error: ")


def in_the_way(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    path.write_text("in the way")
    return path


@pytest.mark.parametrize(
    ("kind", "what"),
    [("checkpoint/query=1", "not a directory"), ("log", "file exists"), ("staging", "not a directory")],
)
def test_a_file_in_the_place_of_a_folder_ends_the_stream_in_a_sentence(
    kind: str, what: str, spark: SparkSession, fed: Repo, capfd: pytest.CaptureFixture[str]
) -> None:
    """The log is the driver's, staging is the workers', and the checkpoint is the JVM's."""
    file = in_the_way(fed.storage(SOURCE).folder(kind))
    found = said(lambda: stream(spark, fed), capfd)
    file.unlink()
    assert found.startswith(str(file)) and found.endswith(f": {what}; {IN_THE_WAY}")


def test_a_full_disk_in_a_batch_ends_the_stream_in_a_sentence_and_the_next_start_goes_on(
    spark: SparkSession, fed: Repo, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Sink, found: Any, entry: Entry) -> None:
        raise ZeroDivisionError("division\nby zero")

    with monkeypatch.context() as faulty:
        faulty.setattr(Sink, "place_ids", broken)
        found = said(lambda: stream(spark, fed), capfd)
    line = broken.__code__.co_firstlineno + 1
    assert found == (
        f"ZeroDivisionError: division at test_cause.py:{line}; this is a defect of dualpath: "
        "report it with the traceback above."
    )

    entry = fed.storage(SOURCE).folder("ledger") / f".progress.json.{os.getpid()}"
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.symlink_to("/dev/full")
    found = said(lambda: stream(spark, fed), capfd)
    entry.unlink()
    assert found == (f"{entry}: no space left on device; free some of that disk, or move the data to a larger one.")
    records = in_the_way(fed.root / "records")
    assert stream(spark, fed).ok
    found = said(lambda: jobs.batch(spark, fed, [fed.sources[SOURCE]], None), capfd)
    assert found.startswith(str(records)) and found.endswith(IN_THE_WAY)


def test_a_full_disk_is_named_with_the_file_that_did_not_fit(tmp_path: Path) -> None:
    (tmp_path / f".entry.{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(OSError) as error:
        write_atomically(tmp_path / "entry", "text")
    found = explain(error.value)
    assert isinstance(found, MachineError) and found.message == (
        f"{tmp_path}/.entry.{os.getpid()}: no space left on device; free some of that disk, or move the data to a "
        "larger one."
    )


class SparkError(Exception):
    """As PySpark raises them: what was raised in a worker or in the JVM is in its text, or in that of its cause."""

    __module__ = "pyspark.errors"

    def __init__(self, text: str, cause: Exception | None = None) -> None:
        super().__init__(text)
        self._cause = cause


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "java.io.FileNotFoundException: /data/log/part.parquet (Read-only file system)\n\tat java.io",
            "/data/log/part.parquet: read-only file system; give the user who runs this the right to write there.",
        ),
        (
            "Job aborted: java.io.IOException: No space left on device",
            "No space left on device; free some of that disk, or move the data to a larger one.",
        ),
        (
            "o7.save.\n: org.apache.hadoop.fs.ParentNotDirectoryException: Parent path is not a directory: file:/log",
            f"/log: not a directory; {IN_THE_WAY}",
        ),
        (
            "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9 than that in driver: 3.11, PySpark",
            "Spark's workers run Python 3.9 and the driver 3.11; let PYSPARK_PYTHON name a Python of the driver's",
        ),
        (
            "Error from python worker:\n  /usr/bin/python3: Error while finding module specification for "
            "'pyspark.daemon' (ModuleNotFoundError: No module named 'pyspark')",
            "Spark's workers cannot import pyspark; install dualpath, with its dependencies, in the Python that",
        ),
        (
            'Traceback (most recent call last):\n  File "serializers.py", line 1, in loads\n    return\n'
            "ModuleNotFoundError: No module named 'streaming'\n",
            "Spark's workers cannot import streaming; install dualpath",
        ),
        (
            'java.io.IOException: Cannot run program "python3.99": error=2, No such file or directory',
            "Spark's workers cannot start python3.99; let PYSPARK_PYTHON name a Python that has dualpath installed",
        ),
        (
            "java.lang.IllegalStateException: Cannot call methods on a stopped SparkContext.\n\tat org.apache.spark",
            "Spark's master has given the application up, or does not answer; correct SPARK_MASTER, or see the logs",
        ),
        (
            "Job aborted: java.lang.OutOfMemoryError: Java heap space\n\tat org",
            "Spark has run out of memory (Java heap space); give it more with DUALPATH_DRIVER_MEMORY, 4g for example.",
        ),
    ],
)
def test_what_the_jvm_and_the_workers_lack_is_said_with_its_remedy(text: str, expected: str) -> None:
    for error in (SparkError(text), SparkError("[STREAM_FAILED] it failed", SparkError(text))):
        found = explain(error)
        assert isinstance(found, MachineError) and "\n" not in found.message
        assert found.message.startswith(expected) and found.message.endswith(".")
    assert explain(ValueError(text)) is None


def test_an_error_that_only_a_defect_can_raise_has_no_remedy_but_a_place() -> None:
    assert explain(OSError(errno.EBADF, "Bad file descriptor")) is None
    try:
        _ = [][1]
    except IndexError as error:
        assert explain(error) is None
        assert defect(error).startswith("IndexError: list index out of range at test_cause.py:")
    error = SparkError("calling o7.parquet.\n: java.io.IOException: no\n\tat x\nCaused by: java.lang.X: that\n\tat y")
    assert explain(error) is None
    assert defect(error).startswith("java.lang.X: that; this is a defect of dualpath")


ON_A_CLUSTER = """
import os
import sys

from dualpath.console.report import Report, finish
from dualpath.sources.landing import next_number
from dualpath.spark.session import session

def work():
    started = session("cluster")
    try:
        started.sparkContext.parallelize([1], 1).map(lambda each: next_number).collect()
    finally:
        started.stop()
    return Report({})

for os.environ["PYSPARK_PYTHON"] in sys.argv[1:]:
    print(finish(work, as_json=False))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_of_a_real_master_that_lack_what_they_need_are_named(tmp_path: Path) -> None:
    """One Python of the workers has PySpark and nothing else; the other is not there."""
    for package in (pyspark, py4j):
        there = Path(str(package.__file__)).parent
        (tmp_path / there.name).symlink_to(there)
    bare, nowhere = tmp_path / "python", tmp_path / "nowhere"
    bare.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys._base_executable} -s "$@"\n')  # type: ignore[attr-defined]
    bare.chmod(0o755)
    (tmp_path / "spark-defaults.conf").write_text(f"spark.executor.extraJavaOptions {BRIEFLY} -XX:+UseSerialGC\n")
    cluster = {"SPARK_MASTER": "local-cluster[1,1,1024]", "SPARK_LOCAL_IP": "127.0.0.1"}
    ran = subprocess.run(
        [sys.executable, "-c", ON_A_CLUSTER, str(bare), str(nowhere)],
        env={**os.environ, **cluster, "PYSPARK_DRIVER_PYTHON": sys.executable, "SPARK_CONF_DIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout.split()) == (0, ["False", "False"]), ran.stderr
    lacking, missing = [line for line in ran.stderr.splitlines() if line.startswith("Error: ")]
    assert lacking.startswith(
        "Error: Spark's workers cannot import dualpath; install dualpath, with its dependencies, in the Python that"
    )
    assert missing.startswith(
        f"Error: Spark's workers cannot start {nowhere}; let PYSPARK_PYTHON name a Python that has dualpath installed"
    )
