"""A person who is erased is nowhere, everybody else is as before, and all goes on."""

from collections import Counter
from collections.abc import Callable

from pyspark.sql import SparkSession

from dualpath.console import status
from dualpath.log import audit, erasures
from dualpath.online import keys
from dualpath.online.connection import connect
from dualpath.repo import Repo
from parity_tests import faults, invariants
from parity_tests.conftest import SOURCE, drain
from parity_tests.console.commands import run, run_json
from parity_tests.erasure.person import ASKED, DEAD, MINE, OTHERS, ROWS, of_others, traces


def test_a_person_is_nowhere_and_everybody_else_is_as_before(spark: SparkSession, repo: Repo) -> None:
    before, others = faults.counts(repo), of_others(repo)
    assert len(traces(repo)) > 30
    done = run_json("erase", "--repo", repo.folder, "--key", ASKED)
    assert traces(repo) == []
    removed = {each["place"]: each for each in done["removed"]}
    assert removed[f"{SOURCE}: event log"]["rows"] >= ROWS["accepted"] > 20
    assert removed[f"{SOURCE}: duplicates"]["rows"] >= ROWS["duplicate"]
    assert removed[f"{SOURCE}: dead letters"]["rows"] >= ROWS["dead_letter"]
    assert removed[f"{SOURCE}: dead letters"]["by_text"] >= 2
    assert removed["Redis: texts that nobody else has"]["keys"] == 6
    repo = Repo(repo.folder)
    after = faults.counts(repo)
    assert {name: before[name] - after[name] for name in ROWS} == ROWS and min(ROWS.values()) > 3
    assert Counter(invariants.dead_letters(repo)) == Counter(line.decode() for line in DEAD[ROWS["dead_letter"] :])
    logged = Counter(zip(*(faults.log(repo)[n].to_pylist() for n in invariants.FIELDS), strict=True))
    assert logged == Counter(invariants.distinct(OTHERS))
    assert of_others(repo) == others
    assert faults.records(repo) == invariants.log_records(repo, faults.log(repo), SOURCE)
    assert invariants.parity_violations(spark, repo, 2_000) == []
    assert audit.faults(repo.storage(SOURCE), repo.storage(SOURCE).accounts(), opened=True) == []
    said = status.report(repo)
    assert sum(said.data["sources"][SOURCE]["dead_letter_reasons"].values()) == len(DEAD) - ROWS["dead_letter"]
    assert said.ok and said.data["erased"] == sum(ROWS.values())
    client = connect(repo.redis_address)
    assert client.get(keys.decision(repo.project, "d2")) and not client.get(keys.decision(repo.project, "d1"))


def test_a_second_run_finds_nothing(repo: Repo) -> None:
    run_json("erase", "--repo", repo.folder, "--key", ASKED)
    [note] = erasures.kept(repo.storage(SOURCE).folder("ledger"))
    assert note.rows == sum(ROWS.values()) and note.mark == ""
    stored = faults.stored(repo)
    result = run("erase", "--repo", repo.folder, "--key", ASKED)
    assert result.exit_code == 0 and "There is nothing of this." in result.output
    assert [note] == erasures.kept(repo.storage(SOURCE).folder("ledger")) and stored == faults.stored(repo)


def test_a_repo_of_nobody_else_goes_on(spark: SparkSession, new_repo: Callable[[], Repo]) -> None:
    """All files are empty then, and so are records, snapshots and ids."""
    repo = new_repo()
    faults.post(repo, MINE[:30])
    drain(spark, repo)
    run_json("erase", "--repo", repo.folder, "--key", ASKED)
    assert traces(repo) == [] and faults.counts(repo)["accepted"] == 0 and len(faults.log(repo)) == 0
    faults.post(repo, [*MINE[:5], *MINE[:5], OTHERS[0]])
    drain(spark, repo)
    counts = faults.counts(repo)
    assert (counts["accepted"], counts["duplicate"]) == (6, 5)
    assert status.report(Repo(repo.folder)).ok and invariants.parity_violations(spark, Repo(repo.folder), 500) == []
