"""Generated events are reproducible and hold every quirk the platform must survive, at any sensible size."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from dualpath.demo.generate import generate
from dualpath.errors import InputError

START = datetime(2026, 3, 1, tzinfo=UTC)
CONTENT = "user_id, action, product_id, category, quantity, amount, order_value, event_time"


def shop(events: int = 20_000, seed: int = 11) -> pa.Table:
    size = {"users": max(events // 40, 20), "products": 300, "categories": 12, "days": 14}
    return generate(events=events, start=START, seed=seed, **size)


@pytest.fixture(scope="module", params=[2_000, 50_000], ids=lambda events: f"{events} events")
def events(request: pytest.FixtureRequest) -> pa.Table:
    return shop(request.param)


def ask(events: pa.Table, query: str) -> list[tuple]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", events)
        return connection.sql(query).fetchall()


def one(events: pa.Table, expression: str) -> Any:
    [(value,)] = ask(events, f"SELECT {expression} FROM events")
    return value


def test_one_seed_gives_one_table_and_another_seed_another() -> None:
    assert serialised(shop()) == serialised(shop())
    assert serialised(shop()) != serialised(shop(seed=12))


def serialised(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_the_columns_have_the_declared_types(events: pa.Table) -> None:
    money, instant = pa.decimal128(18, 2), pa.timestamp("us", "UTC")
    assert {field.name: field.type for field in events.schema} == {
        "user_id": pa.string(),
        "action": pa.string(),
        "product_id": pa.string(),
        "category": pa.string(),
        "quantity": pa.int64(),
        "amount": money,
        "order_value": money,
        "event_time": instant,
        "arrival_time": instant,
    }


@pytest.mark.parametrize("size", [1, 2, 3, 99, 100, 101, 1000])
def test_the_table_has_exactly_the_rows_asked_for(size: int) -> None:
    one_of_each = {"users": 1, "products": 1, "categories": 1, "days": 1}
    assert generate(events=size, start=START, seed=size, **one_of_each).num_rows == size


def test_rows_are_in_order_of_arrival(events: pa.Table) -> None:
    arrivals = events["arrival_time"].to_pylist()
    assert arrivals == sorted(arrivals)


def test_event_times_stay_within_the_days_asked_for(events: pa.Table) -> None:
    assert one(events, "min(event_time)") >= START
    assert one(events, "max(event_time)") < START + timedelta(days=14)


def test_a_start_within_a_day_is_kept_to() -> None:
    start = START + timedelta(hours=5, microseconds=3)
    sizes = {"users": 50, "products": 20, "categories": 4, "days": 1}
    events = generate(events=5000, start=start, seed=3, **sizes)
    assert one(events, "min(event_time)") >= start
    assert one(events, "max(event_time)") < start + timedelta(days=1)


def test_one_row_in_a_hundred_is_a_second_delivery_within_the_hour(events: pa.Table) -> None:
    copies = f"""SELECT count(*), max(arrival_time) - min(arrival_time) FROM events
                 GROUP BY {CONTENT} HAVING count(*) > 1"""
    found = ask(events, copies)
    assert len(found) == events.num_rows // 100
    assert all(count == 2 and timedelta(0) < apart <= timedelta(hours=1) for count, apart in found)


def test_arrival_is_seconds_minutes_hours_and_days_behind(events: pa.Table) -> None:
    behind = "count(*) FILTER (arrival_time - event_time BETWEEN INTERVAL '{}' AND INTERVAL '{}') / count(*)"
    assert one(events, behind.format("0 seconds", "1 minute")) > 0.8
    assert 0.05 < one(events, behind.format("1 minute", "10 minutes")) < 0.15
    assert 0.002 < one(events, behind.format("1 hour", "12 hours")) < 0.02
    assert 0 < one(events, behind.format("1 day", "73 hours")) < 0.002
    assert one(events, "max(arrival_time - event_time)") < timedelta(days=3, hours=1)


def test_a_handful_arrive_seconds_before_they_happened(events: pa.Table) -> None:
    early = "arrival_time < event_time"
    assert one(events, f"count(*) FILTER ({early})") in range(1, 11)
    assert one(events, f"max(event_time - arrival_time) FILTER ({early})") < timedelta(seconds=5)


def test_event_times_run_backwards_in_delivery_order(events: pa.Table) -> None:
    times = events["event_time"].to_pylist()
    assert sum(later < earlier for earlier, later in pairwise(times)) > len(times) * 0.05


def test_many_rows_share_user_and_time(events: pa.Table) -> None:
    distinct = f"(SELECT DISTINCT {CONTENT} FROM events)"
    tied = f"SELECT user_id, event_time FROM {distinct} GROUP BY ALL HAVING count(*) > 1"
    assert len(ask(events, tied)) > events.num_rows * 0.03


def test_users_share_instants(events: pa.Table) -> None:
    shared = "SELECT event_time FROM events GROUP BY ALL HAVING count(DISTINCT user_id) > 1"
    assert len(ask(events, shared)) > 3


def test_some_events_fall_exactly_on_noon_midnight_and_other_whole_minutes(events: pa.Table) -> None:
    assert one(events, "count(*) FILTER (event_time = date_trunc('minute', event_time))") > events.num_rows * 0.02
    assert one(events, "count(*) FILTER (event_time = date_trunc('day', event_time))") > 0
    assert one(events, "count(*) FILTER (event_time = date_trunc('day', event_time) + INTERVAL 12 HOUR)") > 0


def test_one_user_makes_several_percent_of_all_events(events: pa.Table) -> None:
    first, second = ask(events, "SELECT count(*) FROM events GROUP BY user_id ORDER BY 1 DESC LIMIT 2")
    assert first[0] > 0.03 * events.num_rows
    assert first[0] > second[0]


def test_some_users_fall_idle_for_good(events: pa.Table) -> None:
    early = f"max(event_time) < TIMESTAMPTZ '{START + timedelta(days=7)}'"
    idle = f"SELECT user_id FROM events GROUP BY ALL HAVING count(*) >= 10 AND {early}"
    assert len(ask(events, idle)) > 0


def test_some_users_burst_through_ten_actions_in_five_minutes(events: pa.Table) -> None:
    recent = """count(*) OVER (PARTITION BY user_id ORDER BY event_time
                               RANGE BETWEEN INTERVAL 5 MINUTE PRECEDING AND CURRENT ROW)"""
    bursts = f"SELECT DISTINCT user_id FROM (SELECT user_id, {recent} AS actions FROM events) WHERE actions > 10"
    assert len(ask(events, bursts)) > 3


def test_some_sessions_straddle_utc_midnight(events: pa.Table) -> None:
    previous = "lag(event_time) OVER (PARTITION BY user_id ORDER BY event_time)"
    steps = f"SELECT event_time AS after, {previous} AS before FROM events"
    straddling = f"""SELECT count(*) FROM ({steps})
                     WHERE after - before < INTERVAL 5 MINUTE AND after::DATE > before::DATE"""
    assert ask(events, straddling)[0][0] > 3


def test_sessions_narrow_like_a_funnel(events: pa.Table) -> None:
    actions = dict(ask(events, "SELECT action, count(*) FROM events GROUP BY 1"))
    assert set(actions) == {
        "page_view",
        "view_item",
        "view_search_results",
        "add_to_cart",
        "remove_from_cart",
        "begin_checkout",
        "purchase",
    }
    assert actions["view_item"] > actions["add_to_cart"] > actions["purchase"] > 0
    assert actions["add_to_cart"] > actions["begin_checkout"] > 0


def test_products_categories_and_quantities_are_sometimes_null(events: pa.Table) -> None:
    assert one(events, "count(*) FILTER (user_id IS NULL OR action IS NULL)") == 0
    assert one(events, "count(*) FILTER (action = 'page_view' AND product_id IS NOT NULL)") == 0
    assert one(events, "count(*) FILTER (action = 'view_item' AND quantity IS NOT NULL)") == 0
    for present, missing in [("action = 'add_to_cart'", "quantity"), ("product_id IS NOT NULL", "category")]:
        assert one(events, f"count(*) FILTER ({present} AND {missing} IS NULL)") > 0
        assert one(events, f"count(*) FILTER ({present} AND {missing} IS NOT NULL)") > 0


def test_amount_is_present_with_quantity_and_is_one_price_times_it(events: pa.Table) -> None:
    assert one(events, "count(*) FILTER ((amount IS NULL) <> (quantity IS NULL))") == 0
    priced = "(SELECT product_id, quantity, CAST(amount * 100 AS BIGINT) AS cents FROM events WHERE amount > 0)"
    assert ask(events, f"SELECT * FROM {priced} WHERE cents % quantity <> 0") == []
    two_prices = "GROUP BY 1 HAVING count(DISTINCT cents // quantity) > 1"
    assert ask(events, f"SELECT product_id FROM {priced} {two_prices}") == []


def test_order_value_is_the_total_on_exactly_one_line_of_each_order(events: pa.Table) -> None:
    orders: dict[tuple[str, datetime], list[tuple[Decimal, Decimal | None]]] = {}
    purchases = f"SELECT DISTINCT {CONTENT} FROM events WHERE action = 'purchase'"
    for user, *_, amount, order_value, event_time in ask(events, purchases):
        orders.setdefault((user, event_time), []).append((amount, order_value))
    for lines in orders.values():
        [total] = [order_value for _, order_value in lines if order_value is not None]
        assert total == sum(amount for amount, _ in lines)
    assert {len(lines) for lines in orders.values()} == {1, 2, 3, 4}
    assert one(events, "count(order_value) FILTER (action <> 'purchase')") == 0


@pytest.mark.parametrize("name", ["users", "events", "products", "categories", "days"])
def test_a_number_below_one_is_refused_by_name(name: str) -> None:
    numbers = {"users": 1, "events": 1, "products": 1, "categories": 1, "days": 1} | {name: 0}
    with pytest.raises(InputError, match=f"{name} is 0; pass at least 1"):
        generate(start=START, seed=1, **numbers)


def test_a_negative_seed_and_a_start_without_time_zone_are_refused() -> None:
    numbers = {"users": 1, "events": 1, "products": 1, "categories": 1, "days": 1}
    with pytest.raises(InputError, match="seed is -1"):
        generate(start=START, seed=-1, **numbers)
    with pytest.raises(InputError, match="no time zone"):
        generate(start=datetime(2026, 3, 1), seed=1, **numbers)
