"""The oracle: what every feature is, by nested loops over plain events. Never optimised, never clever.

It shares nothing with the windows, the kernel or the aggregates it judges but three definitions: the 64-bit code
of an event's id, which breaks ties, the hash of a number, and the weight of an age. An event is a dict as
`parity_tests.events.evaluated` leaves it: `event_id`, `event_time` in microseconds UTC, the entity's keys, and the
value of every SQL expression under its own text.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from dualpath.decay import CONSTANTS, weight
from dualpath.record import code, hashed

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def seen(value: Any) -> Any:
    """A value as a model sees it: exact numbers rounded once to a double, one zero."""
    return float(value) + 0.0 if isinstance(value, Decimal | float) else value


def rounded(exact: Fraction, kind: str | None) -> int | float:
    """An exact sum as a model sees it."""
    return int(exact) if kind == "integer" else real(exact)


def real(exact: Fraction) -> float:
    """The nearest double, or infinity; one zero."""
    try:
        return float(exact) + 0.0
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def total(found: list) -> Fraction:
    """The exact sum."""
    return sum((Fraction(value) for _, _, value, _ in found), Fraction(0))


def variance(found: list) -> float | None:
    """The exact sample variance, rounded once."""
    n, s, q = len(found), total(found), sum(Fraction(value) ** 2 for _, _, value, _ in found)
    return real((n * q - s * s) / (n * (n - 1))) if n > 1 else None


def percentile(found: list, p: float) -> Any:
    """The value at the rank that the fraction gives, counted from 1 and upwards."""
    values = sorted(value for _, _, value, _ in found)
    return seen(values[math.ceil(Fraction(str(p)) * len(values)) - 1]) if values else None


def top(found: list, k: int) -> list:
    """The most frequent values, ties ascending."""
    counts = Counter(value for _, _, value, _ in found)
    return [seen(value) for value in sorted(counts, key=lambda v: (-counts[v], v))[:k]]


def sketch(found: list, k: int, scale: int) -> int:
    """How many different values, or if there are k or more, what the k-th least of their hashes lets expect."""
    words = {value if isinstance(value, str) else int(value * 10**scale) for _, _, value, _ in found}
    hashes = sorted(code(word) if isinstance(word, str) else hashed(word) for word in words)
    return len(hashes) if len(hashes) < k else round((k - 1) * 2.0**64 / (hashes[k - 1] + 2.0**63))


def by(found: list, name: str, each: Callable[[list], Any]) -> dict:
    """What `each` makes of the events of every text."""
    texts = sorted({event[name] for *_, event in found if event[name] is not None})
    return {text: each([f for f in found if f[3][name] == text]) for text in texts}


def decayed(found: list, half_life: float, scale: int, as_of: int, grain: int) -> float:
    """Sums of each instant, in units of the scale, weighed by its age and added from the oldest on."""
    instants: dict[int, Fraction] = {}
    for when, _, value, _ in found:
        at = when // grain * grain
        instants[at] = instants.get(at, Fraction(0)) + (1 if value is True else Fraction(value) * 10**scale)
    score = 0.0
    for at in sorted(instants):
        score += int(instants[at]) / 10.0**scale * weight(as_of - at, round(half_life * 1_000_000), CONSTANTS)
    return score


def decay(found: list, ask: Any) -> Any:
    """One decayed score, or one for each text."""
    score = partial(
        decayed, half_life=ask.aggregate.half_life, scale=ask.scale, as_of=ask.as_of, grain=ask.view.resolution
    )
    return by(found, ask.aggregate.by, score) if ask.aggregate.by else score(found)


def ratio(ask: Any) -> float | None:
    """Exact over exact, rounded once."""
    sides = [
        total(ask.found(part)) if part.of else Fraction(len(ask.found(part)))
        for part in (ask.aggregate.top, ask.aggregate.bottom)
    ]
    return float(sides[0] / sides[1]) if sides[1] else None


MEANING: dict[str, Callable[[list, Any], Any]] = {
    "Count": lambda found, ask: len(found),
    "Sum": lambda found, ask: rounded(total(found), ask.kind),
    "Mean": lambda found, ask: real(total(found) / len(found)) if found else None,
    "Min": lambda found, ask: seen(min((value for _, _, value, _ in found), default=None)),
    "Max": lambda found, ask: seen(max((value for _, _, value, _ in found), default=None)),
    "First": lambda found, ask: seen(min(found)[2]) if found else None,
    "Last": lambda found, ask: seen(max(found)[2]) if found else None,
    "LastK": lambda found, ask: [seen(value) for _, _, value, _ in sorted(found, reverse=True)[: ask.aggregate.k]],
    "Distinct": lambda found, ask: [seen(value) for value in sorted({value for _, _, value, _ in found})],
    "DistinctCount": lambda found, ask: len({value for _, _, value, _ in found}),
    "ApproxDistinctCount": lambda found, ask: sketch(found, ask.aggregate.k, ask.scale),
    "TopK": lambda found, ask: top(found, ask.aggregate.k),
    "CountBy": lambda found, ask: by(found, ask.aggregate.of, len),
    "SumBy": lambda found, ask: by(found, ask.aggregate.by, lambda part: rounded(total(part), ask.kind)),
    "Percentile": lambda found, ask: percentile(found, ask.aggregate.p),
    "Variance": lambda found, ask: variance(found),
    "StdDev": lambda found, ask: None if (spread := variance(found)) is None else math.sqrt(spread),
    "TimeSince": lambda found, ask: ask.as_of - max(found)[0] if found else None,
    "DecayedCount": decay,
    "DecayedSum": decay,
    "Ratio": lambda found, ask: ratio(ask),
}
"""Each aggregate, from the (time, code, value, event) of the events that count to what a model sees."""


@dataclass
class Ask:
    """One feature of one entity at one instant."""

    view: Any
    events: Iterable[dict]
    entity: tuple
    aggregate: Any
    over: Any
    as_of: int

    @property
    def kind(self) -> str | None:
        """The kind of the column that is aggregated."""
        return self.view.type_of(self.aggregate.of).kind if self.aggregate.of else None

    @property
    def scale(self) -> int:
        """Its scale."""
        return self.view.type_of(self.aggregate.of).scale if self.aggregate.of else 0

    def found(self, aggregate: Any) -> list:
        """The events that count: of the entity, in the window, passing the condition, with a value."""
        left, right = edges(self.over, self.as_of, self.view.resolution)
        found = []
        for event in self.events:
            mine = tuple(event[key] for key in self.view.keys) == self.entity
            passes = aggregate.where is None or event[aggregate.where] is True
            value = event[aggregate.of] if aggregate.of else True
            if mine and passes and value is not None and left < event["event_time"] <= right:
                found.append((event["event_time"], code(event["event_id"]), value, event))
        return found


def oracle(view: Any, events: Iterable[dict], entity: tuple, as_of: int) -> dict[str, Any]:
    """Every feature of one entity at `as_of` (microseconds UTC), from the events that are known."""
    answer = {}
    for feature in view.features:
        ask = Ask(view, events, entity, feature.aggregate, feature.over, as_of)
        answer[feature.name] = MEANING[type(feature.aggregate).__name__](ask.found(feature.aggregate), ask)
    return answer


def expressions(aggregate: Any) -> set[str]:
    """Every SQL expression an aggregate reads."""
    named = (getattr(aggregate, name, None) for name in ("of", "where", "by"))
    parts = [part for part in (getattr(aggregate, "top", None), getattr(aggregate, "bottom", None)) if part]
    return {sql for sql in named if sql}.union(*map(expressions, parts))


def edges(window: Any, as_of: int, resolution: int) -> tuple[float, int]:
    """The open left and the closed right edge; a coarse resolution moves the left one down to a bucket's."""
    right = as_of - window.offset
    if window.kind == "lifetime":
        return float("-inf"), right
    left = right - window.width
    if window.kind == "calendar":
        zone = ZoneInfo(window.zone)
        today = (EPOCH + right * MICROSECOND).astimezone(zone).date()
        back = {"day": 0, "week": today.weekday(), "month": today.day - 1}[window.unit]
        midnight = datetime.combine(today - timedelta(days=back), time(), zone)
        left = (midnight - EPOCH) // MICROSECOND - 1
    return (left + 1) // resolution * resolution - 1, right
