"""Real event data, mapped to the columns the platform reads.

No export carries an arrival time, so both readers state one by the same rule. An analytics export delivers a
day's events as one block: within its UTC day a row arrives at the greatest event time delivered so far, in
file order. So arrival is never before the event, and falls on the event's day.
"""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa

from dualpath.errors import InputError

GA4_FILE = "ga4_shop_events.parquet"
RETAIL_FILE = "online_retail.parquet"

ARRIVAL = """
    max(event_time) OVER (PARTITION BY date_trunc('day', event_time) ORDER BY file_row_number) AS arrival_time
"""

GA4 = f"""
WITH mapped AS (
    SELECT
        file_row_number,
        user_id,
        event_name AS action,
        item_id AS product_id,
        item_category AS category,
        CAST(quantity AS BIGINT) AS quantity,
        CAST(CAST(price AS DECIMAL(18, 2)) * CAST(quantity AS BIGINT) AS DECIMAL(18, 2)) AS amount,
        event_timestamp AT TIME ZONE 'UTC' AS event_time
    FROM file
), numbered AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY user_id, action, product_id, category, quantity, amount, event_time
        ) AS copy,
        -- Copies of a line share its rank, so they also share its order value and stay copies.
        dense_rank() OVER (
            PARTITION BY user_id, event_time, action ORDER BY product_id, amount, category, quantity
        ) AS line
    FROM mapped
)
SELECT
    user_id, action, product_id, category, quantity, amount,
    CASE WHEN action = 'purchase' AND line = 1 THEN CAST(
        sum(amount) FILTER (WHERE copy = 1) OVER (PARTITION BY user_id, event_time, action) AS DECIMAL(18, 2)
    ) END AS order_value,
    event_time,
    {ARRIVAL}
FROM numbered
ORDER BY file_row_number
"""

RETAIL = f"""
SELECT
    CAST(CAST(CustomerID AS BIGINT) AS VARCHAR) AS customer,
    InvoiceNo AS invoice,
    StockCode AS stock_code,
    Description AS description,
    Country AS country,
    Quantity AS quantity,
    CAST(UnitPrice AS DECIMAL(18, 3)) AS unit_price,
    row_number() OVER (
        PARTITION BY InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country
        ORDER BY file_row_number
    ) - 1 AS line_no,
    InvoiceDate AT TIME ZONE 'UTC' AS event_time,
    {ARRIVAL}
FROM file
ORDER BY file_row_number
"""


def ga4_shop_events(folder: Path) -> pa.Table:
    """The web shop's analytics export as shop events, in file order, its exact duplicate rows included.

    Columns: `user_id`, `action`, `product_id`, `category` (text), `quantity` (int64), `amount` and
    `order_value` (decimal(18, 2)), `event_time` and `arrival_time` (timestamp[us, UTC]).

    `amount` is price times quantity, null unless both are present. Purchases of one user at one instant are
    one order: `order_value` is the total of its lines, duplicates counted once, on the line that comes first
    by product, then amount, and null on every other row; an order without any amount has a null total.
    `arrival_time` follows this module's rule: the file holds its 92 days in no order, and the rows of a day
    out of order by up to hours.

    Raises `InputError` if the file is missing or holds a price or quantity that the types above would round.
    """
    return _read(folder / GA4_FILE, GA4, {"price": "DECIMAL(18, 2)", "quantity": "BIGINT"})


def online_retail(folder: Path) -> pa.Table:
    """The gift wholesaler's invoice lines, in file order.

    Columns: `customer` (text, null for an unnamed one), `invoice`, `stock_code`, `description`, `country`
    (text), `quantity` (int64, negative on returns), `unit_price` (decimal(18, 3): four lines cost 0.001),
    `line_no` (int64), `event_time` and `arrival_time` (timestamp[us, UTC]). `line_no` counts from 0 the
    identical rows of an invoice, which tells two real lines apart that agree in all else. `arrival_time`
    follows this module's rule; the file is in order of event time, so the two are equal. The source names no
    time zone; its clock is read as UTC.

    Raises `InputError` if the file is missing or holds a number that the types above would round.
    """
    return _read(folder / RETAIL_FILE, RETAIL, {"UnitPrice": "DECIMAL(18, 3)", "CustomerID": "BIGINT"})


DATASETS: dict[str, tuple[Callable[[Path], pa.Table], str]] = {
    "ga4_shop_events": (ga4_shop_events, GA4_FILE),
    "online_retail": (online_retail, RETAIL_FILE),
}
"""What the command line offers: a name, its reader, and the file the reader looks for in a folder."""


def _read(file: Path, query: str, narrowed: dict[str, str]) -> pa.Table:
    """Run `query` over `file`, once it is known that narrowing its doubles to these types loses nothing."""
    if not file.is_file():
        raise InputError(f"{file}: no such file; download the dataset and pass the folder that holds it.")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.read_parquet(str(file), file_row_number=True).create_view("file")
        for column, kind in narrowed.items():
            changed = f"CAST(TRY_CAST({column} AS {kind}) AS DOUBLE) IS DISTINCT FROM {column}"
            [(rows,)] = connection.sql(f"SELECT count(*) FROM file WHERE {changed}").fetchall()
            if rows:
                raise InputError(
                    f"{file}: {rows} values of {column} do not fit {kind}; correct them or widen the type."
                )
        return connection.sql(query).to_arrow_table()
