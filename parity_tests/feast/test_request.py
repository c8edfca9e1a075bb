"""Entity rows become columns that mean what was written."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dualpath.errors import InputError
from dualpath.feast.errors import explain_request
from dualpath.feast.request import read

WANTED: Any = SimpleNamespace(join_keys=set(), data={"amount"}, key_of_entity={}, keys={}, types={})
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def test_data_for_on_demand_views_is_not_cut_to_the_type_of_its_first_value() -> None:
    columns = read({"amount": [1, None, 2.5]}, 0, WANTED).columns()
    assert [type(value) for value in columns["amount"]] == [float, type(None), float]
    assert columns["amount"] == [1.0, None, 2.5]


def test_a_refused_instant_is_named_by_its_row_in_the_request() -> None:
    rows = [{"amount": 1}, {"amount": 2, "event_timestamp": NOON}, {"amount": 3, "event_timestamp": 7}]
    with pytest.raises(InputError, match="event_timestamp, row 2: 7 is a number"):
        read(rows, 0, WANTED)
    assert read(rows[:2], 5, WANTED).as_of.tolist() == [5, int(NOON.timestamp()) * 1_000_000]


@pytest.mark.parametrize("column", [{1, 2}, np.array(1), np.array([[1], [2]])], ids=["set", "lone", "table"])
def test_a_column_without_an_order_of_rows_is_refused(column: Any) -> None:
    with pytest.raises(InputError, match="'amount' of the entity rows has no first and second row"):
        read({"amount": column}, 0, WANTED)


def test_feast_takes_features_as_a_list_only() -> None:
    assert isinstance(explain_request(None, "shop", ("user:n",), AssertionError()), InputError)
