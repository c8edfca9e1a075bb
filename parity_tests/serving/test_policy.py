"""The bandit's core: integer sums that have no order, exact probabilities, and choices that can be made again."""

import doctest
import json
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks import bandit
from dualpath.errors import InputError
from dualpath.serving.choice import draw, mixed
from dualpath.serving.policy import MOST_DECISIONS, Policy, Settings, State, normals
from parity_tests.conftest import CHECKOUT

NAMES = ("bias", "interest", "freshness")
ROWS = np.random.default_rng(1).integers(0, 1025, (4_000, 3))


def taught(order: np.ndarray, pieces: int) -> State:
    """What decisions teach in an order, so many at a time; every third one was rewarded."""
    state = State.empty(3)
    for some in np.array_split(order, pieces):
        state = state.with_decisions(ROWS[some]).with_rewards(ROWS[some[some % 3 == 0]])
    return state


def policy(algorithm: str = "thompson", state: State | None = None) -> Policy:
    settings = Settings.model_validate({"algorithm": algorithm})
    return Policy(settings, NAMES, taught(np.arange(4_000), 1) if state is None else state)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_learned_has_no_order_and_no_grouping(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(4_000)
    for pieces in (1, 7, 4_000):
        assert policy(state=taught(order, pieces)).hash == policy().hash


@given(st.lists(st.integers(0, 39), min_size=40, max_size=120), st.data())
def test_events_that_came_often_and_in_any_order_teach_once(came: list[int], data: st.DataObject) -> None:
    """Decisions and clicks come apart, each up to three times, to up to four learners; each event is taken once."""
    events = [(kind, n) for n in {*came} for kind in ("decision", "click") if kind == "decision" or n % 3 == 0]
    first_seen = dict.fromkeys(data.draw(st.permutations(events * 3)))
    learners = [State.empty(3)] * 4
    for kind, n in first_seen:
        at, row = data.draw(st.integers(0, 3)), ROWS[[n]]
        learners[at] = (State.with_decisions if kind == "decision" else State.with_rewards)(learners[at], row)
    merged = learners[3] + (learners[0] + learners[2]) + learners[1]
    assert policy(state=merged).hash == policy(state=taught(np.array(sorted({*came})), 1)).hash


def test_a_state_never_changes() -> None:
    rows = ROWS[:5].copy()
    squares = rows.T @ rows
    state = State(5, 0, squares, np.zeros(3, dtype=np.int64))
    before = state.key()
    squares[0, 0] += 1
    state.with_decisions(rows)
    assert state.key() == before
    with pytest.raises(ValueError, match="read-only"):
        state.squares[0, 0] += 1


def test_states_of_different_decisions_add_up() -> None:
    halves = taught(np.arange(0, 4_000, 2), 3) + taught(np.arange(1, 4_000, 2), 5)
    assert policy(state=halves).hash == policy().hash


def test_floats_would_depend_on_the_order() -> None:
    """Why the sums are integers: the same sums in floats have other bits in another order."""
    rows = ROWS / 1000
    forth, back = np.zeros((3, 3)), np.zeros((3, 3))
    for one, other in zip(rows, rows[::-1], strict=True):
        forth, back = forth + np.outer(one, one), back + np.outer(other, other)
    assert forth.tobytes() != back.tobytes()


def test_a_policy_is_what_its_json_says() -> None:
    one = policy()
    again = Policy.from_json(one.json)
    assert again.hash == one.hash
    assert again.choose(ROWS[:20], "a decision") == one.choose(ROWS[:20], "a decision")
    assert len({policy(kind).hash for kind in ("linucb", "thompson", "uniform")}) == 3


def test_the_page_about_the_bandit_shows_what_happens() -> None:
    found = doctest.testfile(str(CHECKOUT / "docs/bandit.md"), module_relative=False)
    assert (found.failed, found.attempted) == (0, 8)


def test_a_uniform_policy_depends_on_no_state() -> None:
    assert policy("uniform").hash == policy("uniform", State.empty(3)).hash


def test_every_machine_gets_these_bits() -> None:
    few = policy(state=taught(np.arange(30), 1))
    assert few.hash == "7f5ca75856455b98fa85df0c605599bb23b55d2208708ce25bc8a4304cfb0337"
    choice = few.choose(ROWS[:5], "a decision")
    assert [score.hex() for score in choice.scores] == [
        "0x1.8eb3b9e21422ap-2",
        "0x1.6e49e6bae5a2bp-2",
        "0x1.68f1a630fff4cp-3",
        "0x1.c97054e4fa6c3p-4",
        "0x1.0470737515624p-5",
    ]
    assert (choice.weights, choice.total, choice.order) == ((23041, 16841, 566, 256, 256), 40_960, (0, 1, 2, 3, 4))


@given(st.lists(st.integers(0, 256), min_size=1, max_size=100))
def test_weights_are_exact_fractions(wins: list[int]) -> None:
    weights, total = mixed(wins)
    share = Fraction(1, 32)
    for weight, won in zip(weights, wins, strict=True):
        assert Fraction(weight, total) == (1 - share) * Fraction(won, 256) + share / len(wins)


@pytest.mark.parametrize("algorithm", ["linucb", "thompson", "uniform"])
def test_probabilities_sum_to_one_and_none_is_zero(algorithm: str) -> None:
    choice = policy(algorithm).choose(ROWS[:50], "a decision")
    assert sum(choice.weights) == choice.total and min(choice.weights) > 0
    assert sorted(choice.order) == [*range(50)]
    rest = [choice.scores[place] for place in choice.order[1:]]
    assert rest == sorted(rest, reverse=True)


def test_choices_follow_their_probabilities() -> None:
    weights, total = mixed([128, 64, 40, 20, 4, 0])
    drawn = Counter(draw(weights, total, f"decision {n}") for n in range(100_000))
    seen = np.array([drawn[place] for place in range(6)])
    expected = np.array(weights) / total * 100_000
    assert stats.chisquare(seen, expected).pvalue > 0.001
    assert stats.chisquare(seen, expected[::-1]).pvalue < 1e-9, "a wrong expectation must fail"


def test_a_draw_is_not_biased_by_where_its_numbers_end() -> None:
    """A quarter of the hashes lie in the last, incomplete run of this total; taken as they are, they would all be the
    first place's."""
    third = 2**254
    drawn = Counter(draw([third] * 3, 3 * third, f"decision {n}") for n in range(6_000))
    assert stats.chisquare([drawn[place] for place in range(3)]).pvalue > 0.001


def test_what_a_policy_chooses_follows_the_probabilities_that_it_states() -> None:
    """Also within one decision: the draw is no function of the numbers that made the probabilities."""
    thompson = policy(state=taught(np.arange(30), 1))
    choices = [thompson.choose(ROWS[:5], f"decision {n}") for n in range(5_000)]
    stated = np.array([choice.weights for choice in choices]) / choices[0].total
    seen = np.array([[choice.chosen == place for place in range(5)] for choice in choices])
    deviation = np.sqrt((stated * (1 - stated)).sum(axis=0))
    assert (abs((seen - stated).sum(axis=0)) < 4 * deviation).all()
    # The mean of 1 / probability of what was chosen is K.
    inverse = (seen / stated).sum(axis=1)
    assert abs(inverse.mean() - 5) < 4 * inverse.std() / np.sqrt(len(inverse))


def test_the_same_decision_is_chosen_alike_and_another_otherwise() -> None:
    thompson = policy(state=taught(np.arange(30), 1))
    assert thompson.choose(ROWS[:20], "one") == thompson.choose(ROWS[:20], "one")
    assert thompson.choose(ROWS[:20], "one").weights != thompson.choose(ROWS[:20], "other").weights


def test_the_normal_numbers_are_nearly_normal() -> None:
    drawn = normals("seed", 50, 2_000)
    assert abs(drawn.mean()) < 0.01 and abs(drawn.var() - 1) < 0.01
    assert abs(np.corrcoef(drawn) - np.eye(50)).max() < 0.12, "coordinates are independent"
    assert stats.kstest(drawn.ravel()[:20_000], "norm").pvalue > 0.001


def test_a_uniform_log_is_worth_its_own_mean() -> None:
    """Each weight is exactly 1, so inverse propensity scoring is the plain mean, in fractions."""
    rewards, uniform = (ROWS[:, 0] % 3 == 0)[:200], policy("uniform")
    choices = [uniform.choose(ROWS[n : n + 20], f"{n}") for n in range(200)]
    worth = [
        Fraction(int(reward)) * Fraction(1, 20) / Fraction(choice.weights[choice.chosen], choice.total)
        for choice, reward in zip(choices, rewards, strict=True)
    ]
    assert sum(worth) / 200 == Fraction(int(rewards.sum()), 200)


@pytest.mark.slow
def test_regret_is_less_than_a_tenth_of_choosing_at_random() -> None:
    regret = {name: bandit.mean_regret(name) for name in ("linucb", "thompson", "uniform")}
    assert regret["linucb"] < regret["uniform"] / 10
    assert regret["thompson"] < regret["uniform"] / 10


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (np.zeros((2, 4), dtype=np.int64), r"shape \(2, 4\)"),
        (np.zeros(3, dtype=np.int64), r"shape \(3,\)"),
        (np.zeros((2, 3)), "float64"),
        (np.full((1, 3), 1025), "1025"),
        (np.full((1, 3), -1025), "1025"),
        (np.full((1, 3), -(2**63)), "9223372036854775808"),
    ],
)
def test_contexts_of_another_shape_are_refused(rows: np.ndarray, sentence: str) -> None:
    for refuses in (policy().state.with_decisions, policy().state.with_rewards, policy().scores):
        with pytest.raises(InputError, match=sentence):
            refuses(rows)


