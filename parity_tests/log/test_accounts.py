"""The accounts of batches, as columns: what a plain walk over the batches says, they say."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from random import Random

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dualpath.log.accounts import SCHEMA, Accounts, Entry, Total, span
from dualpath.log.outcomes import COUNTS, GREATEST, OUTCOMES
from dualpath.record import Fence

DAYS = [f"2026-03-{day:02}" for day in range(1, 5)]
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1) // timedelta(microseconds=1)
REASONS = ["not a JSON object", "amount is not finite", "user is missing", ""]
Batches = list[Entry]


@st.composite
def batches(draw: st.DrawFn) -> Batches:
    """Batches of up to three queries, each from its first one on, oldest first."""
    found = []
    for query in sorted(draw(st.sets(st.integers(1, 4), max_size=3))):
        found += [entry(draw, query, batch) for batch in range(draw(st.integers(1, 6)))]
    return found


def entry(draw: st.DrawFn, query: int, batch: int) -> Entry:
    counts = {name: draw(st.integers(0, 9)) for name in (*COUNTS, "erased", *GREATEST)}
    if draw(st.booleans()):
        counts["rows_read"] = counts["erased"] + sum(counts[outcome] for outcome in OUTCOMES)
    return Entry(
        query,
        batch,
        closed_through=draw(st.sampled_from(["", *DAYS])),
        logged=True,
        clock=draw(st.sampled_from([0, 1, *(int(MARCH.timestamp()) * 1_000_000 + n * 7 * HOUR for n in range(12))])),
        arrival_days=tuple(sorted(draw(st.sets(st.sampled_from(DAYS))))),
        positions=draw(st.dictionaries(st.sampled_from(["shop/0", "shop/1", "7.jsonl"]), st.integers(0, 2**60))),
        reasons=draw(st.dictionaries(st.sampled_from(REASONS), st.integers(0, 9))),
        **counts,
    )


def stored(found: Batches, seed: int = 0) -> Accounts:
    """Those of rows in any order, in several pieces, of which some are slices of larger ones."""
    rows = [each.row for each in found]
    Random(seed).shuffle(rows)
    half = len(rows) // 2
    pieces = [pa.concat_tables([*rows[:half], SCHEMA.empty_table()]).combine_chunks(), *rows[half:]]
    return Accounts.of(pa.concat_tables([piece.slice(0, len(piece)) for piece in pieces]))


def clock_day(each: Entry) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=each.clock)).date().isoformat()


def days_of(each: Entry) -> tuple[str, ...]:
    return each.arrival_days or (clock_day(each),)


def plain_spans(found: Batches) -> dict[str, dict[int, tuple[tuple[int, int], ...]]]:
    spans: dict[str, dict[int, list[list[int]]]] = {}
    for each in found:
        for day in each.arrival_days:
            of = spans.setdefault(day, {}).setdefault(each.query, [])
            if of and of[-1][1] == each.batch - 1:
                of[-1][1] = each.batch
            else:
                of.append([each.batch, each.batch])
    return {day: {q: tuple((f, la) for f, la in each) for q, each in of.items()} for day, of in spans.items()}


@given(found=batches(), seed=st.integers(0, 3))
@settings(max_examples=150)
def test_accounts_say_what_a_walk_over_the_batches_says(found: Batches, seed: int) -> None:
    accounts = stored(found, seed)
    assert len(accounts) == len(found)
    assert [Entry.read(row, done=True) for row in accounts.rows.to_pylist()] == [
        Entry(**{**vars(each), "done": True}) for each in found
    ]
    total = accounts.total()
    assert total.batches == len(found)
    assert total.counts == {n: sum(getattr(each, n) for each in found) for n in (*COUNTS, "erased")}
    for name in GREATEST:
        assert getattr(total, name) == max((getattr(each, name) for each in found), default=0)
    assert accounts.newest_arrival() == total.newest_arrival
    assert accounts.wrong() == [span(e.query, e.batch, e.batch) for e in found if not e.adds_up]
    assert accounts.last() == {each.query: each.batch for each in found}
    assert accounts.spans() == plain_spans(found)
    assert accounts.arrival_days() == sorted({day for each in found for day in each.arrival_days})
    positions: defaultdict[str, list[int]] = defaultdict(list)
    for each in found:
        for origin, position in each.positions.items():
            positions[origin].append(position)
    assert accounts.positions() == {origin: max(each) for origin, each in positions.items()}
    reasons: Counter[str] = Counter()
    for each in found:
        reasons.update(each.reasons)
    expected = sorted(((n, rows) for n, rows in reasons.items() if rows), key=lambda each: (-each[1], each[0]))
    assert [*accounts.reasons().items()] == expected
    refused: dict[str, tuple[int, int]] = {}
    for each in found:
        for day in days_of(each) if each.rows_read else ():
            read, dead = refused.get(day, (0, 0))
            refused[day] = (read + each.rows_read - each.skipped, dead + each.dead_letter)
    assert accounts.refused() == refused


@given(found=batches(), query=st.integers(0, 5), batch=st.integers(-1, 7), within=st.integers(1, 40))
@settings(max_examples=150)
def test_some_of_the_accounts_are_those_of_a_walk_too(found: Batches, query: int, batch: int, within: int) -> None:
    accounts, fence = stored(found), Fence(query, batch)

    def fences(some: Accounts) -> list[Fence]:
        return [Fence(row["query"], row["batch"]) for row in some.rows.to_pylist()]

    assert fences(accounts.through(fence)) == [e.fence for e in found if e.fence <= fence]
    assert fences(accounts.before(query)) == [e.fence for e in found if e.query < query]
    for day in ("1970-01-01", *DAYS):
        assert fences(accounts.of_day(day)) == [e.fence for e in found if day in days_of(e)]
    one = accounts.entry(fence, done=False)
    assert one == next((each for each in found if each.fence == fence), None)
    accepting = {each.fence: each.clock for each in found if each.arrival_days}
    assert accounts.clocks() == accepting
    last = [*accepting.values()][-1] if accepting else 0
    since = last - within * HOUR
    assert accounts.clocks(within * HOUR) == {each: clock for each, clock in accepting.items() if clock > since}
    some = accounts.through(fence)
    assert some.total() + Accounts(accounts.rows.slice(len(some))).total() == accounts.total()
    rest = accounts.total().since(some.total())
    assert rest.counts == Accounts(accounts.rows.slice(len(some))).total().counts


def test_there_may_be_none() -> None:
    none = Accounts.of(SCHEMA.empty_table())
    assert (len(none), none.total(), none.total().adds_up) == (0, Total(), True)
    assert none.last() == none.positions() == none.reasons() == none.spans() == none.clocks() == none.clocks(5) == {}
    assert none.arrival_days() == none.wrong() == [] and none.refused() == {} and none.newest_arrival() == 0
    assert none.entry(Fence(1, 0), done=True) is None and len(none.of_day(DAYS[0])) == 0
    assert len(none.through(Fence(9, 9))) == len(none.before(9)) == 0
