"""What the learner measures, for Prometheus; docs/serving.md says what each number means."""

from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from dualpath.runtime.prometheus import new_registry

DELAYS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


class LoopMeters:
    """The metrics of one learner, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = new_registry()

        def made(kind: Any, name: str, told: str, labels: tuple[str, ...] = (), **options: Any) -> Any:
            return kind(f"dualpath_loop_{name}", told, labels, registry=self.registry, **options)

        self.decisions = made(Counter, "decisions", "Decisions of the log", ("variant",))
        self.rewards = made(Counter, "rewards", "Rewarded decisions", ("variant",))
        self.late = made(Counter, "late_clicks", "Clicks that came too late to count")
        self.refused = made(Counter, "refused_decisions", "Events of the decisions' source that are no decisions")
        self.join_delay = made(
            Histogram, "join_delay_seconds", "From a click's arrival until it is learned", buckets=DELAYS
        )
        self.published = made(Gauge, "policy_published_timestamp_seconds", "When the policies were published last")
        self.sample_size = made(Gauge, "effective_sample_size", "Kish's, of the newest decisions")
        self.sample_ratio = made(Gauge, "sample_ratio_p_value", "That variants have as many readers as declared")
        self.psi = made(Gauge, "psi", "Population stability index of the newest contexts", ("coordinate",))
        self.reward_gap = made(Gauge, "reward_gap_z", "Rewards against predictions, in standard errors")
        # Before anything is known they say nothing, and no alert fires.
        for gauge in (self.published, self.sample_size, self.sample_ratio, self.reward_gap):
            gauge.set(float("nan"))
        self.decay = made(Gauge, "decay_alarm", "1 if rewards lie far below the predictions")
