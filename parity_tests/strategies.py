"""Hypothesis strategies: events, views and instants that hurt."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from hypothesis import strategies as st

from dualpath.aggregates import Aggregate
from dualpath.changes import Changes
from dualpath.dimension import dimension, lookup
from dualpath.kinds import NUMBERS
from dualpath.paths import first_of
from dualpath.schema import EventSource, boolean, decimal, double, identifier, integer, text, timestamp
from dualpath.view import Feature, View
from dualpath.windows import DAY, SECOND, Window, calendar, days, lifetime, minutes, seconds, sliding
from dualpath.words import code

CLICKS = EventSource(
    "clicks",
    (
        text("user"),
        integer("shop"),
        identifier("owner"),
        text("action"),
        text("note"),
        integer("quantity"),
        decimal("amount", scale=2),
        double("score"),
        boolean("flag"),
        timestamp("seen"),
    ),
)
KINDS = dimension(
    "kinds",
    path="kinds.jsonl",
    keys=[text("action")],
    fields=[integer("quantity"), decimal("amount", scale=2)],
    valid_to="valid_to",
)
CHANGED = EventSource(
    "changed",
    (
        text("user", path=first_of("user", "before.user"), required=True),
        integer("shop", path=first_of("shop", "before.shop"), required=True),
        *(field for field in CLICKS.fields[2:] if field.name not in ("quantity", "amount")),
        integer("place", path=first_of("place", "before.place"), required=True),
        integer("edition", required=True),
    ),
    changes=Changes(key=("shop", "place"), version="edition", deleted="note = 'New'", before="before"),
    lookups=(lookup(KINDS),),
)
"""The same as versions of rows, a few of which have many, and some of which say that the row was another's. Two fields
are looked up."""
CENTS = Decimal("0.01")
POOLS: dict[str, list[Any]] = {
    "user": ["ann", "ann", "ann", "bob", "", None],
    "shop": [1, 1, -1, None],
    "owner": [2**63 - 1, 1 - 2**63, 2**53 + 1, 2**53, 7, None],
    "action": ["buy", "view", "click", None],
    "note": ["new", "", "Ünï 😀", "it's", "New", None],
    "quantity": [1, 0, -3, 7, 100, None],
    "amount": [Decimal("19.99"), CENTS, -CENTS, Decimal("0.00"), 10**15 * CENTS, -(10**15) * CENTS, None],
    "score": [1.5, 0.1, 0.0, -0.0, -2.25, 5e-324, -1.7976931348623157e308, None],
    "flag": [True, False, None],
    "seen": [0, -1, 1_700_000_000_000_001, None],
    "place": [1, 1, 2],
    "edition": [1, 2, 3],
    "before_user": [None, None, "ann", "ann", "bob"],
    "before_shop": [None, None, None, 1, -1],
    "before_place": [None, None, None, 1, 2],
}
OF: dict[str, list[str]] = {
    "text": ["action", "coalesce(note, action)", "lower(note)"],
    "identifier": ["owner", "coalesce(owner, 9223372036854775806)"],
    "integer": ["quantity", "quantity * 3 - 1", "CASE WHEN flag THEN quantity END"],
    "decimal": ["amount", "amount * 3 - quantity", "coalesce(amount, 0.5)"],
    "double": ["score", "coalesce(score, score)"],
    "boolean": ["flag", "amount > 0.01"],
    "timestamp": ["seen", "event_time", "coalesce(seen, arrival_time)"],
}
WHERE = [
    None,
    "action = 'buy'",
    "NOT flag",
    "amount BETWEEN -0.01 AND 20",
    "quantity IN (1, 7) OR action IS NULL",
    "note LIKE 'n%' OR upper(note) = 'NEW'",
    "event_time <= arrival_time",
    "owner = 9007199254740993 OR owner IN (-9223372036854775807, 7)",
    "CASE WHEN flag THEN quantity > 0 ELSE score IS NOT NULL END",
    "score > -0.5 AND amount * quantity < 40",
]
ZONES = ["UTC", "Europe/London", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]
SLIDING = [
    sliding(timedelta(microseconds=1)),
    seconds(1),
    minutes(30),
    days(1),
    days(7),
    minutes(30).before(minutes(30)),
    seconds(1).before(days(1)),
]
WINDOWS: list[Window] = [*SLIDING, lifetime(), *(calendar(u, z) for u in ("day", "week", "month") for z in ZONES)]
BOUNDED = [window for window in WINDOWS if window.kind != "lifetime"]
RESOLUTIONS = [1, 1, SECOND, 60 * SECOND]


def at(*when: int) -> int:
    """Microseconds UTC of a year, month, day, hour, minute, second, microsecond."""
    return (datetime(*when, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


INSTANTS = [
    at(2024, 2, 29),  # a leap day
    at(2024, 3, 1, 18, 30),  # midnight in Kolkata
    at(2024, 3, 31, 1),  # the clock goes forward in London,
    at(2024, 10, 27, 1),  # and back
    at(2024, 3, 10, 7),  # forward in New York,
    at(2024, 11, 3, 6),  # and back
    at(2011, 12, 30, 10),  # Apia skips a day
    at(2012, 1, 1),
    0,
]
STEPS = [0, SECOND, 60 * SECOND, 1800 * SECOND, 3600 * SECOND, 12 * 3600 * SECOND, DAY, 7 * DAY, 31 * DAY]
"""How far apart things happen: the widths of windows and buckets, so that edges are often hit."""


NEAR = st.builds(lambda step, jitter: step + jitter, st.sampled_from(STEPS), st.sampled_from([0, 0, 1, -1, 500_000]))
ROW = st.fixed_dictionaries(
    {"ago": NEAR, "delay": NEAR, **{name: st.sampled_from(pool) for name, pool in POOLS.items()}}
)
ROWS = st.lists(ROW, max_size=8)
CROWD = st.lists(
    st.builds(lambda row, ago: {**row, "ago": ago, "user": "ann", "shop": 1}, ROW, st.sampled_from([0, 0, 1, SECOND])),
    min_size=3,
    max_size=6,
)
"""Events of one entity within a second: several values in one window, repeated ones too."""
MOVING = st.lists(
    st.builds(
        lambda row, user, before, ago: {
            **row,
            **{"ago": ago, "user": user, "shop": 1, "place": 1, "note": "new"},
            **{"before_user": before, "before_shop": None, "before_place": None},
        },
        ROW,
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(["ann", "bob", None]),
        st.sampled_from([0, 0, 1, SECOND, 1800 * SECOND]),
    ),
    min_size=2,
    max_size=6,
)
"""Versions of one row, which goes to and fro between two entities."""
LATER = st.lists(NEAR, min_size=1, max_size=3)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[int]]:
    """Events with different ids, in no order, and instants to ask at; both often on each other's window edges."""
    now = draw(st.sampled_from(INSTANTS))
    events = []
    for number, row in enumerate(draw(st.one_of(ROWS, CROWD, MOVING))):
        time = now - row.pop("ago")
        # A delay of -1 is an event stamped ahead of its arrival.
        events.append({"event_id": f"e{number}", "event_time": time, "arrival_time": time + row.pop("delay"), **row})
    return events, [now, *(now + step for step in draw(LATER))]


