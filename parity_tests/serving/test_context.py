"""A context: bounded integers made of features, the same for a server and for a replay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dualpath.serving.context import SCALE, Context, Inputs
from dualpath.windows import SECOND

NOON = 1_772_625_600 * SECOND
READER = {"r:interest": {"art": 3.0, "war": 1.0}, "r:history": {}, "r:clicks": 4}
ARTICLES = {
    "a:category": ["art", "war", "new", None],
    "a:published": [NOON, NOON - 600 * SECOND, NOON - 1_800 * SECOND, None],
    "a:clicks": [0, 5, None, 100],
    "a:seen": [0, 20, None, 100],
}
INPUTS = Inputs(NOON, "mobile", READER, ARTICLES, 4)


def values(inputs: Inputs = INPUTS, hidden: tuple[str, ...] = (), *coordinates: dict[str, object]) -> list[list[int]]:
    """The context's columns."""
    found = Context.model_validate({"coordinates": coordinates, "hidden": hidden}).matrix(inputs)
    assert found.dtype == np.int64
    return found.T.tolist()


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"kind": "constant"}, [1024, 1024, 1024, 1024]),
        ({"kind": "share", "feature": "r:interest", "by": "a:category"}, [768, 256, 0, 0]),
        ({"kind": "share", "feature": "r:history", "by": "a:category"}, [0, 0, 0, 0]),
        # Drawn towards 0.1 of 20 cases: 0.1, (5 + 2) / 40, 0.1, (100 + 2) / 120.
        ({"kind": "ratio", "feature": "a:clicks", "to": "a:seen"}, [102, 179, 102, 870]),
        ({"kind": "age", "feature": "a:published", "half": 600}, [1024, 512, 256, 0]),
        ({"kind": "level", "feature": "r:clicks", "most": 8}, [512] * 4),
        ({"kind": "level", "feature": "a:clicks", "most": 10}, [0, 512, 0, 1024]),
        ({"kind": "device", "device": "mobile"}, [1024] * 4),
        ({"kind": "device", "device": "desktop"}, [0] * 4),
        ({"kind": "hours", "first": 12, "until": 13}, [1024] * 4),
        ({"kind": "hours", "first": 13, "until": 12}, [0] * 4),
        ({"kind": "hours", "first": 22, "until": 13}, [1024] * 4),
    ],
)
def test_a_coordinate_is_what_it_declares(declared: dict[str, object], expected: list[int]) -> None:
    assert values(INPUTS, (), declared | {"name": "it"}) == [expected]


def test_an_article_of_the_future_is_not_fresh() -> None:
    """Its clock is ahead: the features know it, and no coordinate may leave its bounds."""
    inputs = Inputs(NOON, "mobile", {}, {"a:published": [NOON + 1]}, 1)
    assert values(inputs, (), {"name": "age", "kind": "age", "feature": "a:published", "half": 600}) == [[0]]


def test_a_product_multiplies_what_is_declared_before_it_and_hidden_ones_are_left_out() -> None:
    share = {"name": "interest", "kind": "share", "feature": "r:interest", "by": "a:category"}
    age = {"name": "fresh", "kind": "age", "feature": "a:published", "half": 600}
    both = {"name": "both", "kind": "product", "left": "interest", "right": "fresh"}
    assert values(INPUTS, ("fresh",), share, age, both) == [[768, 256, 0, 0], [768, 128, 0, 0]]


@given(
    st.dictionaries(st.sampled_from("abc"), st.floats(1e-12, 1e12), max_size=3),
    st.lists(st.integers(-(10**15), 10**15) | st.none(), min_size=4, max_size=4),
)
def test_no_coordinate_leaves_its_bounds(interest: dict[str, float], numbers: list[int | None]) -> None:
    counts = [None if n is None else abs(n) for n in numbers]
    articles = {"a:category": ["a", "b", "c", None], "a:published": numbers, "a:clicks": counts, "a:seen": counts[::-1]}
    inputs = Inputs(NOON, "", {"r:interest": interest}, articles, 4)
    found = values(
        inputs,
        (),
        {"name": "share", "kind": "share", "feature": "r:interest", "by": "a:category"},
        {"name": "ratio", "kind": "ratio", "feature": "a:clicks", "to": "a:seen"},
        {"name": "age", "kind": "age", "feature": "a:published", "half": 1},
        {"name": "level", "kind": "level", "feature": "a:clicks", "most": 1},
    )
    assert min(map(min, found)) >= 0 and max(map(max, found)) <= SCALE


@pytest.mark.parametrize(
    ("coordinates", "hidden", "sentence"),
    [
        ([], [], "at least 1"),
        ([{"name": "a", "kind": "constant"}] * 2, [], "declared twice"),
        ([{"name": "a", "kind": "product", "left": "b", "right": "b"}], [], "declare it before"),
        ([{"name": "a", "kind": "constant"}], ["b"], "no coordinate"),
        ([{"name": "a", "kind": "constant"}], ["a"], "every coordinate is hidden"),
        ([{"name": "a", "kind": "guess"}], [], "guess"),
        ([{"name": "a", "kind": "age", "feature": "x:y", "half": 0}], [], "greater than 0"),
        ([{"name": "a", "kind": "hours", "first": 24, "until": 1}], [], "less than or equal to 23"),
    ],
)
def test_a_context_that_cannot_work_is_refused(coordinates: list[object], hidden: list[str], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Context.model_validate({"coordinates": coordinates, "hidden": hidden})
