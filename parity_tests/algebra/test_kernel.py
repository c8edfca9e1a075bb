"""The kernel and the record: edges of the search, overflow, cut buckets, ties, and what a fingerprint covers."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from dualpath import cells, kernel
from dualpath.aggregates import Aggregate, Count, Distinct, First, Last, LastK, Max, Mean, Min, Sum, SumBy
from dualpath.errors import CollisionError, DeclarationError, StateError
from dualpath.numbers import divide
from dualpath.parity.compare import same
from dualpath.plan import FoldError, Plan, plan
from dualpath.record import Fence, compact, fold, layout
from dualpath.schema import DECIMAL_BOUND, NULL, EventSource, decimal, integer, text
from dualpath.values import Dictionary
from dualpath.view import Feature, View
from dualpath.windows import SECOND, Window, days, lifetime, minutes, seconds
from dualpath.words import code, decode, order, unorder
from parity_tests.events import values
from parity_tests.strategies import CLICKS

NO_TEXTS = Dictionary.of([], [])
HALF = 2**62
THIRD = (2**64 - 1) // 3
"""Added to itself it leaves 64 bits and comes out with every bit turned over."""


def view(*aggregates: Aggregate, over: Window | None = None, resolution: int = 1, source: EventSource = CLICKS) -> View:
    """A view of the aggregates over one window, all time unless told."""
    features = tuple(Feature(f"f{i}", each, over or lifetime()) for i, each in enumerate(aggregates))
    return View("clicks_by_user", ("user",), source, features, resolution)


def bag(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.int64)


def value(of: View, words: np.ndarray, as_of: int = 10 * SECOND) -> object:
    """The first feature's value."""
    return values(of, words, [as_of], NO_TEXTS)["f0"][0]


TIMES = bag([10], [20], [20], [20], [30])


@pytest.mark.parametrize(
    ("edge", "first"), [(9, 0), (10, 1), (11, 1), (19, 1), (20, 4), (21, 4), (29, 4), (30, 5), (31, 5)]
)
def test_the_search_finds_the_first_record_after_an_edge(edge: int, first: int) -> None:
    assert kernel.after(TIMES, 0, 5, edge) == first


def test_the_search_stays_within_an_entity() -> None:
    assert kernel.after(TIMES, 2, 4, 5) == 2
    assert kernel.after(TIMES, 2, 4, 99) == 4
    assert kernel.after(TIMES, 3, 3, 5) == 3


def test_records_are_arranged_within_each_entity() -> None:
    words = bag([3, 0], [1, 1], [2, 2], [1, 3], [0, 4])
    kernel.arrange(words, np.array([0, 3, 3, 5]))
    assert words.tolist() == [[1, 1], [2, 2], [3, 0], [0, 4], [1, 3]]


@pytest.mark.parametrize("times", list(permutations(range(4))), ids=str)
def test_records_are_arranged_whatever_their_order(times: tuple[int, ...]) -> None:
    words = bag([9, 0], *([time, 1] for time in times), [0, 2])
    kernel.arrange(words, np.array([0, 1, 5, 6]))
    assert words.tolist() == [[9, 0], *([time, 1] for time in range(4)), [0, 2]]


def test_one_call_answers_for_many_entities_and_instants() -> None:
    it = plan(view(Sum("quantity"), Distinct("quantity"), over=seconds(1)))
    words = bag([1, 0, 5, 5, 1], [2, 0, 6, 6, 1], [1, 0, 7, 7, 1])
    found = it.evaluate(words, np.array([[0, 2], [2, 3], [3, 3], [0, 2]]), np.array([1, 9, 9, SECOND + 1]))
    assert found["f0"].data.tolist() == [5, 7, 0, 6]
    assert found["f1"].codes.tolist() == [5, 7, 6]
    assert found["f1"].offsets.tolist() == [0, 1, 2, 2, 3]


def test_groups_outgrow_their_first_room() -> None:
    it = view(Distinct("quantity"), Distinct("shop"))
    words = bag(*([i, i, -i, 1, i % 7, 1] for i in range(500)))
    found = values(it, words, [10**6, 99], NO_TEXTS)
    assert found["f0"] == [list(range(-499, 1)), list(range(-99, 1))]
    assert found["f1"] == [list(range(7))] * 2


