"""A repo that the tests of `explain` share."""

import shutil
from pathlib import Path

import pytest

from dualpath.repo import Repo
from parity_tests import generated
from parity_tests.parity.explained import RECENT, SHOPS, WHOLE


@pytest.fixture(scope="session")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An applied repo of the views, which are v0, v1 and v2 there."""
    return generated.declare(tmp_path_factory.mktemp("explain") / "repo", [RECENT, SHOPS, WHOLE]).folder


@pytest.fixture
def repo(explained: Path, tmp_path: Path) -> Repo:
    """One whose log is empty."""
    shutil.copytree(explained, tmp_path / "repo")
    return Repo(tmp_path / "repo")
