"""Learns from what came of decisions, from the event log alone.

A decision is known by its event; its reward is 1 if the declared outcome, asked when its attribution window ends, is
not 0. Only clicks count that had arrived by a grace after that. So what is learned is a function of the set of events
in the log: in any order, read once or again, from the start or batch by batch, the sums have the same bits.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from dualpath.errors import InputError
from dualpath.log.tail import Tail
from dualpath.preview import answers
from dualpath.repo import Repo
from dualpath.serving.decision import COLUMNS, Decision, parsed
from dualpath.serving.policy import State
from dualpath.serving.ranking import Ranking
from dualpath.view import View
from dualpath.windows import SECOND

SLACK = 3_600 * SECOND
"""How much earlier than another event of the log one may have arrived; nobody waits for what lies further back."""
KEY = "decision_id"


@dataclass
class Waiting:
    """What is kept of a decision whose clicks may still come.

    `row` int64[d] is the context of what was chosen among `places` candidates, with the probability `propensity`;
    `predicted` is the reward that the policy expected of it, None of a policy that expects nothing.
    """

    decision_id: str
    user_id: str
    variant: str
    decided_at: int
    row: np.ndarray
    places: int
    propensity: float
    predicted: float | None
    clicks: list[dict[str, Any]] = field(default_factory=list)
    rewarded: bool = False
    settled: bool = False
    arrived: int = 0
    """When the newest of the clicks that made the reward arrived, microseconds UTC."""

    @classmethod
    def of(cls, made: Decision) -> "Waiting":
        """Of a decision that had features."""
        return cls(
            made.decision_id,
            made.user_id,
            made.variant,
            made.decided_at,
            made.row.copy(),
            len(made.candidates),
            made.propensity,
            made.scores[made.chosen] if any(made.scores) else None,
        )


@dataclass(frozen=True)
class Progress:
    """What one look at the log has brought: new decisions, decisions that earned their reward, and how many clicks came
    too late and how many events are no decisions."""

    decided: list[Decision]
    rewarded: list[Waiting]
    late: int
    refused: int


@dataclass(frozen=True)
class Outcome:
    """The declared outcome of a decision: a windowed feature of the entity `decision`."""

    view: View
    feature: str
    grace: int

    @classmethod
    def of(cls, repo: Repo, name: str, grace: int) -> "Outcome":
        """The feature `view:feature`; `grace` is in microseconds. Raises `InputError` unless it can be an outcome."""
        view, _, feature = name.partition(":")
        declared = repo.views.get(view)
        found = [f for f in declared.features if f.name == feature] if declared else []
        fits = declared and found and declared.keys == (KEY,) and not declared.others
        if declared is None or not fits or found[0].over.kind != "sliding":
            raise InputError(
                f"the outcome '{name}' is no feature over a sliding window of an entity by {KEY}, of one source; name "
                "one."
            )
        return cls(declared, feature, grace)

    @classmethod
    def declared(cls, repo: Repo, ranking: Ranking) -> "Outcome":
        """The one that a ranking names."""
        return cls.of(repo, ranking.outcome, int(ranking.grace_seconds * SECOND))

    @property
    def window(self) -> int:
        """How long after a decision a click counts, microseconds."""
        [feature] = [f for f in self.view.features if f.name == self.feature]
        return feature.over.width

    def asked_at(self, decided_at: int) -> int:
        """The instant at which the feature is the outcome."""
        return decided_at + self.window

    def known_at(self, decided_at: int) -> int:
        """By when a click must have arrived."""
        return self.asked_at(decided_at) + self.grace

    def reward(self, decided_at: int, clicks: list[dict[str, Any]]) -> int:
        """0 or 1. `clicks` are events of the log in the form that `dualpath.preview` has inside."""
        known = [click for click in clicks if click["arrival_time"] <= self.known_at(decided_at)]
        [row] = answers(self.view, {self.view: known}, self.asked_at(decided_at)) if known else [{self.feature: 0}]
        return int(bool(row[self.feature]))


class Learner:
    """The sums of all decisions and rewards in a repo's log, as far as it was read."""

    def __init__(self, repo: Repo, decisions: str, outcome: Outcome, width: int) -> None:
        """`decisions` names their event source; `width` is d, the length of a context's row."""
        self.outcome = outcome
        self.state = State.empty(width)
        source = outcome.view.source
        self.decisions = Tail(repo.storage(decisions), repo.sources[decisions])
        self.clicks = Tail(repo.storage(source.name), source)
        self.waiting: dict[str, Waiting] = {}
        self.early: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.newest = 0

    @classmethod
    def declared(cls, repo: Repo, ranking: Ranking) -> "Learner":
        """The learner of a ranking."""
        return cls(repo, ranking.decisions, Outcome.declared(repo, ranking), len(ranking.context.names))

    def step(self) -> Progress:
        """Take in what the log has got since."""
        # Decisions first: a click is read no earlier than what it is about, unless its stream is ahead.
        new, refused = parsed(self.decisions.read(COLUMNS))
        touched = {}
        teaching = [Waiting.of(each) for each in new if each.teaches]
        for each in teaching:
            self.waiting[each.decision_id] = each
            each.clicks = self.early.pop(each.decision_id, [])
            if each.clicks:
                touched[each.decision_id] = each
        if teaching:
            self.state = self.state.with_decisions(np.stack([each.row for each in teaching]))
        [key] = self.outcome.view.key_columns
        for click in self._clicked():
            waiting = self.waiting.get(click[key])
            if waiting is None:
                self.early[click[key]].append(click)
            elif not waiting.rewarded:
                waiting.clicks.append(click)
                touched[click[key]] = waiting
        rewarded = [w for w in touched.values() if self.outcome.reward(w.decided_at, w.clicks)]
        for found in rewarded:
            found.rewarded, found.arrived, found.clicks = True, max(c["arrival_time"] for c in found.clicks), []
        if rewarded:
            self.state = self.state.with_rewards(np.stack([each.row for each in rewarded]))
        return Progress(new, rewarded, self._forget(), len(refused))

    def settle(self, before: int) -> list[Waiting]:
        """The decisions made before an instant that were not settled yet, oldest first."""
        found = [w for w in self.waiting.values() if not w.settled and w.decided_at < before]
        for each in found:
            each.settled = True
        return sorted(found, key=lambda w: w.decided_at)

    def _clicked(self) -> Iterator[dict[str, Any]]:
        names = self.clicks.source.stored.names
        table = self.clicks.read(names)
        columns = {
            n: c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c
            for n, c in zip(names, table.columns, strict=True)
        }
        for event in pa.table(columns).to_pylist():
            self.newest = max(self.newest, event["arrival_time"])
            yield event

    def _forget(self) -> int:
        """Forget decisions that no click can change any more; returns how many clicks came too late for theirs."""
        past = self.newest - SLACK
        for name in [n for n, w in self.waiting.items() if self.outcome.known_at(w.decided_at) < past]:
            del self.waiting[name]
        lost = [n for n, clicks in self.early.items() if max(c["arrival_time"] for c in clicks) < past]
        return sum(len(self.early.pop(name)) for name in lost)