def test_the_weight_of_a_group_is_summed() -> None:
    it = plan(view(Distinct("quantity")))
    words = bag([1, 1, 5, 2], [2, 2, 9, 1], [3, 3, 5, 4], [4, 4, NULL, 0])
    groups = it.evaluate(words, np.array([[0, 4]]), np.array([9]))["f0"]
    assert (groups.codes.tolist(), groups.weights.tolist()) == ([5, 9], [6, 1])


@pytest.mark.parametrize("words", [[HALF, HALF], [-HALF, -HALF, -1], [THIRD, THIRD]])
def test_a_sum_that_leaves_64_bits_names_view_and_feature(words: list[int]) -> None:
    records = bag(*([i, i, 1, word] for i, word in enumerate(words)))
    two = plan(view(Count(), Sum("quantity")))
    with pytest.raises(FoldError, match="view 'clicks_by_user', feature 'f1': the sum leaves 64 bits") as error:
        two.evaluate(records, np.array([[0, 0], [0, len(words)]]), np.array([9, 9]))
    assert error.value.row == 1


def test_a_sum_may_reach_the_ends_of_64_bits() -> None:
    it = view(Sum("quantity"))
    assert value(it, bag([1, 1, HALF], [2, 2, HALF - 1])) == 2**63 - 1
    assert value(it, bag([1, 1, -HALF], [2, 2, -HALF])) == -(2**63)


def test_nine_thousand_largest_amounts_still_sum() -> None:
    words = bag(*([i, i, DECIMAL_BOUND] for i in range(9_000)))
    assert value(view(Sum("amount")), words) == 9_000 * DECIMAL_BOUND / 100


def test_whether_a_sum_leaves_64_bits_does_not_depend_on_the_order() -> None:
    for words in permutations([HALF, HALF, -HALF]):
        assert value(view(Sum("quantity")), bag(*([7, i, word] for i, word in enumerate(words)))) == HALF


@pytest.mark.parametrize("last", [False, True], ids=["first group", "last group"])
@pytest.mark.parametrize("amounts", [[HALF, HALF], [-HALF, -HALF, -1], [THIRD, THIRD]], ids=str)
def test_a_group_whose_sum_leaves_64_bits_is_an_error(amounts: list[int], last: bool) -> None:
    rows = [(5, amount) for amount in amounts] + [(9 if not last else 1, 3)] * 2
    words = bag(*([i, i, text_code, 1, amount] for i, (text_code, amount) in enumerate(rows)))
    two = plan(view(Count(), SumBy("quantity", by="action")))
    with pytest.raises(FoldError, match="feature 'f1': the sum leaves 64 bits") as error:
        two.evaluate(np.insert(words, 2, 1, axis=1), np.array([[0, 0], [0, len(words)]]), np.array([9, 9]))
    assert error.value.row == 1


def test_whether_a_group_leaves_64_bits_does_not_depend_on_the_order() -> None:
    for amounts in permutations([HALF, HALF, -HALF, -HALF - 1, -1]):
        words = bag(*([i, i, 5, 1, amount] for i, amount in enumerate([*amounts, 0])))
        found = plan(view(SumBy("quantity", by="action"))).evaluate(words, np.array([[0, 6]]), np.array([9]))["f0"]
        assert (found.codes.tolist(), found.weights.tolist()) == ([5], [-2])


@pytest.mark.parametrize("resolution", [1, SECOND])
def test_compaction_does_not_hide_a_sum_that_leaves_64_bits(resolution: int) -> None:
    it = view(Sum("quantity"), resolution=resolution)
    head = [[1, 1], [2, 2]] if resolution == 1 else [[0, 1, 1], [0, 2, 2]]
    words = bag(*([*each, HALF] for each in head))
    with pytest.raises(FoldError, match="64 bits"):
        value(it, compact(words, layout(it), it, earliest_as_of=9 * SECOND))


