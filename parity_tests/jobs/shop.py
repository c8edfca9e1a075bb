"""Events of a shop in pieces, and what must hold of its repo after any fault."""

from datetime import date

from pyspark.sql import SparkSession

from dualpath.console import status
from dualpath.jobs.build import build
from dualpath.log import audit
from dualpath.parity.check import check
from dualpath.repo import Repo
from parity_tests import faults
from parity_tests.conftest import SOURCE
from parity_tests.jobs.stream import LINES

DAY_1, DAY_2 = date(2026, 3, 1), date(2026, 3, 2)
PIECES = [LINES[i : i + 200] for i in range(0, len(LINES), 200)]


def whole(spark: SparkSession, repo: Repo, lines: int = len(LINES)) -> None:
    """Every row has one outcome, the log holds every event once, and served is trained is the oracle's."""
    found = faults.counts(repo)
    assert found["rows_read"] == lines == found["accepted"] + found["duplicate"] + found["dead_letter"]
    assert max(faults.ids(repo).values()) == 1 and sum(faults.ids(repo).values()) == found["accepted"]
    assert audit.faults(repo.storage(SOURCE), repo.storage(SOURCE).accounts(), opened=True) == []
    assert online(repo) == "whole"
    build(spark, repo, repo.sources[SOURCE])
    proof = check(repo, cells=2_000, oracle_cells=200)
    assert proof.passed, proof.examples


def online(repo: Repo) -> str:
    return status.report(repo).data["online_store"][SOURCE]
