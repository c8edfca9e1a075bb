"""A decision: one answer to `POST /rank`, with everything that is needed to make it again.

It is an event like any other. The application sends it to Kafka before it answers; the stream puts it in the event log;
the learner and the replay read it from there.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from dualpath.errors import StateError
from dualpath.field import Field
from dualpath.instants import iso
from dualpath.schema import integer, text

FIELDS: tuple[Field, ...] = (
    text("decision_id", required=True),
    text("request_id", required=True),
    text("user_id", required=True),
    text("device", required=True),
    text("variant", required=True),
    text("policy"),
    text("degraded"),
    integer("total", required=True),
    text("candidates", required=True),
    text("context", required=True),
    text("weights", required=True),
    text("scores", required=True),
    text("ranking", required=True),
    text("known", required=True),
)
"""The fields of an event source of decisions; its `event_id` is `decision_id`, its `event_time` is `decided_at`."""
LISTS = ("candidates", "context", "weights", "scores", "ranking", "known")
"""Fields that hold JSON, because the fields of an event are scalars."""
TIME = "decided_at"


@dataclass(frozen=True)
class Decision:
    """What was asked, what was known, and what was chosen.

    `decided_at` is the instant of all features, microseconds UTC. `context` is int64[K, d], a row for each candidate;
    None if there were no features. `scores` are what the policy expects of each candidate. A candidate's propensity for
    position one is its `weights` over `total`. `ranking` are places in `candidates`, best first. `known` has the tokens
    of each windowed view that was read, one a row, or one for all. `degraded` is empty, or says what was missing.
    """

    decision_id: str
    decided_at: int
    request_id: str
    user_id: str
    device: str
    candidates: tuple[str, ...]
    variant: str
    policy: str
    weights: tuple[int, ...]
    total: int
    scores: tuple[float, ...]
    ranking: tuple[int, ...]
    context: np.ndarray | None = field(default=None, compare=False)
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    degraded: str = ""

    @property
    def chosen(self) -> int:
        """The place of the candidate in position one."""
        return self.ranking[0]

    @property
    def propensity(self) -> float:
        """The probability with which the chosen candidate was chosen."""
        return self.weights[self.chosen] / self.total

    @property
    def teaches(self) -> bool:
        """Whether anything is learned from it: it had features, and was chosen as its probabilities say."""
        return self.context is not None and not self.degraded

    @property
    def row(self) -> np.ndarray:
        """The context of the chosen candidate, int64[d]; only of a decision that had features."""
        assert self.context is not None, "it had features"
        return self.context[self.chosen]

    def token(self, view: str, row: int) -> str:
        """What a row of a view knew."""
        tokens = self.known[view]
        return tokens[row if len(tokens) > 1 else 0]

    def event(self) -> dict[str, Any]:
        """Its form as an event's payload: flat, with ISO times."""
        # An event has no empty text; a missing one is null.
        plain = {f.name: getattr(self, f.name) or None for f in FIELDS if f.name not in LISTS}
        lists = {
            "candidates": list(self.candidates),
            "context": [] if self.context is None else self.context.tolist(),
            "weights": list(self.weights),
            "scores": list(self.scores),
            "ranking": list(self.ranking),
            "known": {view: list(tokens) for view, tokens in self.known.items()},
        }
        return plain | {TIME: iso(self.decided_at)} | {name: compact(value) for name, value in lists.items()}

    @cached_property
    def json(self) -> str:
        """The event as text, as it is journalled and kept."""
        return compact(self.event())

    @classmethod
    def of_event(cls, event: Mapping[str, Any], decided_at: int) -> "Decision":
        """The decision of an event; raises `StateError` if it holds something else.

        `decided_at` is the event's time, microseconds UTC.
        """
        try:
            given = {name: json.loads(event[name]) for name in LISTS}
            plain: dict[str, Any] = {f.name: event[f.name] or "" for f in FIELDS if f.name not in LISTS}
            context = np.array(given["context"], dtype=np.int64) if given["context"] else None
            found = cls(
                decided_at=decided_at,
                context=context,
                candidates=tuple(given["candidates"]),
                weights=tuple(given["weights"]),
                scores=tuple(given["scores"]),
                ranking=tuple(given["ranking"]),
                known={view: tuple(tokens) for view, tokens in given["known"].items()},
                **plain,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            name = event.get("decision_id")
            raise StateError(f"decision '{name}': it is no decision ({error}); see who writes the topic.") from None
        if not len(found.candidates) == len(found.weights) == len(found.ranking) or (
            context is not None and (context.ndim != 2 or len(context) != len(found.candidates))
        ):
            raise StateError(f"decision '{found.decision_id}': its lists differ in length; see who writes the topic.")
        return found


COLUMNS = (*(each.name for each in FIELDS), "event_time")
"""Of the event log, what `parsed` takes."""


def parsed(events: pa.Table) -> tuple[list[Decision], list[str]]:
    """The decisions among events of the log, and what was wrong with those that are none: somebody else may write to
    the topic."""
    times = events["event_time"].cast(pa.int64()).to_pylist()
    found, refused = [], []
    for event, decided_at in zip(events.drop_columns("event_time").to_pylist(), times, strict=True):
        try:
            found.append(Decision.of_event(event, decided_at))
        except StateError as error:
            refused.append(error.message)
    return found, refused


def identify(request_id: str, user_id: str, device: str, candidates: tuple[str, ...], degraded: str = "") -> str:
    """The id of the decision that answers a request: whoever asks again gets the same one.

    A decision without features has an id of its own, so that asking again later can get a better one.

    >>> identify("q1", "ann", "mobile", ("a", "b"))[:16] == identify("q1", "ann", "mobile", ("b", "a"))[:16]
    False
    """
    return hashlib.sha256(compact([request_id, user_id, device, list(candidates), degraded]).encode()).hexdigest()


def compact(value: Any) -> str:
    """JSON without spaces, its members in ascending order.

    >>> compact({"b": 1, "a": [1, 2]})
    '{"a":[1,2],"b":1}'
    """
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