@pytest.mark.parametrize(
    ("as_of", "expected"), [(SECOND - 1, 0), (SECOND + 2, 0), (SECOND + 3, None), (SECOND + 8, None), (SECOND + 9, 4)]
)
@pytest.mark.parametrize("aggregate", [Sum("quantity"), Distinct("quantity")], ids=str)
def test_a_bucket_that_as_of_would_cut_is_refused(aggregate: Aggregate, as_of: int, expected: int | None) -> None:
    it = view(aggregate, over=minutes(1), resolution=SECOND)
    member = [1] if aggregate == Distinct("quantity") else []
    words = bag([SECOND, SECOND + 9, SECOND + 3, 4, *member])
    if expected is None:
        with pytest.raises(FoldError, match="feature 'f0': as_of lies inside a bucket"):
            value(it, words, as_of)
    else:
        assert value(it, words, as_of) == (([4] if expected else []) if member else expected)


def test_an_offset_window_would_cut_the_buckets_of_a_coarse_view() -> None:
    with pytest.raises(DeclarationError, match="an offset window ends inside buckets"):
        view(Count(), over=minutes(1).before(minutes(1)), resolution=SECOND)


@pytest.mark.parametrize(("aggregate", "expected"), [(First("quantity"), 30), (Last("quantity"), 10)], ids=str)
def test_ties_in_time_go_by_the_id(aggregate: Aggregate, expected: int) -> None:
    it = view(aggregate)
    ties = [[5, 2, 10, 5, 2], [5, -7, 30, 5, -7], [5, 1, 20, 5, 1]]
    for turn in range(3):
        assert value(it, bag(*ties[turn:], *ties[:turn])) == expected


@pytest.mark.parametrize("aggregate", [First("quantity"), Last("quantity")], ids=str)
def test_a_pick_skips_what_is_null(aggregate: Aggregate) -> None:
    nothing = [NULL] * 3
    assert value(view(aggregate), bag([4, 1, *nothing], [5, 2, 8, 5, 2], [6, 3, *nothing])) == 8
    assert value(view(aggregate), bag([4, 1, *nothing])) is None


def test_the_ends_of_64_bits_are_values_too() -> None:
    least, greatest = NULL + 1, 2**63 - 1
    words = bag([1, 1, greatest, least], [2, 2, NULL, NULL])
    found = values(view(Min("quantity"), Max("shop")), words, [9], NO_TEXTS)
    assert found == {"f0": [greatest], "f1": [least]}
    packed = fold(words, layout(view(Min("quantity"), Max("shop"))), keep_bucket=False)
    assert packed[0, 2:].tolist() == [greatest, least]


def test_a_fold_keeps_the_span_of_its_bucket() -> None:
    it = layout(view(Count(), resolution=10))
    words = bag([20, 27, 25, 1], [20, 29, 22, 1], [30, 31, 31, 1])
    assert fold(words, it, keep_bucket=True).tolist() == [[20, 29, 22, 2], [30, 31, 31, 1]]


@pytest.mark.parametrize("resolution", [1, 10])
@pytest.mark.parametrize(
    ("aggregate", "rows"),
    [
        (First("quantity"), [[30, 5, -7], [10, 5, 2], [40, 6, -9], [NULL] * 3]),
        (Last("quantity"), [[30, 5, 7], [10, 5, 2], [40, 4, 9], [NULL] * 3]),
    ],
    ids=["first", "last"],
)
def test_a_folded_pick_is_the_pick_of_its_records(aggregate: Aggregate, rows: list[list[int]], resolution: int) -> None:
    it = view(aggregate, resolution=resolution)
    head = [1, 1] if resolution == 1 else [0, 6, 4]
    for order_of_rows in permutations(rows):
        folded = fold(bag(*([*head, *row] for row in order_of_rows)), layout(it), keep_bucket=True)
        assert folded.tolist() == [[*head, *rows[0]]]
    assert fold(bag([*head, *rows[3]], [*head, *rows[3]]), layout(it), keep_bucket=True).tolist() == [[*head, *rows[3]]]


