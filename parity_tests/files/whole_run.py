"""All that a repo goes through whose data is in an object store, in a process of its own, as Spark's client of the
store is of the whole process: `python -m parity_tests.files.whole_run REPO SERVER`.

Prints one JSON object of what it has found.
"""

import json
import os
import sys
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from dualpath.feast.spark_set import SparkTrainingSet
from dualpath.files.parquet import write_rows
from dualpath.files.places import Place, below
from dualpath.jobs.nightly import nightly
from dualpath.parity.compare import same
from dualpath.repo import Repo
from dualpath.sources.landing import land_payloads, next_number
from dualpath.spark.session import session
from dualpath.steps import Step
from parity_tests import faults, invariants
from parity_tests.conftest import COMPILED, SOURCE
from parity_tests.console.commands import run, run_json
from parity_tests.erasure.person import ASKED, DEAD, LINES, PERSON
from parity_tests.startup.s3 import Server
from parity_tests.startup.s3_faults import Faults


def expire_at_a_commit(repo: Repo, store: Faults) -> dict[str, Any]:
    """Stream while the credentials expire before the second commit, and stay so for the rest of the run."""
    with ExitStack() as away, pytest.MonkeyPatch.context() as patched:
        faults.crash_at(patched, Step.COMMIT, nth=2, fault=lambda: away.enter_context(store.expired()))
        return run_json("stream", "--once", "--files-per-batch", "1", "--repo", repo.folder, code=1)


def of_a_path(repo: Repo) -> dict[str, Any]:
    """Spark's training set of rows in the store, beside that of the same rows in this process."""
    events = [json.loads(line) for line in LINES]
    rows = {"user_id": [e["user_id"] for e in events], "event_timestamp": [e["event_time"] for e in events]}
    path, service = repo.root.with_name("impressions"), repo.store.get_feature_service("user_profile")
    write_rows(pa.table(rows), path / "part.parquet")
    expected = repo.store.get_historical_features(pa.table(rows), service).to_arrow()  # type: ignore[arg-type]
    repo.store.config.offline_store.spark_above_rows = 0
    found = repo.store.get_historical_features(str(path), service)
    assert isinstance(found, SparkTrainingSet)
    order = [(name, "ascending") for name in ("user_id", "event_timestamp")]
    counted = sum(count or 0 for count in expected["actions_30min"].to_pylist())
    return {"same": same(found.to_arrow().sort_by(order), expected.sort_by(order)), "counted": counted}


def main(folder: str, server: str) -> None:
    with Faults(Server(Path(server))) as store:
        os.environ.update(store.environ)
        repo = Repo(Path(folder))
        spark = session("whole-run", cores=2, conf=COMPILED, data=repo.root)
        print(json.dumps(found(repo, spark, store)))


def content(file: Place) -> bytes:
    """What is in an object; nothing in one that Spark has put for a folder, which can be listed and not be read."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def found(repo: Repo, spark: SparkSession, store: Faults) -> dict[str, Any]:
    storage, answers = repo.storage(SOURCE), dict[str, Any]()
    landing = storage.folder("landing")
    answers["expired"] = expire_at_a_commit(repo, store)
    store.lose_answers(3)
    store.slow_down(3)
    streamed = run_json("stream", "--once", "--files-per-batch", "1", "--repo", repo.folder)
    answers["streamed"] = streamed["sources"][SOURCE]["batches"]
    answers["after the stream"] = invariants.violations(spark, repo, LINES, DEAD)
    night = nightly(spark, repo, repo.sources[SOURCE], date(2026, 3, 2))
    answers["published"] = len(night.published)
    land_payloads((line + b"\n" for line in LINES[:50]), landing, rows_per_file=50, start=next_number(landing))
    run_json("stream", "--once", "--repo", repo.folder)
    answers["after the night"] = invariants.violations(spark, repo, [*LINES, *LINES[:50]], DEAD)
    answers["status"] = run_json("status", "--files", "--repo", repo.folder)
    records, ids = faults.bits(repo)
    answers["bits"] = [sorted(map(list, records.elements())), sorted(ids.elements())]

    answers["rows of a path"] = of_a_path(repo)

    answers["erased"] = run_json("erase", "--key", ASKED, "--repo", repo.folder)
    answers["status after the erasure"] = run_json("status", "--files", "--repo", repo.folder)
    answers["left"] = [str(file) for file in below(repo.root) if PERSON.encode() in content(file)]
    read_again = run_json("stream", "--once", "--repo", repo.folder)
    answers["read again"] = read_again["sources"][SOURCE]["rows_read"]
    answers["nothing"] = run_json("erase", "--key", ASKED, "--repo", repo.folder)
    answers["migrate"] = run_json("migrate", "--repo", repo.folder, code=1)["error"]
    answers["demo"] = run("demo", "--fresh", "--repo", repo.folder).output
    return answers


if __name__ == "__main__":
    main(*sys.argv[1:])
