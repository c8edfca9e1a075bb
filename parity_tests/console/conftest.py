"""Repos that the tests of commands share."""

from collections.abc import Callable

import pytest

from dualpath.repo import Repo


@pytest.fixture(scope="session")
def untouched(new_repo: Callable[[], Repo]) -> Repo:
    """A repo without events, for commands that only read."""
    return new_repo()


@pytest.fixture
def repo(new_repo: Callable[[], Repo]) -> Repo:
    return new_repo()
