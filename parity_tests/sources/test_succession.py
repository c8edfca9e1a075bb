"""What messages say of versions: as a loop over them says it, in any parts, and whatever a compaction has removed."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualpath.dimension import dimension
from dualpath.errors import InputError
from dualpath.kinds import INSTANT
from dualpath.schema import integer, text
from dualpath.sources.succession import succession
from dualpath.sources.topic_tables import _said
from dualpath.versions import Versions

BRANDS = dimension("brands", topic="brands", keys=[text("shop"), integer("sku")], fields=[integer("n")])
COLUMNS = pa.schema([(each.name, each.stored) for each in BRANDS.columns])
NONE = COLUMNS.empty_table()
SECOND = 1_000_000
LATE = 253_000_000_000 * SECOND  # a double does not hold these microseconds

SPAN = 25
KEYS = [("x", 0), ("x", 1), ("y", 0)]
KINDS = (pa.string(), pa.int64(), INSTANT)

Message = tuple[tuple[str, int], int, int | None, bool]
"""Keys, when it begins, when it ends if it says so, and whether it is a tombstone."""
messages = st.lists(
    st.builds(
        lambda keys, at, length, deleted: (keys, LATE + at, length and LATE + at + length, deleted),
        st.sampled_from(KEYS), st.integers(0, 12), st.none() | st.integers(1, 9), st.booleans(),
    ),
    max_size=14,
)  # fmt: skip


def after(known: pa.Table, said: list[tuple[int, Message]]) -> pa.Table:
    """The versions after numbered messages."""
    rows = [
        {"shop": shop, "sku": sku, "n": number, "valid_from": begin, "valid_to": None if deleted else end}
        for number, ((shop, sku), begin, end, deleted) in said
    ]
    deleted = np.array([message[3] for _, message in said], dtype=bool)
    return succession(BRANDS, known, pa.Table.from_pylist(rows, COLUMNS), deleted)


Answers = dict[tuple[str, int], list[int | None]]
"""The number of the message that holds at each instant of the test, by keys."""


def answers(table: pa.Table) -> Answers:
    """What `Versions` finds in a table."""
    asked = [(shop, sku, at) for shop, sku in KEYS for at in range(LATE, LATE + SPAN)]
    shops, skus, times = (pa.array(each, kind) for each, kind in zip(zip(*asked, strict=True), KINDS, strict=True))
    rows = Versions(BRANDS, table).find([shops, skus], times)
    found = table["n"].combine_chunks().take(rows).to_pylist()
    return {keys: found[SPAN * number : SPAN * (number + 1)] for number, keys in enumerate(KEYS)}


def by_loop(said: list[tuple[int, Message]]) -> Answers:
    """The same, where each message overwrites what was said of its time and later."""
    lines: Answers = {keys: [None] * SPAN for keys in KEYS}
    for number, (keys, begin, end, deleted) in said:
        for at in range(begin - LATE, SPAN):
            lines[keys][at] = None if deleted or (end is not None and at >= end - LATE) else number
    return lines


@given(messages, st.integers(0, 14), st.integers(0, 14), st.sets(st.integers(0, 14)))
@settings(max_examples=100, deadline=None)
def test_versions_are_what_a_loop_over_the_messages_says_in_any_parts_and_after_any_compaction(
    said: list[Message], cut: int, again: int, gone: set[int]
) -> None:
    numbered = [*enumerate(said)]
    whole = after(NONE, numbered)
    first = after(NONE, numbered[:cut])
    # A restart may read some messages again.
    parts = after(after(first, numbered[min(again, cut) : cut]), numbered[cut:])
    last = {message[0]: number for number, message in numbered}
    compacted = [each for each in numbered if last[each[1][0]] == each[0] or each[0] not in gone]
    left = after(NONE, compacted)
    kept = after(first, [each for each in compacted if each[0] >= min(again, cut)])
    expected = by_loop(numbered)
    assert answers(whole) == answers(parts) == expected
    assert cut < len(said) or answers(kept) == expected
    for table in (whole, parts):  # a message that was sent or read again leaves no second row
        assert table.group_by(["shop", "sku", "valid_from"]).aggregate([]).num_rows == table.num_rows
    for found in (answers(left), answers(kept)):
        for keys, number in last.items():
            # What the last message of some keys says needs none before it.
            since = said[number][1] - LATE
            assert found[keys][since:] == expected[keys][since:]


def message(key: bytes | None, value: bytes | None, at: int) -> dict[str, Any]:
    return {"partition": 3, "offset": at, "key": key, "value": value, "time": at * SECOND}


BOTH, ONE = b'{"shop": "x", "sku": 7}', dimension("ones", topic="t", keys=[text("sku")], fields=[integer("n")])


def test_a_message_has_its_keys_in_its_key_and_holds_from_its_time_unless_it_says_from_when() -> None:
    table, deleted = _said(
        BRANDS,
        [
            message(BOTH, b'{"n": 1, "shop": "of the value"}', 1),
            message(BOTH, b'{"n": 2, "valid_from": "1970-01-01T00:00:09Z", "valid_to": "1970-01-01T00:00:10Z"}', 2),
            message(BOTH, None, 3),
        ],
    )
    plain = table.set_column(3, "valid_from", table["valid_from"].cast(pa.int64()))
    plain = plain.set_column(4, "valid_to", table["valid_to"].cast(pa.int64())).to_pylist()
    assert [tuple(row.values()) for row in plain] == [
        ("x", 7, 1, SECOND, None), ("x", 7, 2, 9 * SECOND, 10 * SECOND), ("x", 7, None, 3 * SECOND, None)
    ]  # fmt: skip
    assert deleted.tolist() == [False, False, True]
    keys = [b"a1", b'"a1"', b'{"sku": "a1"}', b"1e5", b"007", b"null", b'"', b"{a", "é".encode()]
    table, _ = _said(ONE, [message(key, b'{"n": 1}', 1) for key in keys])
    assert table["sku"].to_pylist() == ["a1", "a1", "a1", "1e5", "007", "null", '"', "{a", "é"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (BOTH, b'{"n": "one"}', "n is not of kind integer: one"),
        (BOTH, b"[1]", "it is not a JSON object"),
        (BOTH, b"", "it is not a JSON object"),
        (BOTH, b'{"n": 1, "valid_from": "soon"}', "valid_from is not an ISO-8601 instant: soon"),
        (BOTH, b'{"n": 1, "valid_to": "1970-01-01T00:00:05Z"}', "valid_to is not after valid_from"),
        (b"x", b'{"n": 1}', "shop is missing"),
        (b'{"shop": "x"}', None, "sku is missing"),
        (None, b'{"n": 1}', "shop is missing"),
    ],
)
def test_a_message_that_is_refused_counts_until_its_key_is_sent_again(
    key: bytes | None, value: bytes | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = message(BOTH, b'{"n": 5}', 1), message(key, value, 5)
    with pytest.raises(InputError, match=rf"^the topic brands, partition 3, offset 5: {said}.*; send that key again"):
        _said(BRANDS, [good, bad, message(None, b"{}", 7)] if key is None else [good, bad])
    if key == BOTH:
        for last in (b'{"n": 6}', None):
            table, deleted = _said(BRANDS, [good, bad, message(key, last, 6)])
            assert table["n"].to_pylist() == [5, 6 if last else None]
            assert deleted.tolist() == [False, last is None]
        assert f"offset 5: {said}" in caplog.records[0].getMessage()
