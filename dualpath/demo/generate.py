"""Seeded shop events with the quirks of real ones, for demos, tests and benchmarks of any size."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dualpath.errors import InputError

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

STAGES = ("page_view", "browse", "add_to_cart", "remove_from_cart", "begin_checkout", "purchase")
PAGE_VIEW, BROWSE, ADD, REMOVE, CHECKOUT, PURCHASE = range(6)
BROWSING = ("page_view", "view_item", "view_search_results")
MAX_LINES = 4
PLAIN, BURST, MIDNIGHT, WHOLE_MINUTE = range(4)

Ints = NDArray[np.int64]


def generate(
    *, users: int, events: int, products: int, categories: int, start: datetime, days: int, seed: int
) -> pa.Table:
    """Return `events` rows of what users do in a web shop, in delivery order; one seed gives one table.

    Columns: `user_id`, `action`, `product_id`, `category` (text), `quantity` (int64), `amount` and
    `order_value` (decimal(18, 2)), `event_time` and `arrival_time` (timestamp[us, UTC]). The lines of one
    order are the `purchase` rows of one user at one instant; `order_value` is their total, on one line only.

    The sessions lie in `[start, start + days)`. Of the rows, 1% are second deliveries of another row (equal
    but for `arrival_time`, within the hour), 10% arrive up to ten minutes after they happened, some hours
    late, a few up to three days late, and a handful before they happened, because a clock was ahead. One user
    makes about 6% of all events, others fall idle for good; sessions burst, straddle UTC midnight, or start
    at the same whole minute as those of other users. From 2,000 events on, every one of these is present.

    Raises `InputError` if a number is below 1, `seed` is negative or `start` has no time zone.

    >>> table = generate(users=50, events=1000, products=20, categories=4,
    ...                  start=datetime(2026, 3, 1, tzinfo=UTC), days=7, seed=1)
    >>> table.num_rows, table.column_names[:4]
    (1000, ['user_id', 'action', 'product_id', 'category'])
    """
    names = ("users", "events", "products", "categories", "days")
    for name, size in zip(names, (users, events, products, categories, days), strict=True):
        if size < 1:
            raise InputError(f"generate: {name} is {size}; pass at least 1.")
    if seed < 0:
        raise InputError(f"generate: seed is {seed}; pass 0 or a positive whole number.")
    if start.tzinfo is None:
        raise InputError(f"generate: start {start} has no time zone; pass one with tzinfo=UTC.")
    rng = np.random.default_rng(seed)
    first = (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    repeats = events // 100
    table, event_time = _unique_events(rng, events - repeats, users, products, categories, first, days * DAY)
    arrival = event_time + _delays(rng, len(event_time))
    again = rng.permutation(len(event_time))[:repeats]
    rows = np.concatenate([np.arange(len(event_time)), again])
    arrivals = np.concatenate([arrival, arrival[again] + rng.integers(1, HOUR, repeats)])
    delivered = np.argsort(arrivals, kind="stable")
    return table.take(rows[delivered]).append_column("arrival_time", _instants(arrivals[delivered]))


def _unique_events(
    rng: np.random.Generator, events: int, users: int, products: int, categories: int, first: int, span: int
) -> tuple[pa.Table, Ints]:
    """`events` different rows, session by session, and their event times."""
    # A session has at least two rows, so this many suffice; those past the last row are cut off at once.
    kind, counts = _sessions(rng, events // 2 + 1, products)
    kept = int(np.searchsorted(np.cumsum(counts.sum(1)), events)) + 1
    kind, counts = kind[:kept], counts[:kept]

    blocks = counts.ravel()
    stage = np.repeat(np.tile(np.arange(len(STAGES)), kept), blocks)[:events]
    session = np.repeat(np.arange(kept), counts.sum(1))[:events]
    place = np.arange(events) - np.repeat(np.cumsum(blocks) - blocks, blocks)[:events]

    user = _users(rng, kept, users)
    browsing = rng.choice(len(BROWSING), events, p=[0.3, 0.6, 0.1])
    # Order lines share one instant, and so may a page view and what is browsed first, if it differs from it.
    tied = (stage == BROWSE) & (place == 0) & (browsing > 0) & (rng.random(events) < 0.4)
    tied |= (stage == PURCHASE) & (place > 0)
    elapsed, lasts = _elapsed(rng, kind, session, tied)
    event_time = _starts(rng, kind, user, users, lasts, first, span)[session] + elapsed

    action = np.where(stage == BROWSE, browsing, len(BROWSING) + stage)
    has_product = np.isin(stage, (ADD, REMOVE, PURCHASE)) | ((stage == BROWSE) & (browsing == 1))
    # Neighbouring products keep the lines of one order different. The item removed is the last one added.
    shown = (products * rng.random(events) ** 2).astype(np.int64)
    basket = (products * rng.random(kept) ** 2).astype(np.int64)[session]
    line = np.where(stage == REMOVE, counts[session, ADD] - 1, place)
    product = np.where(stage == BROWSE, shown, (basket + line) % products)
    category = product % categories

    wanted = rng.choice([1, 2, 3, 12], (kept, MAX_LINES), p=[0.75, 0.15, 0.08, 0.02])
    quantity = wanted[session, np.minimum(line, MAX_LINES - 1)]
    has_quantity = (stage == PURCHASE) | (np.isin(stage, (ADD, REMOVE)) & (rng.random(events) < 0.95))
    cents = rng.integers(99, 20_000, products)[product] * quantity
    order_value, has_value = _order_values(session, stage, place, cents)

    table = pa.table(
        {
            "user_id": _names([f"user_{i:06d}" for i in range(users)], user[session]),
            "action": _names([*BROWSING, *STAGES], action),
            "product_id": _names([f"product_{i:05d}" for i in range(products)], product, has_product),
            # Every 50th product is in no category, as in any grown catalogue.
            "category": _names(
                [f"category_{i:03d}" for i in range(categories)], category, has_product & (product % 50 != 49)
            ),
            "quantity": pa.array(quantity, pa.int64(), mask=~has_quantity),
            "amount": _money(cents, has_quantity),
            "order_value": _money(order_value, has_value),
            "event_time": _instants(event_time),
        }
    )
    return table, event_time


def _sessions(rng: np.random.Generator, sessions: int, products: int) -> tuple[Ints, Ints]:
    """The kind of each session and its rows per stage, shape (sessions, stages)."""
    kind = rng.choice(4, sessions, p=[0.82, 0.05, 0.05, 0.08])
    short = rng.geometric(0.25, sessions).clip(max=40)
    browse = np.where(kind == BURST, rng.integers(12, 25, sessions), short)
    added = np.where(rng.random(sessions) < 0.3, rng.integers(1, min(MAX_LINES, products) + 1, sessions), 0)
    removed = (added > 0) & (rng.random(sessions) < 0.15)
    checkout = (added > removed) & (rng.random(sessions) < 0.6)
    bought = np.where(checkout & (rng.random(sessions) < 0.7), added - removed, 0)
    return kind, np.stack([np.ones_like(browse), browse, added, removed, checkout, bought], axis=1)


def _users(rng: np.random.Generator, sessions: int, users: int) -> Ints:
    """Who opens each session: user 0 every twentieth on top of a long-tailed share."""
    share = np.cumsum(rng.lognormal(0, 1, users))
    someone = np.searchsorted(share, rng.random(sessions) * share[-1]).clip(max=users - 1)
    return np.where(rng.random(sessions) < 0.06, 0, someone)


def _elapsed(rng: np.random.Generator, kind: Ints, session: Ints, tied: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Microseconds since the session opened, per row, and how long each session lasts (under five hours)."""
    rows = len(session)
    gap = (rng.lognormal(3, 1, rows) * SECOND).astype(np.int64).clip(1, 5 * MINUTE)
    gap = np.where(kind[session] == BURST, rng.integers(SECOND // 10, 12 * SECOND, rows), gap)
    gap = np.where(kind[session] == WHOLE_MINUTE, -(-gap // MINUTE) * MINUTE, gap)
    opens = np.diff(session, prepend=-1) > 0
    gap[tied | opens] = 0
    elapsed = np.cumsum(gap)
    elapsed -= elapsed[opens][session]
    return elapsed, elapsed[np.append(opens[1:], True)]


def _starts(rng: np.random.Generator, kind: Ints, user: Ints, users: int, lasts: Ints, first: int, span: int) -> Ints:
    """When each session opens, so that it closes before `first + span`: microseconds since 1970, UTC."""
    active = np.where(rng.random(users) < 0.3, rng.uniform(0.05, 0.5, users), 1.0)
    active[0] = 1.0
    start = first + (rng.random(len(kind)) * active[user] * span).astype(np.int64)

    noon_or_midnight = start // (12 * HOUR) * (12 * HOUR)
    minute = np.flatnonzero(kind == WHOLE_MINUTE)
    # Once per user and instant: two sessions in step would repeat rows and run their orders together.
    pairs = np.stack([user[minute], noon_or_midnight[minute]])
    minute = minute[np.unique(pairs, axis=1, return_index=True)[1]]
    snapped = start.copy()
    snapped[minute] = noon_or_midnight[minute]
    before_midnight = start // DAY * DAY - rng.integers(1, MINUTE, len(kind))
    snapped = np.where(kind == MIDNIGHT, before_midnight, snapped)

    start = np.where(snapped >= first, snapped, start)
    return np.where(start + lasts < first + span, start, start - lasts)


def _order_values(session: Ints, stage: Ints, place: Ints, cents: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """The order's total in cents on its first line, and which rows are first lines."""
    bought = np.flatnonzero(stage == PURCHASE)
    first_line = (stage == PURCHASE) & (place == 0)
    totals = np.zeros(len(cents), dtype=np.int64)
    if bought.size:
        totals[first_line] = np.add.reduceat(cents[bought], np.flatnonzero(place[bought] == 0))
    return totals, first_line


def _delays(rng: np.random.Generator, rows: int) -> Ints:
    """Microseconds from event to arrival: mostly seconds, at times minutes, hours, days, or below zero."""
    delay = rng.exponential(2 * SECOND, rows).astype(np.int64)
    minutes = rng.random(rows) < 0.1
    delay[minutes] = rng.integers(0, 10 * MINUTE, int(minutes.sum()))
    # Counts rather than chances, so that even a small table has them.
    extremes = np.concatenate(
        [
            rng.integers(HOUR, 12 * HOUR, rows // 200 + 1),
            rng.integers(DAY, 3 * DAY, rows // 2000 + 1),
            -rng.integers(SECOND, 5 * SECOND, 5),
        ]
    )[:rows]
    delay[rng.permutation(rows)[: len(extremes)]] = extremes
    return delay


def _names(names: list[str], index: Ints, valid: NDArray[np.bool_] | None = None) -> pa.Array:
    return pa.array(names).take(pa.array(index, mask=None if valid is None else ~valid))


def _money(cents: Ints, valid: NDArray[np.bool_]) -> pa.Array:
    whole = pa.array(cents, mask=~valid).cast(pa.decimal128(19, 0))
    return pc.multiply(whole, pa.scalar(Decimal("0.01"))).cast(pa.decimal128(18, 2))


def _instants(microseconds: Ints) -> pa.Array:
    return pa.array(microseconds).cast(pa.timestamp("us", "UTC"))
