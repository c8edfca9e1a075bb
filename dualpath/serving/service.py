"""The parts of the application that decide, put together from a feature repo and its declared ranking."""

import asyncio
import time
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from threading import Event, Thread
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from dualpath import kernel
from dualpath.instants import iso
from dualpath.online import high_water_mark, manifest
from dualpath.online.connection import FAILED, connect
from dualpath.parts import parts
from dualpath.plan import plan
from dualpath.record import layout
from dualpath.repo import Repo
from dualpath.serving.breaker import Breaker
from dualpath.serving.journal import Journal
from dualpath.serving.meters import Meters
from dualpath.serving.policies import Policies, untaught
from dualpath.serving.rank import UNREADABLE, Answer, Asked, Ranker
from dualpath.serving.ranking import Ranking
from dualpath.serving.reading import Features
from dualpath.view import View
from dualpath.windows import SECOND

FAILURES, PAUSE_SECONDS = 5, 1.0
"""After so many failures in a row, nobody asks for features that long."""
REFRESH_SECONDS = 1.0
TIMEOUT_SECONDS = 0.5
"""How long the background waits for Redis."""
READERS = 500
"""Readers whose last answer the live page can show."""


class Service:
    """Decides, and says how it goes. Close it to send what the journal still holds."""

    def __init__(self, repo: Repo, ranking: Ranking, journal: Journal, registry: CollectorRegistry) -> None:
        """`registry` gets the metrics. Raises `InputError` for a ranking that does not fit the repo."""
        self.repo, self.ranking, self.journal, self.meters = repo, ranking, journal, Meters(registry)
        self.redis = connect(repo.redis_address, retries=0, timeout=TIMEOUT_SECONDS)
        self.breaker = Breaker(failures=FAILURES, pause=PAUSE_SECONDS, clock=time.monotonic)
        self.features = Features(repo, ranking.features)
        self.policies = Policies(repo.project, self.redis, untaught(ranking), failed=self.meters.failed)
        self.ranker = Ranker(
            self.features,
            ranking.context,
            self.policies,
            journal,
            assign=ranking.assign,
            breaker=self.breaker,
            meters=self.meters,
            budget=ranking.budget_ms / 1000,
        )
        self.latest: OrderedDict[str, tuple[Answer, list[str | None]]] = OrderedDict()
        self.staleness: float | None = None
        """Seconds since the stream of interests said that it is up to date; None while Redis cannot say."""
        self.closed = Event()
        self._measure()

    def _measure(self) -> None:
        self.meters.breaker_open.set_function(lambda: self.breaker.state != "closed")
        self.meters.journal_queue.set_function(self.journal.queued)
        self.meters.policy_age.set_function(lambda: self.policies.age)
        self.meters.staleness.set_function(lambda: float("nan") if self.staleness is None else self.staleness)

    async def start(self) -> None:
        """Connect and read once; refresh policies and staleness every second, in a thread, until it is closed."""
        with suppress(*FAILED):  # the first request connects, if Redis is away now
            await (await self.ranker.clients.of_loop(self.repo.redis_address)).ping()

        def run() -> None:
            while not self.closed.wait(REFRESH_SECONDS):
                self.refresh()

        self.refresh()
        await self._rehearse()
        Thread(target=run, name="refresh", daemon=True).start()

    async def _rehearse(self) -> None:
        """Do what a request does, for nobody: the first one is not to wait until that is compiled."""
        now, nothing = np.array([self.ranker.clock()]), np.zeros((1, 2), np.int64)
        for view in {*self.features.reader.views, *self.features.candidates.views}:
            words = np.empty((0, layout(view).width), np.int64)
            kernel.arrange(words, nothing[0])
            plan(view).evaluate(words, nothing, now)
        for policy in self.policies.present.values():
            policy.choose(np.zeros((1, len(policy.names)), np.int64), "")
        with suppress(*UNREADABLE):  # there may be no state yet
            await self.features.read("", "", ("",), self.ranker.clock())

    def refresh(self) -> None:
        """Take the policies that are published now, and ask how far the stream is."""
        self.policies.refresh()
        view = self.repo.views[self.ranking.interest.partition(":")[0]]
        try:
            marks = [mark for part in parts(view) for mark in self._marks(part)]
            written = [mark.written if mark else 0 for mark in marks]
            self.staleness = max(0.0, time.time() - min(written) / SECOND)
        except FAILED as error:
            self.staleness = None
            self.meters.failed(error)

    def _marks(self, part: View) -> list[high_water_mark.HighWaterMark | None]:
        found = manifest.read(self.redis, self.repo.project, part.name)
        if found is None:
            return [None]
        return high_water_mark.read(self.redis, self.repo.project, found.namespace, part.source.name)

    async def rank(self, asked: Asked) -> Answer:
        """Decide; what fails behind it makes the answer degraded, never an error."""
        answer, read = await self.ranker.rank(asked)
        shown = read.inputs.column(self.ranking.category) if read else [None] * len(asked.candidates)
        self.latest[asked.user_id] = answer, [*shown]
        self.latest.move_to_end(asked.user_id)
        if len(self.latest) > READERS:
            self.latest.popitem(last=False)
        return answer

    async def interest(self, user_id: str) -> dict[str, Any]:
        """What a reader is interested in now; `degraded` says if it cannot be told."""
        as_of = self.ranker.clock()
        read = await self.ranker.guarded(partial(self.features.of_reader, user_id, as_of))
        if read is None:
            nothing: dict[str, Any] = {"known": {}, "interest": {}, "clicks_5min": None, "degraded": "features"}
            return nothing | {"as_of": iso(as_of)}
        found, known, stale = read
        return {
            "as_of": iso(as_of),
            "known": known,
            "interest": found[self.ranking.interest],
            "clicks_5min": found[self.ranking.activity],
            "degraded": "stale" if stale else None,
        }

    async def close(self) -> None:
        """Stop refreshing, and send what the journal holds."""
        self.closed.set()
        await asyncio.to_thread(self.journal.close)
        await self.ranker.clients.close()
