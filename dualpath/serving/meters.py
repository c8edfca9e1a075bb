"""What is measured of decisions: Prometheus metrics, and the latest latencies of each stage for the live page."""

import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dualpath.serving.decision import Decision

STAGES = ("features", "context", "choose", "store", "journal", "total")
LATEST = 1_000
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Meters:
    """The metrics of one application's decisions, in its `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.stages = Histogram(
            "dualpath_serving_stage_seconds", "Seconds of a stage.", ["stage"], buckets=BUCKETS, registry=registry
        )
        self.degraded = Counter(
            "dualpath_serving_degraded", "Answers that lacked something.", ["cause"], registry=registry
        )
        self.stale = Counter("dualpath_serving_stale", "Answers from a stream that is behind.", registry=registry)
        self.errors = Counter(
            "dualpath_serving_dependency_failures", "Failures of what a decision needs.", ["error"], registry=registry
        )
        self.decisions = Counter("dualpath_serving_decisions", "Decisions.", ["variant"], registry=registry)
        self.explored = Counter(
            "dualpath_serving_explored", "Decisions that did not take the best.", ["variant"], registry=registry
        )
        self.journal_failures = Counter(
            "dualpath_serving_journal_failures", "Decisions that Kafka did not acknowledge in time", registry=registry
        )

        def gauge(name: str, told: str) -> Gauge:
            return Gauge(f"dualpath_serving_{name}", told, registry=registry)

        self.breaker_open = gauge("breaker_open", "1 while nobody asks for features")
        self.journal_queue = gauge("journal_queue", "Decisions that wait for Kafka")
        self.policy_age = gauge("policy_age_seconds", "Since the learner published")
        self.staleness = gauge("staleness_seconds", "Since the stream of interests said that it is up to date")
        self.latest: dict[str, deque[float]] = {stage: deque(maxlen=LATEST) for stage in STAGES}
        self.tally: Tally[str] = Tally()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a block as a stage of a decision."""
        began = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - began
            self.latest[name].append(took)
            if name != "total":
                self.stages.labels(name).observe(took)

    def failed(self, error: Exception) -> None:
        """Count a failure by its class."""
        self.errors.labels(type(error).__name__).inc()

    def busy(self) -> None:
        """Count an answer that had too many others beside it to read features."""
        self.errors.labels("Busy").inc()

    def decided(self, decision: Decision, degraded: str) -> None:
        """Count a decision."""
        self.tally["requests"] += 1
        self.tally[degraded] += 1
        self.decisions.labels(decision.variant).inc()
        if degraded == "stale":
            self.stale.inc()
        elif degraded:
            self.degraded.labels(degraded).inc()
        if decision.scores[decision.chosen] < max(decision.scores):
            self.explored.labels(decision.variant).inc()

    def quantiles(self) -> dict[str, dict[str, float]]:
        """Median and 99th percentile of each stage's latest, in milliseconds; stages without one are left out."""
        found = {}
        for stage, latest in self.latest.items():
            if taken := list(latest):
                p50, p99 = np.quantile(taken, (0.5, 0.99)) * 1000
                found[stage] = {"p50": round(float(p50), 2), "p99": round(float(p99), 2)}
        return found
