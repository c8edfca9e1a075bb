"""Every call of Feast on ordinary views answers on dualpath's stores what it answers on stock Feast's."""

import re
from typing import Any

import pytest

from parity_tests.conftest import CHECKOUT
from parity_tests.differential import catalogue, online, training, writes
from parity_tests.differential.differences import DIFFERENCES
from parity_tests.differential.refused import REFUSED
from parity_tests.differential.sides import Case, Refusal, Side, agree, build, outcome

CASES = {**online.CASES, **training.CASES, **writes.CASES, **catalogue.CASES}
REGISTERED = ["online list_of_rows", "online service", "online version_0", "training service", "training aliases"]
REGISTERED += ["training dataset_in_a_file", "write materialised", "write pushed_async"]
REGISTERED += ["catalogue plan_of_nothing", "catalogue plan_of_a_change", "catalogue everything_declared"]
PAGE = (CHECKOUT / "docs/feast.md").read_text()
ROWS = {reason: re.findall(r"`(\w+)`", cases) for reason, cases in re.findall(r"^\| (.*\.) \| (`.*`) \|$", PAGE, re.M)}


def differ(sides: dict[str, Side], name: str) -> None:
    """Hold a deliberate difference: stock answers otherwise, and our answer is the right one."""
    difference = DIFFERENCES[name]
    ours, stock = (outcome(CASES[name], sides[side]) for side in ("ours", "stock"))
    assert not agree(ours, stock), "no difference any more: take the case from the list"
    found = outcome(difference.look, sides["ours"])
    if isinstance(difference.right, type):
        assert isinstance(found, Refusal) and isinstance(found.error, difference.right), found
    else:
        assert found == difference.right


def equal(sides: dict[str, Side], name: str, case: Case) -> None:
    """Hold a case equal, and stock to answer or to refuse as the case means it to."""
    ours, stock = (outcome(case, sides[side]) for side in ("ours", "stock"))
    assert REFUSED.get(name) == (stock.kind if isinstance(stock, Refusal) else None), stock
    if isinstance(ours, Refusal) and not isinstance(stock, Refusal):
        raise AssertionError("stock answers, dualpath raises") from ours.error
    assert agree(ours, stock), (ours, stock)


@pytest.mark.parametrize("name", [name for name in CASES if name not in DIFFERENCES])
def test_dualpath_answers_as_stock_feast(sides: dict[str, Side], name: str) -> None:
    equal(sides, name, CASES[name])


@pytest.mark.parametrize("name", DIFFERENCES)
def test_dualpath_differs_where_the_documentation_says_so(sides: dict[str, Side], name: str) -> None:
    differ(sides, name)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, address: str) -> dict[str, Side]:
    """The same two with their registry in a database."""
    folder = tmp_path_factory.mktemp("registered")
    options: Any = {"registry_type": "sql", "enable_online_feature_view_versioning": True}
    return {
        name: build(folder, name, address, {**options, "path": f"sqlite:///{folder}/{name}.db"})
        for name in ("stock", "ours")
    }


@pytest.mark.parametrize("name", REGISTERED)
def test_a_registry_in_a_database_changes_nothing(registered: dict[str, Side], name: str) -> None:
    equal(registered, name, CASES[name])


def test_the_documentation_names_every_difference_with_its_reason_and_no_other() -> None:
    expected: dict[str, list[str]] = {}
    for name, difference in DIFFERENCES.items():
        case = name.partition(" ")[2]
        if case not in expected.setdefault(difference.reason, []):
            expected[difference.reason].append(case)
    assert expected == ROWS