@st.composite
def tables(draw: st.DrawFn, instants: Sequence[int] = INSTANTS) -> list[dict[str, Any]]:
    """Versions of `KINDS` that often begin and end when something happens, before some instants."""
    when = st.builds(lambda now, ago: now - ago, st.sampled_from(instants), NEAR)
    version = st.fixed_dictionaries(
        {
            "action": st.sampled_from(["buy", "buy", "view"]),
            "valid_from": when,
            "valid_to": st.one_of(st.none(), when),
            **{name: st.sampled_from(POOLS[name]) for name in ("quantity", "amount")},
        }
    )
    rows = draw(st.lists(version, max_size=12, unique_by=lambda row: (row["action"], row["valid_from"])))
    for row in rows:
        if row["valid_to"] is not None and row["valid_to"] <= row["valid_from"]:
            row["valid_to"] = None
    return rows


COMBINATIONS = [(name, kind) for name, each in Aggregate.registry.items() for kind in each.kinds or (None,)]
"""Every aggregate with every kind of column that it takes."""


@cache
def aggregates(name: str, kind: str | None) -> st.SearchStrategy[Aggregate]:
    """One aggregate over any expression of one kind, under any condition, with any options."""
    of = st.sampled_from(OF[kind]) if kind else st.none()
    counted = (
        st.one_of(*(aggregates("Sum", k) for k in NUMBERS), aggregates("Count", None)) if name == "Ratio" else None
    )
    options = {
        "where": st.none() if name == "Ratio" else st.sampled_from(WHERE),
        "by": st.sampled_from(OF["text"] if name == "SumBy" else [None, *OF["text"]]),
        "k": st.integers(1, 3),
        "p": st.sampled_from([0.01, 0.5, 0.9, 1]),
        "error": st.sampled_from([0.05, 0.9]),
        "half_life": st.sampled_from([0.000001, 0.3, 60.0, 86_400.0, 1e9]),
        "top": counted,
        "bottom": counted,
    }
    made = Aggregate.registry[name]
    names = {field.name for field in fields(made)}
    return st.builds(made, of, **{option: s for option, s in options.items() if option in names and s is not None})


@st.composite
def views(draw: st.DrawFn, name: str, kind: str | None) -> View:
    """Any view with one or two features of the aggregate and, at times, one of another."""
    chosen = [draw(aggregates(name, kind)) for _ in range(draw(st.integers(1, 2)))]
    if draw(st.booleans()):
        chosen.append(draw(aggregates(*draw(st.sampled_from(COMBINATIONS)))))
    source = draw(st.sampled_from([CLICKS, CLICKS, CHANGED]))
    exact = source.changes or any(each.needs == "events" for each in chosen)
    return draw(declared(chosen, draw(st.sampled_from([1] if exact else RESOLUTIONS)), source))


@st.composite
def wide_views(draw: st.DrawFn, size: int, source: EventSource = CLICKS) -> View:
    """Any view with `size` features of any aggregates."""
    grain = draw(st.sampled_from([1] if source.changes else RESOLUTIONS))
    able = [case for case in COMBINATIONS if grain == 1 or Aggregate.registry[case[0]].needs != "events"]
    return draw(declared([draw(aggregates(*draw(st.sampled_from(able)))) for _ in range(size)], grain, source))


@st.composite
def declared(draw: st.DrawFn, chosen: list[Aggregate], grain: int, source: EventSource) -> View:
    """A view of the aggregates by any keys, over any windows they can have at the resolution `grain`."""
    features = []
    for i, each in enumerate(chosen):
        windows = [w for w in (BOUNDED if each.needs else WINDOWS) if grain == 1 or not w.offset]
        features.append(Feature(f"f{i}", each, draw(st.sampled_from(windows))))
    keys = draw(st.sampled_from([("user",), ("user", "shop")]))
    # Views of one name share a place in every cache, and are compared field by field there.
    name = f"clicks_by_{code(' '.join(map(str, features))) % 2**32}"
    return View(name, keys, source, tuple(features), grain)
