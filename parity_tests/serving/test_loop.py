"""The closed loop on real stores: decisions are made again bit for bit, and what was learned is learned again."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from pyspark.sql import SparkSession

from dualpath.jobs.build import build
from dualpath.online.connection import connect, embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.runtime.prometheus import new_registry
from dualpath.serving import ranking, replay
from dualpath.serving.loop import Loop
from dualpath.serving.rank import Asked
from dualpath.serving.ranking import Ranking
from dualpath.serving.service import Service
from examples.news.simulate import Newsroom
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
