"""Ranks candidates: features of this instant, a context, a policy's choice, and a journal entry before the answer.

Nothing that fails makes a request fail. Without features the candidates keep their order (`degraded: features`);
without room in the journal the best one comes first, and nothing is learned from it (`degraded: journal`).
"""

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from dualpath.errors import DualpathError
from dualpath.instants import parse
from dualpath.online import keys
from dualpath.online.clients import Clients
from dualpath.online.connection import FAILED
from dualpath.online.deadline import Budget
from dualpath.serving.breaker import Breaker
from dualpath.serving.choice import Choice
from dualpath.serving.context import Context
from dualpath.serving.decision import TIME, Decision, identify
from dualpath.serving.journal import Journal
from dualpath.serving.meters import Meters
from dualpath.serving.policies import Policies
from dualpath.serving.reading import Features, Read

T = TypeVar("T")
UNREADABLE: tuple[type[Exception], ...] = (DualpathError, *FAILED)
KEPT_SECONDS = 86_400
"""How long a retry gets the same answer."""
STORE_SECONDS = 0.02
"""How long an answer waits for Redis to keep it."""
MOST_READS = 16
"""Reads of features at once. Each takes some 3 ms of the process: one more would end after the time for an answer."""


@dataclass(frozen=True)
class Asked:
    """A request, checked: an id of the caller's, a reader, a device, and 1 to 100 different articles."""

    request_id: str
    user_id: str
    device: str
    candidates: tuple[str, ...]

    def name(self, degraded: str = "") -> str:
        """The id of the decision that answers it."""
        return identify(self.request_id, self.user_id, self.device, self.candidates, degraded)


@dataclass(frozen=True)
class Answer:
    """A decision, and what its maker lacked: `features`, `journal`, `stale`, or nothing (empty)."""

    decision: Decision
    degraded: str


class Ranker:
    """Makes decisions, many at a time on one event loop."""

    def __init__(
        self,
        features: Features,
        context: Context,
        policies: Policies,
        journal: Journal,
        *,
        assign: Callable[[str], str],
        breaker: Breaker,
        meters: Meters,
        budget: float,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """`assign` gives a reader's variant; `budget` is seconds for a request; `clock` gives microseconds UTC."""
        self.features, self.context, self.policies, self.journal = features, context, policies, journal
        self.assign, self.breaker, self.meters = assign, breaker, meters
        self.budget, self.clock, self.reads = budget, clock, 0
        self.project, self.address, self.clients = features.repo.project, features.repo.redis_address, Clients()

    async def rank(self, asked: Asked) -> tuple[Answer, Read | None]:
        """Decide, or give the decision that this request got before; and what was read for it."""
        with self.meters.stage("total"):
            return await self._ranked(asked)

    async def _ranked(self, asked: Asked) -> tuple[Answer, Read | None]:
        began, variant = time.monotonic(), self.assign(asked.user_id)
        read = await self._read(asked)
        if read is None:
            answer = Answer(self._in_order(asked, variant), "features")
        else:
            answer = await self._decide(asked, variant, read)
        if answer.degraded != "journal":
            left = self.budget - (time.monotonic() - began)
            with self.meters.stage("journal"):
                safe = await self.journal.write(answer.decision, left)
            if not safe:
                self.meters.journal_failures.inc()
                answer = Answer(answer.decision, "features" if read is None else "journal")
        self.meters.decided(answer.decision, answer.degraded)
        return answer, read

    async def _read(self, asked: Asked) -> Read | None:
        """What the context is made of; None if it cannot be had now."""
        reading = partial(self.features.read, asked.user_id, asked.device, asked.candidates, self.clock())
        return await self.guarded(reading)

    async def guarded(self, reading: Callable[[], Awaitable[T]]) -> T | None:
        """What a read of features answers; None if it fails, while the breaker is open, and while `MOST_READS` others
        are under way: under more load than it can take, an application answers without features, and in time."""
        if self.reads >= MOST_READS:
            self.meters.busy()
            return None
        if not self.breaker.allows():
            return None
        self.reads += 1
        try:
            with self.meters.stage("features"):
                read = await reading()
        except UNREADABLE as error:
            self.breaker.failed()
            self.meters.failed(error)
            return None
        finally:
            self.reads -= 1
        self.breaker.succeeded()
        return read

    def _in_order(self, asked: Asked, variant: str) -> Decision:
        """The candidates as they were given."""
        places = len(asked.candidates)
        return _decision(
            asked,
            variant,
            degraded="features",
            decided_at=self.clock(),
            policy="",
            choice=Choice(tuple(range(places)), (1, *[0] * (places - 1)), 1, (0.0,) * places),
        )

    async def _decide(self, asked: Asked, variant: str, read: Read) -> Answer:
        """What the variant's policy chooses, unless this request was answered before."""
        with self.meters.stage("context"):
            context = self.context.matrix(read.inputs)
        degraded = "" if self.journal.takes else "journal"
        policy = self.policies.of(variant)
        with self.meters.stage("choose"):
            choice = policy.best(context) if degraded else policy.choose(context, asked.name(degraded))
        decision = _decision(
            asked,
            variant,
            degraded=degraded,
            decided_at=read.inputs.as_of,
            policy=policy.hash,
            choice=choice,
            context=context,
            known=read.known,
        )
        if not degraded:
            decision = await self._keep(decision)
        return Answer(decision, degraded or ("stale" if read.stale else ""))

    async def _keep(self, decision: Decision) -> Decision:
        """Keep a decision for retries; an earlier one of the same request wins.

        Redis that fails here has just answered: the decision stands, and a retry may get another one.
        """
        name = keys.decision(self.project, decision.decision_id)
        try:
            with self.meters.stage("store"):
                async with self.clients.spending(Budget(STORE_SECONDS)):
                    redis = await self.clients.of_loop(self.address)
                    async with redis.pipeline(transaction=False) as both:
                        both.set(name, decision.json, nx=True, ex=KEPT_SECONDS)
                        is_new, kept = await both.get(name).execute()
        except FAILED as error:
            self.meters.failed(error)
            return decision
        if is_new or kept is None:
            return decision
        event = json.loads(kept)
        return Decision.of_event(event, int(parse([event[TIME]])[0]))


def _decision(asked: Asked, variant: str, *, degraded: str, choice: Choice, **made: Any) -> Decision:
    """The decision of a request; `made` are its other members."""
    return Decision(
        decision_id=asked.name(degraded),
        request_id=asked.request_id,
        user_id=asked.user_id,
        device=asked.device,
        candidates=asked.candidates,
        variant=variant,
        weights=choice.weights,
        total=choice.total,
        ranking=choice.order,
        scores=choice.scores,
        degraded=degraded,
        **made,
    )
