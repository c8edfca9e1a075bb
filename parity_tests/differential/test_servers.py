"""Feast's servers and remote stores answer on dualpath's stores what they answer on stock Feast's."""

from collections.abc import Iterator

import pytest

from parity_tests.differential.servers import HTTP, REMOTE, serving
from parity_tests.differential.sides import Side, build
from parity_tests.differential.test_differential import equal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, address: str) -> Iterator[dict[str, tuple[Side, Side]]]:
    """Both sides with their servers, which start at the same time; and a remote client of each."""
    folder = tmp_path_factory.mktemp("served")
    sides = [build(folder, name, address) for name in ("stock", "ours")]
    with serving(sides, folder) as started:
        yield started


@pytest.mark.parametrize("name", HTTP)
def test_feast_serve_answers_as_stock_feast(served: dict[str, tuple[Side, Side]], name: str) -> None:
    equal({side: both[0] for side, both in served.items()}, f"http {name}", HTTP[name])


@pytest.mark.parametrize("name", REMOTE)
def test_a_remote_client_is_answered_as_by_stock_feast(served: dict[str, tuple[Side, Side]], name: str) -> None:
    equal({side: both[1] for side, both in served.items()}, name, REMOTE[name])
