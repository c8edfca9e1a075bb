"""One Redis and one pair of repos for all cases."""

from collections.abc import Iterator

import pytest

from dualpath.runtime import redis
from parity_tests.differential.sides import Side, build


@pytest.fixture(scope="package")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of the suite's own."""
    folder = tmp_path_factory.mktemp("redis")
    yield redis.ensure(folder)
    redis.stop(folder)


@pytest.fixture(scope="package")
def sides(tmp_path_factory: pytest.TempPathFactory, address: str) -> dict[str, Side]:
    """Stock's side and ours."""
    folder = tmp_path_factory.mktemp("sides")
    return {name: build(folder, name, address) for name in ("stock", "ours")}
