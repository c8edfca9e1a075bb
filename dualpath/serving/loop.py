"""The closed loop: follows the log, learns, publishes policies for the applications, and says how it goes."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from prometheus_client import Counter, Gauge, Histogram

from dualpath.online import keys
from dualpath.repo import Repo
from dualpath.runtime.prometheus import new_registry
from dualpath.serving import policies
from dualpath.serving.learner import Learner, Outcome
from dualpath.serving.monitor import Monitor
from dualpath.serving.policy import Policy
from dualpath.serving.ranking import Ranking
from dualpath.serving.trial import Trial
from dualpath.windows import SECOND

DELAYS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


class Loop:
    """One learner of a repo. Everything it knows comes from the log, so it may be killed and started again anywhere."""

    def __init__(
        self, repo: Repo, ranking: Ranking, redis: Any, clock: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        """`clock` gives microseconds UTC."""
        self.repo, self.ranking, self.redis, self.clock = repo, ranking, redis, clock
        outcome = Outcome.of(repo, ranking.outcome, int(ranking.grace_seconds * SECOND))
        self.learner = Learner(repo, ranking.decisions, outcome, len(ranking.context.names))
        self.monitor, self.trial = Monitor(ranking.context.names), Trial(ranking.experiment)
        self.published: dict[str, str] = {}
        self.delays: list[float] = []
        self.registry = new_registry()
        self._measure()

    def _measure(self) -> None:
        def made(kind: Any, name: str, told: str, labels: tuple[str, ...] = (), **options: Any) -> Any:
            return kind(f"dualpath_loop_{name}", told, labels, registry=self.registry, **options)

        self.decisions = made(Counter, "decisions", "Decisions of the log.", ("variant",))
        self.rewards = made(Counter, "rewards", "Rewarded decisions.", ("variant",))
        self.late = made(Counter, "late_clicks", "Clicks that came too late to count.")
        self.refused = made(Counter, "refused_decisions", "Events of the decisions' source that are no decisions.")
        self.join = made(Histogram, "join_delay_seconds", "From a click's arrival until it is learned.", buckets=DELAYS)
        self.at = made(Gauge, "policy_published_timestamp_seconds", "When the policies were published last.")
        self.ess = made(Gauge, "effective_sample_size", "Kish's, of the newest decisions.")
        self.ratio = made(Gauge, "sample_ratio_p_value", "That the variants' readers are as many as declared.")
        self.psi = made(Gauge, "psi", "Population stability index of the newest contexts.", ("coordinate",))
        self.gap = made(Gauge, "reward_gap_z", "Rewards against predictions, in standard errors.")
        self.decay = made(Gauge, "decay_alarm", "1 if rewards lie far below the predictions.")

    def step(self) -> dict[str, Any]:
        """Take in what is new, publish, and return the report."""
        progress = self.learner.step()
        now = self.clock()
        for each in progress.decided:
            self.decisions.labels(each.variant).inc()
            self.trial.decided(each)
        for found in progress.rewarded:
            self.rewards.labels(found.decision.variant).inc()
            self.trial.rewarded(found.decision)
            delay = max(0.0, (now - found.arrived) / SECOND)
            self.join.observe(delay)
            self.delays = [*self.delays[-999:], delay]
        self.late.inc(progress.late)
        self.refused.inc(progress.refused)
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
        ready = now - int(self.ranking.settle_seconds * SECOND)
        for each in self.learner.settle(ready):
            self.monitor.settled(each.decision, each.rewarded)

    def report(self, now: int) -> dict[str, Any]:
        """What the live page and the dashboards show."""
        watched, state = self.monitor.report(), self.learner.state
        self.at.set(now / SECOND)
        for gauge, value in ((self.ess, watched["ess"]), (self.gap, watched["z"])):
            gauge.set(float("nan") if value is None else value)
        self.decay.set(watched["alarm"] is not None)
        for name, value in watched["psi"].items():
            self.psi.labels(name).set(value)
        trial = self.trial.report()
        self.ratio.set(trial["sample_ratio_p"])
        delay = float(np.median(self.delays)) if self.delays else None
        return {
            "published_seconds": now / SECOND,
            "policies": dict(self.published),
            "decisions": state.decisions,
            "rewards": state.rewards,
            "experiment": trial,
            "loop": {"join_delay_p50": delay, **watched},
        }