@pytest.mark.parametrize(
    ("resolution", "rows", "expected"),
    [
        (1, [[0, 5, 1], [0, -7, 3], [0, 2, 2]], [0, 5, 6]),
        (2, [[0, 1, 1, 1], [0, 1, 0, 3], [0, 0, 0, 2]], [0, 1, 0, 6]),
        (SECOND, [[0, 9, 9, 1], [0, 9, 4, 3], [0, 4, 3, 2]], [0, 9, 3, 6]),
    ],
)
def test_a_folded_record_does_not_depend_on_the_order_of_those_it_folds(
    resolution: int, rows: list[list[int]], expected: list[int]
) -> None:
    it = layout(view(Sum("quantity"), resolution=resolution))
    for each in permutations(rows):
        assert fold(bag(*each), it, keep_bucket=True).tolist() == [expected]


def test_a_large_sum_is_of_its_own_bucket_alone() -> None:
    it = layout(view(Sum("quantity"), resolution=10))
    words = bag([0, 1, 1, HALF], [0, 1, 1, THIRD - HALF], [10, 11, 11, HALF], [10, 11, 11, HALF - 6], [20, 21, 21, 7])
    assert fold(words, it, keep_bucket=True)[:, 3].tolist() == [THIRD, 2 * HALF - 6, 7]


def test_compaction_drops_what_no_window_reaches_and_folds_what_all_time_does() -> None:
    words = bag([SECOND, 1, 1], [SECOND + 1, 2, 1], [SECOND + 2, 3, 1])
    recent = view(Count(), over=seconds(1))
    assert compact(words, layout(recent), recent, 2 * SECOND + 1).tolist() == words[2:].tolist()
    both = replace(recent, features=(*recent.features, Feature("ever", Count(), lifetime())))
    assert compact(words, layout(both), both, 2 * SECOND + 1).tolist() == [[SECOND + 1, 2, 2], [SECOND + 2, 3, 1]]
    coarse = view(Count(), over=seconds(1), resolution=SECOND)
    buckets = bag([0, 1, 1, 1], [SECOND, SECOND, SECOND, 1], [SECOND, SECOND + 1, SECOND + 1, 1])
    assert compact(buckets, layout(coarse), coarse, 2 * SECOND).tolist() == [[SECOND, SECOND + 1, SECOND, 2]]
    assert compact(buckets, layout(coarse), coarse, 2 * SECOND - 1).tolist() == buckets.tolist()


def test_an_exact_mean_is_rounded_once() -> None:
    for total, count, scale in [
        (1, 3, 0),
        (2**53 + 1, 3, 0),
        (-(2**53) - 1, 3, 0),
        (2**62 + 1, 3, 2),
        (-(2**63), 7, 0),
        (5, 2**53 + 1, 0),
        (7, 3, 18),
    ]:
        exact = total / (count * 10**scale)
        assert same(divide(np.array([total]), np.array([count]), scale), [exact])
        assert same(divide(np.array([0, total]), np.array([1, count]), scale), [0.0, exact])


def test_doubles_sort_as_words_and_come_back() -> None:
    doubles = np.array([-1.7976931348623157e308, -2.25, -5e-324, 0.0, 5e-324, 0.1, 1.7976931348623157e308])
    assert (np.diff(order(doubles)) > 0).all()
    assert all(map(same, unorder(order(doubles)), doubles))
    assert same(unorder(order(np.array([-0.0])))[0], 0.0)
    assert decode(order(np.array([-2.25])), view(Min("score")).type_of("score")).tolist() == [-2.25]


def test_a_large_sum_of_one_bucket_has_nothing_of_the_next() -> None:
    it = layout(view(Sum("quantity"), resolution=SECOND))
    words = bag([0, 1, 1, HALF], [0, 2, 2, HALF - 2], [SECOND, SECOND, SECOND, 5])
    assert fold(words, it, keep_bucket=True)[:, 3].tolist() == [2**63 - 2, 5]


@pytest.mark.parametrize("before", [(), (Count(),), (Count(), Max("shop"))], ids=len)
@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [(First("quantity"), 5), (Last("quantity"), 7), (LastK("quantity", k=2), [7, 6])],
    ids=str,
)
def test_a_pick_is_found_wherever_its_cell_stands(
    aggregate: Aggregate, expected: object, before: tuple[Aggregate, ...]
) -> None:
    it = view(*before, aggregate, over=days(1))
    picks = [(1, -1, 5), (3, NULL, 7), (2, -2, 6)]  # an id's code may be any word
    words = bag(*([time, id_, *[1] * len(before), word, time, id_] for time, id_, word in picks))
    assert values(it, words, [9], NO_TEXTS)[f"f{len(before)}"] == [expected]


