"""What hindsight costs: a model trained on final values beside one trained on what was known, both served live.

Users act, and some of their events arrive late, as those of an app that was offline. Who buys depends on the actions of
the last half hour. Serving sees those that had arrived. One model learns from all of the log, the other from training
rows with `known_at`; both predict from what serving sees. The values are the kernel's; the models are the same
logistic regression.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.measure import Sheet
from dualpath.aggregates import Count
from dualpath.known import Known
from dualpath.offline import training
from dualpath.record import layout
from dualpath.schema import EventSource, text
from dualpath.view import Feature, View
from dualpath.windows import SECOND, minutes

USERS, LATE, DELAY = 200_000, 0.4, 20 * 60 * SECOND
"""How many users, each asked about once; which share of their events is late, and by how much in the mean."""
NOON = 1_750_000_000_000_000
HALF_HOUR = 30 * 60 * SECOND
VIEW = View(
    "user", ("user_id",), EventSource("app", (text("user_id"),)), (Feature("actions_30min", Count(), minutes(30)),)
)


def run(*, plot: Path | None) -> Iterator[Sheet]:
    """How well each model predicts what is served."""
    random = np.random.default_rng(4)
    actions = random.poisson(random.gamma(2, 2, USERS))
    owner = np.repeat(np.arange(USERS), actions)
    time = NOON - random.integers(0, HALF_HOUR, len(owner))
    late = random.random(len(owner)) < LATE
    arrived = time + np.where(late, random.exponential(DELAY, len(owner)), SECOND).astype(np.int64)
    buys = random.random(USERS) < _probability(np.array([-3.0, 0.5]), actions)
    final, known = _values(owner, time, arrived, None), _values(owner, time, arrived, np.full(USERS, NOON))
    learns, judged = np.arange(USERS) < USERS // 2, np.arange(USERS) >= USERS // 2
    models = {
        "trained on final values": _fit(final[learns], buys[learns]),
        "trained with known_at": _fit(known[learns], buys[learns]),
    }
    predicted = {name: _probability(model, known[judged]) for name, model in models.items()}
    losses = {name: _log_loss(each, buys[judged]) for name, each in predicted.items()}
    means = {name: float(each.mean()) for name, each in predicted.items()}
    yield Sheet(
        f"{USERS // 2:,} predictions from what serving knew; {LATE:.0%} of the events are late",
        {
            "buyers": f"{buys[judged].mean():.1%}",
            **{f"predicted, {name}": f"{mean:.1%}" for name, mean in means.items()},
            **{f"log loss, {name}": f"{loss:.4f}" for name, loss in losses.items()},
        },
        {"buyers": float(buys[judged].mean()), "predicted": means, "log_loss": losses},
    )
    if plot:
        _draw(predicted, buys[judged], plot)


def _values(owner: np.ndarray, time: np.ndarray, arrived: np.ndarray, known_at: np.ndarray | None) -> np.ndarray:
    """Each user's feature at noon, from all events or from those that had arrived."""
    words = np.ones((len(owner), layout(VIEW).width), dtype=np.int64)
    words[:, 0], words[:, 1] = time, np.arange(len(owner))
    names = pa.array([f"u{number}" for number in range(USERS)])
    records = pa.table({"entity": names.take(pa.array(owner)), "words": _lists(words), "arrived": arrived})
    known = None if known_at is None else Known("arrived", known_at)
    no_texts = training.NO_TEXTS
    found = training.values(VIEW, ["actions_30min"], names, np.full(USERS, NOON), records, lambda _: no_texts, known)
    return found["actions_30min"].to_numpy()


def _lists(words: np.ndarray) -> pa.ListArray:
    n, width = words.shape
    return pa.ListArray.from_arrays(np.arange(0, n * width + 1, width, dtype=np.int32), words.ravel())


def _probability(model: np.ndarray, feature: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(model[0] + model[1] * feature)))


def _fit(feature: np.ndarray, buys: np.ndarray) -> np.ndarray:
    """Logistic regression with one feature, by Newton's method."""
    columns, model = np.column_stack([np.ones(len(feature)), feature]), np.zeros(2)
    for _ in range(20):
        p = _probability(model, feature)
        model = model + np.linalg.solve((columns.T * (p * (1 - p))) @ columns, columns.T @ (buys - p))
    return model


def _log_loss(predicted: np.ndarray, buys: np.ndarray) -> float:
    return float(-np.mean(np.where(buys, np.log(predicted), np.log(1 - predicted))))


def _draw(predicted: dict[str, np.ndarray], buys: np.ndarray, to: Path) -> None:
    """How many buy among those of whom a model says so much."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="what is said comes true")
    for (name, each), marker in zip(predicted.items(), "os", strict=True):
        values, counts = np.unique(each, return_counts=True)
        there = values[counts >= 100]  # a share of fewer is mostly chance
        axes.plot(there, [buys[each == value].mean() for value in there], marker=marker, label=name)
    axes.set(
        xlabel="predicted share of buyers, from what serving knew", ylabel="share that bought", xlim=(0, 1), ylim=(0, 1)
    )
    axes.legend()
    figure.savefig(to, dpi=120)