def test_sums_that_could_overflow_are_refused() -> None:
    full = State(MOST_DECISIONS, 0, np.zeros((3, 3), dtype=np.int64), np.zeros(3, dtype=np.int64))
    earned = State(0, MOST_DECISIONS, np.zeros((3, 3), dtype=np.int64), np.zeros(3, dtype=np.int64))
    for too_many in (
        lambda: full.with_decisions(ROWS[:1]),
        lambda: full + full,
        lambda: earned.with_rewards(ROWS[:1]),
        lambda: earned + earned,
    ):
        with pytest.raises(InputError, match="begin a new policy"):
            too_many()


def test_the_largest_sums_fit_and_are_still_solved() -> None:
    """The hardest: all coordinates always agree, so nothing but the prior tells them apart."""
    squares, earned = np.full((3, 3), MOST_DECISIONS * 1024**2), np.full(3, MOST_DECISIONS * 1024)
    score = policy("linucb", State(MOST_DECISIONS, MOST_DECISIONS, squares, earned)).scores(np.full((1, 3), 1024))
    assert abs(score[0] - 1) < 1e-6


@pytest.mark.parametrize("candidates", [0, 101])
def test_no_candidate_and_too_many_are_refused(candidates: int) -> None:
    context = np.zeros((candidates, 3), dtype=np.int64)
    for refuses in (lambda: policy().choose(context, "none"), lambda: policy().best(context)):
        with pytest.raises(InputError, match=f"{candidates} candidates cannot be chosen from; pass 1 to 100"):
            refuses()


