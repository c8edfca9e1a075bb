"""The closed loop: follows the log, learns, publishes policies for the applications, and says how it goes."""

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dualpath.online import keys
from dualpath.repo import Repo
from dualpath.serving import policies
from dualpath.serving.learner import Learner
from dualpath.serving.loop_meters import LoopMeters
from dualpath.serving.monitor import Monitor
from dualpath.serving.policy import Policy
from dualpath.serving.ranking import Ranking
from dualpath.serving.trial import Trial
from dualpath.windows import SECOND

DELAYS = 1_000
"""The newest join delays, whose median is reported."""


class Loop:
    """One learner of a repo. Everything it knows comes from the log, so it may be killed and started again anywhere."""

    def __init__(
        self, repo: Repo, ranking: Ranking, redis: Any, clock: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        """`clock` gives microseconds UTC."""
        self.repo, self.ranking, self.redis, self.clock = repo, ranking, redis, clock
        self.learner = Learner.declared(repo, ranking)
        self.monitor, self.trial = Monitor(ranking.context.names), Trial(ranking.experiment)
        self.watched = self.monitor.report()
        self.published: dict[str, str] = {}
        self.delays: deque[float] = deque(maxlen=DELAYS)
        self.meters = LoopMeters()

    def step(self) -> dict[str, Any]:
        """Take in what is new, publish, and return the report."""
        progress = self.learner.step()
        now = self.clock()
        for each in progress.decided:
            self.meters.decisions.labels(each.variant).inc()
            self.trial.decided(each)
        for found in progress.rewarded:
            self.meters.rewards.labels(found.variant).inc()
            self.trial.rewarded(found)
            delay = max(0.0, (now - found.arrived) / SECOND)
            self.meters.join_delay.observe(delay)
            self.delays.append(delay)
        self.meters.late.inc(progress.late)
        self.meters.refused.inc(progress.refused)
        self._settle(now)
        for variant, policy in self.present().items():
            if self.published.get(variant) != policy.hash:
                policies.publish(self.repo, self.redis, variant, policy)
                self.published[variant] = policy.hash
        report = self.report(now)
        self.redis.set(keys.learned(self.repo.project, "report"), json.dumps(report))
        return report

    def present(self) -> Mapping[str, Policy]:
        """The policy of each variant with all that is known."""
        names, state = self.ranking.context.names, self.learner.state
        return {variant: Policy(settings, names, state) for variant, settings in self.ranking.policies.items()}

    def _settle(self, now: int) -> None:
        settled = self.learner.settle(now - int(self.ranking.settle_seconds * SECOND))
        for each in settled:
            self.monitor.settled(each)
        if settled:
            self.watched = self.monitor.report()

    def report(self, now: int) -> dict[str, Any]:
        """What the live page and the dashboards show."""
        watched, state = self.watched, self.learner.state
        self.meters.published.set(now / SECOND)
        for gauge, value in ((self.meters.sample_size, watched["ess"]), (self.meters.reward_gap, watched["z"])):
            gauge.set(float("nan") if value is None else value)
        self.meters.decay.set(watched["alarm"] is not None)
        for name, value in watched["psi"].items():
            self.meters.psi.labels(name).set(value)
        trial = self.trial.report()
        self.meters.sample_ratio.set(trial["sample_ratio_p"])
        delay = float(np.median(self.delays)) if self.delays else None
        return {
            "published_seconds": now / SECOND,
            "policies": dict(self.published),
            "decisions": state.decisions,
            "rewards": state.rewards,
            "experiment": trial,
            "loop": {"join_delay_p50": delay, **watched},
        }
