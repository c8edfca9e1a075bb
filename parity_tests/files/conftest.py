"""Places to keep files in: a folder, an object store, and one that has bad days."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dualpath.files.objects import ObjectPath, opened
from dualpath.files.places import Place
from parity_tests.startup.object_store import reached
from parity_tests.startup.s3 import Server
from parity_tests.startup.s3_faults import Faults


@pytest.fixture
def remote(s3: Server) -> Iterator[ObjectPath]:
    """A place of the test's own in an object store."""
    with reached(s3.environ):
        yield opened(s3.fresh())


@pytest.fixture(params=["folder", "s3"])
def somewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place of the test's own, in a folder and in an object store."""
    if request.param == "folder":
        return tmp_path / "data"
    found: ObjectPath = request.getfixturevalue("remote")
    return found


@pytest.fixture
def faults(s3: Server) -> Iterator[Faults]:
    """What stands between this process and the object store."""
    with Faults(s3) as started, reached(started.environ):
        yield started


@pytest.fixture
def faulty(s3: Server, faults: Faults) -> ObjectPath:
    """A place of the test's own behind it."""
    return opened(s3.fresh())


def key(file: Place) -> str:
    """The key of an object."""
    return file.as_posix().partition("://")[2].partition("/")[2]
