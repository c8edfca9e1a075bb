"""The real files hold the quirks their readers rely on, and the readers keep every row and every cent."""

import os
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dualpath.demo.datasets import DATASETS, GA4_FILE, RETAIL_FILE, ga4_shop_events, online_retail
from dualpath.errors import InputError

MONEY, INSTANT = pa.decimal128(18, 2), pa.timestamp("us", "UTC")
MORNING = datetime(2022, 2, 1, 9)


@pytest.fixture(scope="module")
def folder() -> Path:
    if "DUALPATH_DATA" not in os.environ:
        pytest.skip("DUALPATH_DATA is not set; point it at the folder that holds the dataset files")
    return Path(os.environ["DUALPATH_DATA"])


@pytest.fixture(scope="module")
def shop(folder: Path) -> pa.Table:
    return ga4_shop_events(folder)


@pytest.fixture(scope="module")
def retail(folder: Path) -> pa.Table:
    return online_retail(folder)


def contents(table: pa.Table) -> list[tuple]:
    return list(zip(*table.drop_columns("arrival_time").to_pydict().values(), strict=True))


def export(folder: Path, *rows: tuple) -> pa.Table:
    """Read back a GA4 export of (user, time, action, item, category, price, quantity)."""
    names = ["user_id", "event_timestamp", "event_name", "item_id", "item_category", "price", "quantity"]
    text, number = pa.string(), pa.float64()
    types = [text, pa.timestamp("us"), text, text, text, number, number]
    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
    pq.write_table(pa.table(arrays, names=names), folder / GA4_FILE)
    return ga4_shop_events(folder)


def test_shop_rows_keep_file_order_and_their_values(folder: Path, shop: pa.Table) -> None:
    source = pq.read_table(folder / GA4_FILE)
    assert shop.num_rows == 78_482
    names = {
        "user_id": "user_id",
        "action": "event_name",
        "product_id": "item_id",
        "category": "item_category",
    }
    for ours, theirs in names.items():
        assert shop[ours].to_pylist() == source[theirs].to_pylist()
    assert shop["event_time"].to_pylist() == source["event_timestamp"].cast(INSTANT).to_pylist()
    assert shop["quantity"].to_pylist() == source["quantity"].to_pylist()
    priced = zip(source["price"].to_pylist(), source["quantity"].to_pylist(), strict=True)
    exact = [None if None in pair else Decimal(repr(pair[0])) * Decimal(repr(pair[1])) for pair in priced]
    assert shop["amount"].to_pylist() == exact
    assert shop["amount"].null_count == 78_482 - 1_691


def test_shop_duplicates_are_all_kept_and_none_is_a_purchase(folder: Path, shop: pa.Table) -> None:
    source = pq.read_table(folder / GA4_FILE)
    raw = Counter(zip(*source.to_pydict().values(), strict=True))
    mapped = Counter(contents(shop))
    assert sum(count - 1 for count in raw.values()) == 957
    # The dropped item name and price tell no two rows apart, so the mapping makes no new duplicates.
    assert sum(count - 1 for count in mapped.values()) == 957
    assert not any(count > 1 and row[1] == "purchase" for row, count in mapped.items())


def test_shop_rows_are_out_of_order_and_tied_as_documented(shop: pa.Table) -> None:
    times = shop["event_time"].to_pylist()
    steps = [earlier - later for earlier, later in pairwise(times) if later < earlier]
    assert len(steps) == 20_438
    assert max(steps).days == 83
    ties = Counter(zip(shop["user_id"].to_pylist(), times, strict=True)).values()
    assert sum(count for count in ties if count > 1) == 61_088
    assert max(ties) == 25
    assert max(Counter(shop["user_id"].to_pylist()).values()) == 1_971


def test_shop_arrival_is_the_running_maximum_of_the_day(shop: pa.Table) -> None:
    times, arrivals = shop["event_time"].to_pylist(), shop["arrival_time"].to_pylist()
    greatest: dict = {}
    for event_time, arrival_time in zip(times, arrivals, strict=True):
        day = event_time.date()
        greatest[day] = max(greatest.get(day, event_time), event_time)
        assert arrival_time == greatest[day]
    assert len(greatest) == 92
    lags = [a - e for e, a in zip(times, arrivals, strict=True)]
    assert sum(lag > timedelta(0) for lag in lags) == 77_382
    assert timedelta(hours=23) < max(lags) < timedelta(hours=24)


