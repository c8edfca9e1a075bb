"""What cannot work on a cluster is refused before Spark is started."""

from pathlib import Path

import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession

from dualpath.errors import InputError
from dualpath.jobs.session import session_of
from dualpath.online.connection import VARIABLE
from dualpath.repo import Repo
from dualpath.spark import workers
from dualpath.spark.session import known_master


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> str:
    """The master of the environment, of a process without a session."""
    monkeypatch.setattr(SparkContext, "_active_spark_context", None)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("SPARK_MASTER", "spark://machine:7077")
    return "spark://machine:7077"


def test_the_embedded_redis_is_refused_on_a_cluster(applied: Path, master: str) -> None:
    with pytest.raises(InputError) as refused:
        session_of(Repo(applied), "test")
    assert refused.value.message == (
        f"Spark's master is {master}, and its workers cannot reach the embedded Redis, which is for one machine; "
        "name a Redis that they reach with online_store.connection_string or DUALPATH_REDIS."
    )
    assert not (applied / "data" / "redis").exists()


def test_the_master_is_the_chosen_one_else_the_environments_else_this_machine(
    master: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert known_master({"spark.master": "yarn"}) == "yarn"
    assert known_master() == master
    monkeypatch.delenv("SPARK_MASTER")
    assert known_master() == "local"
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    assert known_master() == ""


def test_workers_are_asked_once_whether_they_see_a_folder(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a job; those of this machine see every folder of it."""
    monkeypatch.setattr(workers, "are_elsewhere", lambda master: True)
    context, asked = spark.sparkContext, list[int]()
    context.setJobGroup("asked", "whether workers see a folder")
    for folder in ("a", "a", "b", "a", "b"):
        workers.require(spark, tmp_path / folder)
        asked.append(len(context.statusTracker().getJobIdsForGroup("asked")))
    context.setLocalProperty("spark.jobGroup.id", None)  # type: ignore[arg-type]
    assert asked == [1, 1, 2, 2, 2]
