"""The closed loop on real stores: decisions are made again bit for bit, and what was learned is learned again."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
from pyspark.sql import SparkSession

from dualpath.errors import InputError
from dualpath.jobs.build import build
from dualpath.online.connection import connect, embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.runtime.prometheus import new_registry
from dualpath.serving import outcomes, policies, ranking, replay
from dualpath.serving.candidate import evaluated
from dualpath.serving.loop import Loop
from dualpath.serving.rank import Asked
from dualpath.serving.ranking import Ranking
from dualpath.serving.service import Service
from examples.news.simulate import Newsroom
from parity_tests.console.commands import run_json
from parity_tests.serving.newsroom import Landing, applied

VISITS = 300
EVERY = 100
"""Visits between two readings of the stream: what a decision knows is up to so many visits old."""


@dataclass
class Played:
    """A newsroom that has been open for a while."""

    repo: Repo
    ranking: Ranking
    loop: Loop
    answers: int


class Clock:
    """Seconds of a day that goes by as fast as the machine allows."""

    def __init__(self, at: float) -> None:
        self.at = at

    def microseconds(self) -> int:
        return int(self.at * 1_000_000)


@pytest.fixture(scope="module")
def played(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    repo = applied(tmp_path_factory.mktemp("news") / "feature_repo")
    declared = ranking.read(repo.folder)
    assert declared is not None
    landing, clock = Landing(repo), Clock(time.time() - 1_800)
    service = Service(repo, declared, landing, new_registry())
    service.ranker.clock = clock.microseconds
    service.breaker.clock = lambda: clock.at
    loop = Loop(repo, declared, connect(repo.redis_address), clock.microseconds)
    answers, on_loop = 0, asyncio.new_event_loop()

    def rank(asked: dict[str, object]) -> dict[str, object]:
        nonlocal answers
        answers += 1
        request = Asked(
            str(asked["request_id"]),
            str(asked["user_id"]),
            str(asked["device"]),
            tuple(asked["candidates"]),  # type: ignore[arg-type]
        )
        answer = on_loop.run_until_complete(service.rank(request))
        decision = answer.decision
        ranked = [{"article_id": decision.candidates[n], "score": decision.scores[n]} for n in decision.ranking]
        return {
            "decision_id": decision.decision_id,
            "variant": decision.variant,
            "degraded": decision.degraded,
            "ranking": ranked,
        }

    newsroom = Newsroom(rank, landing.send, lambda: clock.at, seed=1)
    for _ in range(40):
        newsroom.publish()
    landing.drain(spark)
    for visit in range(VISITS):
        newsroom.visit()
        clock.at += 0.5
        newsroom.happen()
        if visit % EVERY == EVERY - 1:
            landing.drain(spark)
            loop.step()
            service.policies.refresh()
    clock.at += 60
    newsroom.happen()
    landing.drain(spark)
    loop.step()
    for source in repo.sources.values():
        build(spark, repo, source)
    yield Played(repo, declared, loop, answers)
    on_loop.run_until_complete(repo.store._get_provider().online_store.close())
    on_loop.run_until_complete(service.close())
    on_loop.close()
    redis.stop(embedded_folder(repo.store.config))


def test_every_decision_is_made_again_with_its_bits(played: Played) -> None:
    made = replay.decisions(played.repo, played.ranking.decisions)
    assert len(made) == played.answers == VISITS
    found = replay.replay(played.repo, played.ranking, made)
    assert (found.decisions, found.differing, found.without_features) == (VISITS, {}, 0)
    assert len({d.policy for d in made}) > VISITS // EVERY, "the policies have not changed, so nothing was shown"


def test_what_was_learned_is_what_a_training_set_teaches(played: Played) -> None:
    made = replay.decisions(played.repo, played.ranking.decisions)
    learned = played.loop.learner.state
    assert learned.rewards > 20
    shuffled = made * 3
    random.Random(1).shuffle(shuffled)
    for order in (made, shuffled):
        assert replay.rebuilt(played.repo, played.ranking, order).to_dict() == learned.to_dict()


def test_a_learner_that_starts_anew_learns_the_same(played: Played) -> None:
    anew = Loop(played.repo, played.ranking, connect(played.repo.redis_address))
    anew.step()
    assert anew.published == played.loop.published


def test_a_candidate_is_judged_by_the_log(played: Played) -> None:
    """Its IPS is by the log's exact probabilities; on the decisions that it made itself, it is what was earned."""
    made = replay.decisions(played.repo, played.ranking.decisions)
    uniform = policies.untaught(played.ranking)["uniform"]
    found = evaluated(played.repo, played.ranking, made, uniform, 2**62)
    assert found.decisions == VISITS and [each.estimator for each in found.estimates] == ["IPS", "SNIPS", "DM", "DR"]
    rewards = replay.rewards(played.repo, played.ranking, made)
    weighed = [
        Fraction(int(reward)) * Fraction(each.total, len(each.candidates) * each.weights[each.chosen])
        for each, reward in zip(made, rewards, strict=True)
    ]
    assert found.estimates[0].value == pytest.approx(float(sum(weighed) / VISITS), rel=1e-12)

    own = [each for each in made if each.variant == "uniform"]
    earned = float(replay.rewards(played.repo, played.ranking, own).mean())
    again = evaluated(played.repo, played.ranking, own, uniform, 2**62)
    assert 0 < earned == again.logged.value == again.estimates[0].value and again.largest_weight == 1


