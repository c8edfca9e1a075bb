"""Ranking, and what becomes of it when what is behind it fails: never an error, nor two answers to one request."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pytest

from dualpath.online import keys
from dualpath.online.connection import connect, embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.runtime.prometheus import new_registry
from dualpath.serving import policies, ranking, replay
from dualpath.serving.decision import Decision
from dualpath.serving.policy import Policy, State
from dualpath.serving.rank import MOST_READS, Asked
from dualpath.serving.ranking import Ranking
from dualpath.serving.service import Service
from parity_tests.servers import suspended
from parity_tests.serving.newsroom import applied, filled

T = TypeVar("T")
CANDIDATES = tuple(f"a{n}" for n in range(20))


@dataclass
class Kept:
    """A journal in memory, which can be full, or too slow to say that it has something."""

    takes: bool = True
    healthy: bool = True
    says: bool = True
    decisions: list[Decision] = field(default_factory=list)

    async def write(self, decision: Decision, seconds: float) -> bool:
        self.decisions.append(decision)
        return self.says

    def queued(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing is sent."""


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    found = applied(tmp_path_factory.mktemp("news") / "feature_repo")
    filled(found, time.time())
    yield found
    redis.stop(embedded_folder(found.store.config))


@pytest.fixture(scope="module")
def declared(repo: Repo) -> Ranking:
    found = ranking.read(repo.folder)
    assert found is not None
    return found


@pytest.fixture
def journal() -> Kept:
    return Kept()


@pytest.fixture
def run() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    with asyncio.Runner() as runner:
        yield runner.run


Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def service(repo: Repo, declared: Ranking, journal: Kept, run: Run) -> Iterator[Service]:
    made = Service(repo, declared, journal, new_registry())
    run(made.start())
    yield made
    run(made.close())
    run(repo.store._get_provider().online_store.close())


def asked(request_id: str = "q", user_id: str = "ann", candidates: tuple[str, ...] = CANDIDATES) -> Asked:
    return Asked(f"{request_id} {os.urandom(4).hex()}", user_id, "mobile", candidates)


def test_an_answer_is_of_features_and_can_be_made_again(service: Service, journal: Kept, run: Run) -> None:
    answer = run(service.rank(asked()))
    made = answer.decision
    assert made.context is not None and made.context.shape == (20, 8)
    assert made.context[:, 1].max() > 0, "the reader's interest does not show"
    assert [d.decision_id for d in journal.decisions] == [made.decision_id]
    policy = policies.untaught(service.ranking)[made.variant]
    assert replay.difference(made, made.context, policy) == ""
    assert Decision.of_event(made.event(), made.decided_at) == made


def test_a_retry_is_the_same_decision(service: Service, journal: Kept, run: Run) -> None:
    """The application may die after it has decided; whoever asks again gets that decision, and it is journalled."""
    request = asked()
    first, again = (run(service.rank(request)).decision for _ in range(2))
    assert first == again and np.array_equal(first.context, again.context)
    assert [d.decision_id for d in journal.decisions] == [first.decision_id] * 2


def test_a_retry_of_another_application_is_the_same_decision(
    repo: Repo, declared: Ranking, service: Service, run: Run
) -> None:
    """The other one has learned something meanwhile, and would choose otherwise."""
    request = asked()
    first = run(service.rank(request)).decision
    other = Service(repo, declared, Kept(), new_registry())
    run(other.start())
    taught = State.empty(8).with_decisions(np.full((9, 8), 900)).with_rewards(np.full((9, 8), 900))
    for variant, settings in declared.policies.items():
        other.policies.present[variant] = Policy(settings, declared.context.names, taught)
    again = run(other.rank(request)).decision
    run(other.close())
    assert again == first and again.policy == first.policy


def test_another_order_of_candidates_is_another_decision(service: Service, run: Run) -> None:
    request = asked()
    turned = Asked(request.request_id, request.user_id, request.device, request.candidates[::-1])
    assert run(service.rank(request)).decision.decision_id != run(service.rank(turned)).decision.decision_id


@pytest.mark.parametrize("user", ["nobody", "ann\n", "ånn", "a:b{c}", "x" * 256, "'; --", "🙂"])
def test_unknown_and_odd_readers_are_ranked(service: Service, run: Run, user: str) -> None:
    answer = run(service.rank(asked(user_id=user)))
    assert answer.degraded != "features" and sorted(answer.decision.ranking) == [*range(20)]
    assert answer.decision.context is not None and answer.decision.context[:, 1].max() == 0


@pytest.mark.parametrize(
    "candidates", [("nowhere",), ("a1", "nowhere", "🙂", "a\x7f"), tuple(f"x{n}" for n in range(100))]
)
def test_unknown_articles_are_ranked(service: Service, run: Run, candidates: tuple[str, ...]) -> None:
    made = run(service.rank(asked(candidates=candidates))).decision
    assert sorted(made.ranking) == [*range(len(candidates))] and not made.degraded


def test_without_redis_candidates_keep_their_order_and_the_breaker_opens(
    repo: Repo, service: Service, journal: Kept, run: Run
) -> None:
    with suspended(repo):
        for number in range(7):
            answer = run(service.rank(asked()))
            assert answer.degraded == "features" and answer.decision.ranking == tuple(range(20))
            assert service.breaker.state == ("closed" if number < 4 else "open")
            assert (answer.decision.context, answer.decision.propensity) == (None, 1.0)
        assert run(service.interest("ann"))["degraded"] == "features"
        service.refresh()
        assert service.staleness is None
    assert len(journal.decisions) == 7, "a decision without features is journalled too"
    service.breaker.clock = lambda: float("inf")
    assert run(service.rank(asked())).degraded != "features"
    assert service.breaker.state == "closed"