def test_shop_orders_are_totalled_on_their_first_line(shop: pa.Table) -> None:
    orders: dict[tuple, set[tuple]] = {}
    for user, action, product, _, _, amount, order_value, event_time in contents(shop):
        if action == "purchase":
            orders.setdefault((user, event_time), set()).add((product, amount, order_value))
        else:
            assert order_value is None
    assert (len(orders), sum(map(len, orders.values())), max(map(len, orders.values()))) == (69, 213, 24)
    without_amount = 0
    for lines in orders.values():
        (_, _, total), *others = sorted(lines, key=lambda line: line[0])
        assert len({product for product, _, _ in lines}) == len(lines)
        assert all(order_value is None for _, _, order_value in others)
        amounts = [amount for _, amount, _ in lines if amount is not None]
        assert total == (sum(amounts) if amounts else None)
        without_amount += not amounts
    assert without_amount == 2
    assert pc.sum(shop["order_value"]).as_py() == Decimal("5611.00")


def test_a_purchase_line_delivered_twice_is_totalled_once_and_stays_a_duplicate(tmp_path: Path) -> None:
    first = ("ann", MORNING, "purchase", "a", "toys", 2.5, 2.0)
    second = ("ann", MORNING, "purchase", "b", "toys", 0.1, 3.0)
    table = export(tmp_path, second, first, first, second)
    total = Decimal("5.30")
    assert table["order_value"].to_pylist() == [None, total, total, None]
    assert len(set(contents(table))) == 2


def test_lines_of_one_product_are_ordered_by_amount(tmp_path: Path) -> None:
    table = export(
        tmp_path,
        ("ann", MORNING, "purchase", "a", "toys", 10.0, 1.0),
        ("ann", MORNING, "purchase", "a", "toys", 9.0, 1.0),
        ("bob", MORNING, "purchase", "a", "toys", 7.0, 1.0),
        ("ann", MORNING, "add_to_cart", "a", "toys", 9.0, 1.0),
    )
    assert table["order_value"].to_pylist() == [None, Decimal(19), Decimal(7), None]


@pytest.mark.parametrize(("price", "quantity", "column"), [(0.125, 1.0, "price"), (1.0, 1.5, "quantity")])
def test_a_number_that_would_be_rounded_is_refused(tmp_path: Path, price: float, quantity: float, column: str) -> None:
    with pytest.raises(InputError, match=f"1 values of {column} do not fit"):
        export(tmp_path, ("ann", MORNING, "view_item", "a", "toys", price, quantity))


@pytest.mark.parametrize("name", DATASETS)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    read, file = DATASETS[name]
    with pytest.raises(InputError, match=f"{file}: no such file"):
        read(tmp_path)


def test_retail_rows_keep_file_order_and_their_values(folder: Path, retail: pa.Table) -> None:
    source = pq.read_table(folder / RETAIL_FILE)
    assert retail.num_rows == 541_909
    names = {
        "invoice": "InvoiceNo",
        "stock_code": "StockCode",
        "description": "Description",
        "country": "Country",
        "quantity": "Quantity",
    }
    for ours, theirs in names.items():
        assert retail[ours].cast(source[theirs].type).equals(source[theirs])
    assert retail["event_time"].equals(source["InvoiceDate"].cast(INSTANT))
    assert retail["unit_price"].type == pa.decimal128(18, 3)
    # Arrow's own cast from decimal to double is not correctly rounded; Python's is.
    assert [float(price) for price in retail["unit_price"].to_pylist()] == source["UnitPrice"].to_pylist()
    assert retail["customer"].cast(pa.float64()).equals(source["CustomerID"])


def test_retail_quirks_are_as_documented(retail: pa.Table) -> None:
    assert retail["customer"].null_count == 135_080
    assert retail["description"].null_count == 1_454
    assert pc.sum(pc.less(retail["quantity"], 0)).as_py() == 10_624
    assert pc.min(retail["quantity"]).as_py() == -80_995
    assert pc.sum(pc.starts_with(retail["invoice"], "C")).as_py() == 9_288
    assert pc.sum(pc.less(retail["unit_price"], Decimal(0))).as_py() == 2
    assert pc.sum(pc.equal(retail["unit_price"], Decimal("0.001"))).as_py() == 4
    named = retail.filter(pc.is_valid(retail["customer"]))
    assert pc.max(named.group_by(["customer", "event_time"]).aggregate([([], "count_all")])["count_all"]).as_py() == 543


def test_retail_arrives_in_order_of_event_time(retail: pa.Table) -> None:
    assert retail["arrival_time"].equals(retail["event_time"])


def test_retail_line_numbers_tell_identical_lines_apart(retail: pa.Table) -> None:
    content = [name for name in retail.column_names if name not in ("line_no", "arrival_time")]
    distinct = retail.group_by(content).aggregate([("line_no", "max"), ([], "count_all")])
    assert retail.num_rows - distinct.num_rows == 5_268
    assert pc.all(pc.equal(pc.add(distinct["line_no_max"], 1), distinct["count_all"])).as_py()
    assert retail.group_by([*content, "line_no"]).aggregate([]).num_rows == retail.num_rows
    assert pc.max(retail["line_no"]).as_py() == 19
