"""An erasure that dies at any step ends when the same command runs again."""

from dataclasses import replace
from typing import Any

import pytest
from pyspark.sql import SparkSession

from dualpath.console import status
from dualpath.erasure.job import erase
from dualpath.errors import StateError
from dualpath.jobs.build import build
from dualpath.log import audit, erasures
from dualpath.parity.check import check
from dualpath.repo import Repo
from dualpath.steps import Step
from parity_tests import faults, invariants
from parity_tests.conftest import SOURCE
from parity_tests.console.commands import run
from parity_tests.erasure.person import ASKED, DELIVERED, PERSON, ROWS, of_others, traces

KEYS = {"user_id": (PERSON,)}
STEPS: list[tuple[Step, dict[str, Any]]] = [
    (Step.NOTE_ERASURE, {}),
    (Step.NOTE_ERASURE, {"after": True}),
    (Step.REWRITE_FILE, {"nth": 2}),
    (Step.REWRITE_FILE, {"nth": 9, "after": True}),
    (Step.COMMIT, {}),
    (Step.COMMIT, {"after": True}),
    (Step.VACUUM_LOG, {}),
    (Step.VACUUM_LOG, {"after": True}),
    (Step.FORGET_IDS, {}),
    (Step.FORGET_IDS, {"after": True}),
    (Step.COMMIT, {"nth": 3, "after": True}),  # of record files, whose former ones are still there
    (Step.PUBLISH_RECORD_FILES, {"nth": 2}),
    (Step.PUBLISH_RECORD_FILES, {"nth": 4, "after": True}),
    (Step.REBUILD_RECORDS, {"after": True}),
    (Step.PLACE_MANIFEST, {"nth": 2}),
    (Step.REMOVE_SUPERSEDED, {}),
    (Step.REMOVE_TEXTS, {"after": True}),
    (Step.REWRITE_REDIS, {}),
    (Step.END_ERASURE, {}),
]


def wrong(repo: Repo) -> list[str]:
    """What is not as it should be after the erasure, but for the values that are served."""
    counts, [note] = faults.counts(repo), erasures.kept(repo.storage(SOURCE).folder("ledger"))
    storage = repo.storage(SOURCE)
    found = [f"{each} is left" for each in traces(repo)]
    found += audit.faults(storage, storage.accounts(), opened=True)
    left = {name: rows - ROWS[name] for name, rows in DELIVERED.items()}
    if {name: counts[name] for name in ROWS} != left or note.rows != sum(ROWS.values()):
        found.append(f"{note}, and {counts} are left")
    if note.mark:
        found.append("the mark is left")
    return found + invariants.difference(
        "the online store", faults.records(repo), "the log", invariants.log_records(repo, faults.log(repo), SOURCE)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("step", "how"), STEPS, ids=lambda each: each if isinstance(each, str) else str(each))
def test_what_was_cut_off_goes_on(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch, step: Step, how: dict[str, Any]
) -> None:
    others = of_others(repo)
    with monkeypatch.context() as patched:
        faults.crash_at(patched, step, **how)
        with pytest.raises(faults.Crash):
            erase(Repo(repo.folder), KEYS, lambda: spark)
    noted = (step, how) != (Step.NOTE_ERASURE, {})
    assert ("run the same `dualpath erase` again" in run("status", "--repo", repo.folder).output) is noted
    assert erase(Repo(repo.folder), KEYS, lambda: spark).resumed is noted
    assert wrong(repo) == [] and of_others(repo) == others
    assert check(Repo(repo.folder), cells=500, oracle_cells=100).passed
    assert not erase(Repo(repo.folder), KEYS, lambda: spark).anything


def test_what_is_built_before_an_erasure_goes_on_is_built_again(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        faults.crash_at(patched, Step.COMMIT, after=True)
        with pytest.raises(faults.Crash):
            erase(Repo(repo.folder), KEYS, lambda: spark)
    build(spark, repo, repo.sources[SOURCE])
    erase(Repo(repo.folder), KEYS, lambda: spark)
    assert wrong(repo) == []


def test_another_erasure_waits_for_the_one_that_was_cut_off(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        faults.crash_at(patched, Step.REWRITE_FILE)
        with pytest.raises(faults.Crash):
            erase(Repo(repo.folder), KEYS, lambda: spark)
    file = erasures.file_of(repo.storage(SOURCE).folder("ledger"))
    assert PERSON not in file.read_text()
    with pytest.raises(StateError, match=r"an erasure by user_id, begun at .*, was cut off; run that command again"):
        erase(Repo(repo.folder), {"user_id": ("user_000001",)}, lambda: spark)
    result = run("erase", "--repo", repo.folder, "--key", ASKED, "--dry-run")
    assert "An erasure that was cut off goes on." in result.output
    # Nobody knows any more who it was.
    note = erasures.under_way(file.parent)
    assert note
    erasures.keep(file.parent, replace(note, mark=""))
    assert erase(Repo(repo.folder), {"user_id": ("user_000001",)}, lambda: spark).resumed
    assert status.report(Repo(repo.folder)).ok and check(Repo(repo.folder), cells=500, oracle_cells=100).passed