def test_a_plan_of_some_features_gives_what_the_whole_gives() -> None:
    it = view(Count(), Mean("quantity"), Distinct("quantity"))
    words = bag([1, 1, 1, 5, 1, 5, 1][: layout(it).width])
    some = Plan(it, ("f2", "f0")).evaluate(words, np.array([[0, 1]]), np.array([9]))
    assert list(some) == ["f2", "f0"]
    assert some["f0"].data.tolist() == [1]


def test_features_share_cells() -> None:
    it = layout(view(Mean("quantity"), Sum("quantity"), Count(), Count()))
    assert it.cells == (cells.Sum("quantity"), cells.Count("quantity"), cells.Count())
    assert (it.header, it.width, it.slot(cells.Count())) == (2, 5, 4)


def test_a_fence_and_words_are_where_the_format_says() -> None:
    it = layout(view(Count()))
    packed = it.pack(bag([1, 2, 3]), Fence(4, 5))
    assert packed[:4] == (1).to_bytes(4, "little") and packed[4:8] == it.fingerprint.to_bytes(4, "little")
    assert [int.from_bytes(packed[i : i + 8], "little") for i in range(8, len(packed), 8)] == [4, 5, 1, 2, 3]


@pytest.mark.parametrize("length", [0, 3, 7, 8, 23, 25, 47])
def test_a_value_cut_anywhere_is_refused(length: int) -> None:
    it = layout(view(Count()))
    with pytest.raises(StateError, match="view 'clicks_by_user'"):
        it.unpack(it.pack(bag([1, 2, 3]))[:length])


def test_the_fingerprint_covers_what_the_words_mean() -> None:
    def source(scale: int, name: str = "shop") -> EventSource:
        return EventSource(name, (text("user"), decimal("amount", scale=scale), integer("other")))

    plain = view(Sum("amount"), source=source(2))
    others = [
        view(Sum("amount"), source=source(3)),
        view(Sum("amount"), source=source(2, "warehouse")),
        view(Sum("amount", where="other > 1"), source=source(2)),
        view(Sum("amount"), source=source(2), resolution=SECOND),
        replace(plain, keys=("other",)),
        replace(plain, name="another"),
    ]
    prints = {layout(each).fingerprint for each in (plain, *others)}
    assert len(prints) == 1 + len(others)
    same_words = replace(plain, features=(Feature("new", Sum("amount"), days(1)),))
    assert layout(same_words).fingerprint == layout(plain).fingerprint


def test_two_texts_with_one_code_are_an_error() -> None:
    with pytest.raises(CollisionError, match="'a' and 'b' have the same 64-bit code 7"):
        Dictionary.of([7, 7, 3], ["a", "b", "a"])


def test_a_text_that_is_not_in_the_dictionary_is_an_error() -> None:
    words = bag([1, 1, code("gone"), 1, 1])
    for known in (Dictionary.of([1], ["a"]), Dictionary.of([2**62], ["a"])):
        with pytest.raises(StateError, match="no text for the code"):
            values(view(First("action")), words, [9], known)


@pytest.mark.parametrize(
    ("spans", "as_of", "width"),
    [
        ([[0, 5], [0, 5]], [0], 0),
        ([[0, 6]], [0], 0),
        ([[-1, 5]], [0], 0),
        ([[3, 2]], [0], 0),
        ([[0, 5]], [0], 1),
    ],
    ids=["fewer instants than rows", "beyond the records", "before them", "end before start", "another width"],
)
def test_arrays_that_do_not_fit_together_are_never_read(spans: list, as_of: list[int], width: int) -> None:
    counting = plan(view(Count(), Distinct("action")))
    words = np.zeros((5, counting.layout.width + width), dtype=np.int64)
    with pytest.raises(ValueError, match=r"row 0 has no instant, or its span lies outside|records of"):
        counting.evaluate(words, np.array(spans), np.array(as_of))
