"""A stream whose checkpoint is not with the data goes on, and after another machine took it over, too."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from dualpath.console.stream import new_generation
from dualpath.errors import LostCheckpointError
from dualpath.files.places import matching
from dualpath.jobs.build import build
from dualpath.repo import Repo
from dualpath.sources.delivery import Delivery, delivery
from parity_tests import faults, invariants
from parity_tests.conftest import SOURCE, drain
from parity_tests.console.commands import run_json
from parity_tests.jobs.shop import PIECES
from parity_tests.jobs.stream import LINES, POISON


def at(repo: Repo, checkpoints: Path) -> Repo:
    """The repo on a machine with a folder of checkpoints."""
    settings = repo.folder / "feature_store.yaml"
    kept = [line for line in settings.read_text().splitlines() if not line.startswith("  checkpoints:")]
    kept.insert(kept.index("  path: data") + 1, f"  checkpoints: {checkpoints}")
    settings.write_text("\n".join(kept) + "\n")
    return Repo(repo.folder)


def generations(repo: Repo) -> dict[int, int]:
    """The batches of each."""
    return dict(repo.storage(SOURCE).through())


def test_a_stream_goes_on_with_its_own_checkpoint_and_another_machine_behind_the_log(
    spark: SparkSession, new_repo: Callable[[], Repo], tmp_path: Path
) -> None:
    here, there = tmp_path / "of this machine é", tmp_path / "of another"
    repo = at(new_repo(), here)
    faults.post(repo, [*PIECES[0], *POISON])
    landing = repo.storage(SOURCE).folder("landing")
    (landing / "empty.jsonl").touch()
    drain(spark, repo)
    faults.post(repo, PIECES[1])
    drain(spark, repo)
    (landing / "empty.jsonl").write_text("{}")
    assert delivery(repo.storage(SOURCE)) == Delivery(["empty.jsonl"], [], [])
    (landing / "empty.jsonl").write_text("")
    assert [*generations(repo)] == [1] and run_json("status", "--repo", repo.folder)["adds_up"]
    assert matching(repo.storage(SOURCE).folder("checkpoint"), "query=*") == []
    [checkpoint] = (here / SOURCE).glob("query=1-*/offsets")
    assert len([*checkpoint.glob("*[0-9]")]) == generations(repo)[1] + 1

    moved = at(repo, there)
    with pytest.raises(LostCheckpointError):
        drain(spark, moved)
    said = run_json("erase", "--key", "user_id=nobody", "--repo", repo.folder, code=1)["error"]
    assert f"{there}/{SOURCE}/query=1-" in said and "is not here; erase where it is" in said
    new_generation(spark, moved, moved.sources[SOURCE])
    faults.post(moved, PIECES[2])
    drain(spark, moved)
    assert [*generations(moved)] == [1, 2]
    build(spark, moved, moved.sources[SOURCE])
    assert invariants.violations(spark, moved, LINES, POISON) == []
    assert not run_json("erase", "--key", "user_id=nobody", "--repo", repo.folder)["anything"]

    with pytest.raises(LostCheckpointError, match="or start the stream on the machine that has it"):
        drain(spark, at(repo, here))
