"""Repos of a shop that the tests of jobs share."""

from collections.abc import Callable

import pytest
from pyspark.sql import SparkSession

from dualpath.jobs.nightly import nightly
from dualpath.repo import Repo
from parity_tests import faults
from parity_tests.conftest import SOURCE, drain
from parity_tests.jobs.shop import DAY_1, PIECES
from parity_tests.saved import Saved


@pytest.fixture(scope="session")
def evening(spark: SparkSession, new_repo: Callable[[], Repo], tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A repo whose stream has read all but the last piece."""
    repo = new_repo()
    for piece in PIECES[:-1]:
        faults.post(repo, piece)
    drain(spark, repo)
    return Saved(repo, tmp_path_factory.mktemp("evening"))


@pytest.fixture(scope="session")
def morning(spark: SparkSession, evening: Saved, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """The same after a night."""
    repo = evening.again()
    nightly(spark, repo, repo.sources[SOURCE], DAY_1)
    return Saved(repo, tmp_path_factory.mktemp("morning"))


@pytest.fixture(params=["evening", "morning"], ids=["without a snapshot", "with a snapshot"])
def saved_shop(request: pytest.FixtureRequest) -> Repo:
    """A repo whose stream has read all but the last piece, before and after a night."""
    return request.getfixturevalue(request.param).again()