def test_a_second_reward_for_a_decision_is_refused() -> None:
    twice = State.empty(3).with_decisions(ROWS[:1]).with_rewards(ROWS[[0, 0]])
    with pytest.raises(InputError, match="2 rewards of 1 decisions"):
        policy(state=twice)


FEW = json.loads(policy(state=taught(np.arange(30), 1)).json)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"names": ["bias"]}, "the context 1"),
        ({"names": "abc"}, "valid tuple"),
        ({"names": [1, 2, 3]}, "valid string"),
        ({"settings": {"algorithm": "guess"}}, "linucb"),
        ({"settings": {"algorithm": "linucb", "ridge": 1e-9}}, "0.001"),
        ({"settings": {"algorithm": "linucb"}}, "as this version writes it"),
        ({"draws": 255}, "as this version writes it"),
        ({"more": 1}, "as this version writes it"),
        ({"state": None}, "as this version writes it"),
        ({"state": [1]}, "no state"),
        ({"state": FEW["state"] | {"decisions": 30.0}}, "whole numbers"),
        ({"state": FEW["state"] | {"decisions": "30"}}, "whole numbers"),
        ({"state": FEW["state"] | {"more": 1}}, "whole numbers"),
        ({"state": FEW["state"] | {"decisions": 2**70}}, "begin a new policy"),
        ({"state": FEW["state"] | {"decisions": -1}}, "give no such sums"),
        ({"state": FEW["state"] | {"decisions": 1}}, "give no such sums"),
        ({"state": FEW["state"] | {"rewards": -1}}, "give no such sums"),
        ({"state": FEW["state"] | {"squares": [[1]]}}, "does not fit together"),
        ({"state": FEW["state"] | {"squares": [[1, 0, 0], [2, 1, 0], [0, 0, 1]]}}, "give no such sums"),
        ({"state": FEW["state"] | {"squares": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]}}, "give no such sums"),
        ({"state": FEW["state"] | {"squares": [[0, 2**20, 0], [2**20, 0, 0], [0, 0, 1]]}}, "no sum of squares"),
        ({"state": FEW["state"] | {"squares": [[0, 2**21, 0], [2**21, 0, 0], [0, 0, 1]]}}, "no sum of squares"),
        ({"state": FEW["state"] | {"earned": [2**40, 0, 0]}}, "give no such sums"),
        ({"state": FEW["state"] | {"earned": [2**70, 0, 0]}}, "no state"),
    ],
)
def test_a_policy_of_another_shape_is_refused(change: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Policy.from_json(json.dumps(FEW | change, separators=(",", ":"), sort_keys=True))


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, json.dumps(FEW)[:-20], json.dumps(FEW, indent=1)])
def test_text_that_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="this is no policy"):
        Policy.from_json(text)