def test_decisions_whose_window_is_open_do_not_count(played: Played) -> None:
    made = replay.decisions(played.repo, played.ranking.decisions)
    with pytest.raises(InputError, match="0 decisions of the log have features and a closed attribution window"):
        evaluated(played.repo, played.ranking, made, policies.untaught(played.ranking)["bandit"], made[0].decided_at)


def test_the_experiment_is_read_from_the_log(played: Played) -> None:
    made = replay.decisions(played.repo, played.ranking.decisions)
    found = outcomes.readers(played.repo, played.ranking, made)
    assert len(found.names) > 10 and set(np.unique(found.outcomes * 3 % 1)) == {0.0}
    assert sum(found.units.values()) >= len(found.names)
    before = outcomes.covariate(played.repo, "reader_feeds:feeds_1h", found)
    assert set(before) == {1.0}, "a first decision is the first event of its reader"
    said = outcomes.findings(played.repo, played.ranking, found)
    assert said.plain is not None and said.adjusted is not None and said.adjusted.explained == 0.0


def test_a_covariate_that_is_no_number_is_refused(played: Played) -> None:
    made = replay.decisions(played.repo, played.ranking.decisions)
    found = outcomes.readers(played.repo, played.ranking, made)
    with pytest.raises(InputError, match="name a feature that is a number"):
        outcomes.covariate(played.repo, "reader_interest:interest", found)


def test_the_commands_say_what_was_found(played: Played) -> None:
    told = run_json("replay", "--repo", played.repo.folder, "--since", "2020-01-01")
    assert (told["passed"], told["decisions"], told["differing"], told["learned_the_same"]) == (True, VISITS, {}, True)
    assert run_json("learn", "--repo", played.repo.folder, "--once")["decisions"] == VISITS
    assert run_json("experiment", "--repo", played.repo.folder)["compared"] > 10


@pytest.mark.parametrize("part", ["context", "weights", "scores", "ranking"])
def test_a_decision_that_was_made_otherwise_is_named(played: Played, part: str) -> None:
    [made] = [d for d in replay.decisions(played.repo, played.ranking.decisions) if d.variant == "bandit"][-1:]
    assert made.context is not None
    first, *rest = made.weights
    changed = {
        "context": replace(made, context=made.context + 1),
        "weights": replace(made, weights=(first + 1, *rest)),
        "scores": replace(made, scores=tuple(score + 2**-40 for score in made.scores)),
        "ranking": replace(made, ranking=made.ranking[::-1]),
    }[part]
    assert replay.replay(played.repo, played.ranking, [changed]).differing == {made.decision_id: part}