def test_under_too_much_load_answers_lack_features_and_none_fails(service: Service, journal: Kept, run: Run) -> None:
    async def at_once() -> list[str]:
        return [answer.degraded for answer in await asyncio.gather(*(service.rank(asked()) for _ in range(50)))]

    assert run(at_once()).count("features") == 50 - MOST_READS
    assert len(journal.decisions) == 50 and service.breaker.state == "closed"
    busy = ("dualpath_serving_dependency_failures_total", {"error": "Busy"})
    assert service.meters.registry.get_sample_value(*busy) == 50 - MOST_READS
    assert run(service.rank(asked())).degraded != "features", "the load is over"


def test_a_retry_after_an_outage_gets_a_better_decision(repo: Repo, service: Service, run: Run) -> None:
    request = asked()
    with suspended(repo):
        poor = run(service.rank(request)).decision
    good = run(service.rank(request)).decision
    assert good.decision_id != poor.decision_id and not good.degraded


def test_a_full_journal_takes_the_best_and_nothing_is_learned(service: Service, journal: Kept, run: Run) -> None:
    journal.takes = False
    answer = run(service.rank(asked()))
    made = answer.decision
    assert (answer.degraded, made.degraded, journal.decisions) == ("journal", "journal", [])
    assert made.propensity == 1.0 and made.scores[made.chosen] == max(made.scores)


def test_a_journal_that_does_not_answer_is_said(service: Service, journal: Kept, run: Run) -> None:
    """The message may still arrive: so the decision is as it would be, and what is learned from it is right."""
    journal.says = False
    answer = run(service.rank(asked()))
    assert (answer.degraded, answer.decision.degraded) == ("journal", "")


def test_a_stale_stream_is_served_and_said(service: Service, run: Run) -> None:
    """The state was written without a stream, so nobody has ever said that it is up to date."""
    answer = run(service.rank(asked()))
    assert answer.degraded == "stale" and not answer.decision.degraded
    assert service.staleness is not None and service.staleness > 1e6


def test_a_clock_that_is_five_seconds_off_is_the_instant_of_the_decision(service: Service, run: Run) -> None:
    for off in (-5_000_000, 5_000_000):
        service.ranker.clock = lambda off=off: time.time_ns() // 1000 + off
        made = run(service.rank(asked())).decision
        assert abs(made.decided_at - off - time.time_ns() // 1000) < 5_000_000 and not made.degraded


def test_policies_that_cannot_be_used_leave_the_last_good_ones(repo: Repo, declared: Ranking, service: Service) -> None:
    client, name = connect(repo.redis_address), keys.learned(repo.project, "policy:bandit")
    taught = State.empty(8).with_decisions(np.full((9, 8), 900))
    good = Policy(declared.policies["bandit"], declared.context.names, taught)
    policies.publish(repo, client, "bandit", good)
    service.policies.refresh()
    assert service.policies.of("bandit").hash == good.hash
    other = Policy(declared.policies["bandit"], ("one",), State.empty(1))
    for broken in (b"", b"{}", b"\xff", good.json[:-9].encode(), other.json.encode()):
        client.set(name, broken)
        service.policies.refresh()
        assert service.policies.of("bandit").hash == good.hash
    refused = service.meters.registry.get_sample_value
    assert refused("dualpath_serving_dependency_failures_total", {"error": "InputError"}) == 4
    client.delete(name)
    service.policies.refresh()
    assert service.policies.of("bandit").hash == good.hash


def test_the_age_of_policies_is_that_of_the_learners_report(repo: Repo, service: Service) -> None:
    service.policies.clock = lambda: 1_000.0
    connect(repo.redis_address).set(keys.learned(repo.project, "report"), '{"published_seconds": 400.0}')
    service.policies.refresh()
    assert service.policies.age == 600.0


def test_interest_is_what_the_online_store_says(repo: Repo, service: Service, run: Run) -> None:
    found = run(service.interest("ann"))
    rows = [{"user_id": "ann", "event_timestamp": found["as_of"]}]
    told = repo.store.get_online_features(["reader_interest:interest", "reader_interest:clicks_5min"], rows).to_dict()
    assert (found["interest"], found["clicks_5min"]) == (told["interest"][0], told["clicks_5min"][0])
    assert set(found["interest"]) == {"politics", "sport"}


def test_stages_and_decisions_are_measured(service: Service, run: Run) -> None:
    run(service.rank(asked()))
    assert set(service.meters.quantiles()) == {"features", "context", "choose", "store", "journal", "total"}
    assert (
        sum(
            each.value
            for m in service.meters.registry.collect()
            if m.name == "dualpath_serving_decisions"
            for each in m.samples
            if each.name.endswith("_total")
        )
        == 1
    )


def test_a_redis_that_dies_while_the_answer_is_kept_changes_no_answer(repo: Repo, service: Service, run: Run) -> None:
    process = connect(repo.redis_address).info("server")["process_id"]
    made = service.ranker._keep

    async def stopped(decision: Decision) -> Decision:
        os.kill(process, signal.SIGSTOP)
        try:
            return await made(decision)
        finally:
            os.kill(process, signal.SIGCONT)

    service.ranker._keep = stopped  # type: ignore[method-assign]
    answer = run(service.rank(asked()))
    assert answer.decision.context is not None and answer.degraded in ("", "stale")
