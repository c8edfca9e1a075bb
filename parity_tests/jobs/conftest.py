"""Repos that the tests of the stream share."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pyspark.sql import SparkSession

from dualpath.repo import Repo
from parity_tests import faults
from parity_tests.conftest import drain
from parity_tests.jobs.stream import LINES


@pytest.fixture(scope="session")
def calm(spark: SparkSession, new_repo: Callable[[], Repo]) -> Repo:
    """An undisturbed run: what every other run must end in."""
    repo = new_repo()
    faults.post(repo, LINES, files=2)
    drain(spark, repo, files_per_batch=1)
    return repo


@pytest.fixture(scope="session")
def expected(calm: Repo) -> tuple[Counter[Any], Counter[str]]:
    return faults.bits(calm)
