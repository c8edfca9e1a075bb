"""Generated answers of `GET /live`, in the states that the page must show."""

import random
from collections.abc import Iterator
from typing import Any

SECTIONS = ("business", "culture", "politics", "science", "sport", "travel")
STAGES = ("features", "context", "choose", "store", "journal", "total")
READERS = tuple(f"r{n:03}" for n in range(1, 9))
ODD = '<b onclick="alert(\'x\')">&amp;"</b>'
"""An id that would be markup if it were put into the page as it is."""
EMPTY: dict[str, Any] = {
    "as_of": "2026-11-26T12:00:00.000000Z",
    "reader": None,
    "readers": [],
    "simulation": None,
    "experiment": None,
    "policy": None,
    "loop": None,
    "health": {"redis": "up", "breaker": "closed", "staleness_seconds": None, "kafka": "up", "journal_queue": 0},
    "stages": {},
    "requests": 0,
    "degraded": {"features": 0, "journal": 0},
}
"""The answer of a service that was asked for nothing yet."""


def document(seed: int, user_id: str = READERS[0]) -> dict[str, Any]:
    """The answer of a service at work; every number differs from one seed to the next."""
    draw = random.Random(seed)
    points = 40 + seed
    bandit, uniform = draw.randrange(500, 5_000), draw.randrange(500, 5_000)
    difference = draw.uniform(0.04, 0.08)
    scores = sorted((draw.random() for _ in range(5)), reverse=True)
    return {
        "as_of": f"2026-11-26T12:{seed % 60:02}:07.123456Z",
        "reader": {
            "user_id": user_id,
            "interest": {section: draw.uniform(0.1, 4) for section in SECTIONS},
            "clicks_5min": draw.randrange(1_000),
            "known": f"q1b{draw.randrange(1_000)}",
            "degraded": None,
            "decision_id": f"{draw.getrandbits(256):064x}",
            "variant": "bandit",
            "policy": f"{draw.getrandbits(256):064x}",
            "feed": [
                {"article_id": f"a{draw.randrange(10_000)}", "category": draw.choice(SECTIONS), "score": score}
                for score in scores
            ],
        },
        "readers": list(READERS),
        "simulation": {
            "decisions": [100 * (n + 1) for n in range(points)],
            "regret": {
                "bandit": [40 * (1 - 0.96**n) + draw.random() for n in range(points)],
                "uniform": [2.9 * n + draw.random() for n in range(points)],
            },
        },
        "experiment": {
            "name": "front_page",
            "variants": {
                "bandit": {"decisions": bandit, "clicks": bandit // 7},
                "uniform": {"decisions": uniform, "clicks": uniform // 12},
            },
            "difference": difference,
            "interval": [difference - draw.uniform(0.01, 0.03), difference + draw.uniform(0.01, 0.03)],
            "decided": True,
            "sentence": f"After {seed} looks, bandit earns more clicks than uniform.",
            "sample_ratio_p": draw.uniform(0.1, 0.9),
        },
        "policy": {
            "hash": f"{draw.getrandbits(256):064x}",
            "age_seconds": draw.uniform(0.5, 9),
            "decisions": draw.randrange(1_000, 9_999),
            "rewards": draw.randrange(1_000),
        },
        "loop": {
            "join_delay_p50": draw.uniform(1, 9),
            "ess": draw.uniform(1_000, 2_000),
            "psi": {name: draw.uniform(0, 0.1) for name in ("activity", "freshness", "interest", "mobile")},
            "predicted": draw.uniform(0.1, 0.2),
            "observed": draw.uniform(0.1, 0.2),
            "z": draw.uniform(-2, 2),
            "alarm": None,
        },
        "health": EMPTY["health"] | {"staleness_seconds": draw.uniform(0.1, 2), "journal_queue": draw.randrange(99)},
        "stages": {name: {"p50": draw.uniform(0.2, 3), "p99": draw.uniform(3, 40)} for name in STAGES},
        "requests": draw.randrange(1_000, 999_999),
        "degraded": {"features": draw.randrange(99), "journal": draw.randrange(99)},
    }


def redis_down(seed: int) -> dict[str, Any]:
    """Redis is gone, and the breaker has opened: the articles come back in the order in which they were asked for."""
    made = document(seed)
    made["reader"] |= {"interest": {}, "clicks_5min": None, "known": None, "policy": None, "degraded": "features"}
    for article in made["reader"]["feed"]:
        article["score"] = 0.0
    made["health"] |= {"redis": "down", "breaker": "open", "staleness_seconds": None}
    return made


def alarmed(seed: int) -> dict[str, Any]:
    """What was learned does not hold any more, and the readers are not shared out as declared."""
    made = document(seed)
    made["loop"] |= {"z": -7.2, "alarm": "The last 1,000 decisions earned less than was predicted."}
    made["loop"]["psi"]["interest"] = 0.6125
    made["experiment"] |= {"decided": False, "sample_ratio_p": 1e-9}
    made["health"] |= {"breaker": "half-open"}
    return made


def odd(seed: int) -> dict[str, Any]:
    """Every text that somebody else may choose is markup."""
    made = document(seed, user_id=ODD)
    made["readers"] = [ODD, *READERS]
    reader, experiment = made["reader"], made["experiment"]
    reader |= {"known": ODD, "decision_id": ODD, "variant": ODD, "policy": ODD, "interest": {ODD: 1.0}}
    for article in reader["feed"]:
        article |= {"article_id": ODD, "category": ODD}
    experiment |= {"name": ODD, "sentence": ODD, "variants": {ODD: {"decisions": 2, "clicks": 1}}}
    made["simulation"]["regret"] = {ODD: [1.0, 2.0]}
    made["policy"]["hash"] = ODD
    made["loop"] |= {"alarm": ODD, "psi": {ODD: 0.1}}
    made["stages"] = {ODD: {"p50": 1.0, "p99": 2.0}}
    return made


def places(node: dict[str, Any], before: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every member of a document, as the keys on the way to it; of a list, those of its first."""
    for key, value in node.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from places(value, (*before, key))
        elif isinstance(value, list) and isinstance(value[0], dict):
            yield from places(value[0], (*before, key, 0))


def without(made: dict[str, Any], place: tuple[str | int, ...]) -> dict[str, Any]:
    """A document whose member at a place is null; the document itself is changed."""
    node: Any = made
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = None
    return made
