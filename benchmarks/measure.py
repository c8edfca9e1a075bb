"""Timing that is fair on a noisy machine: peers take turns within one run, and a figure is a ratio of theirs."""

import gc
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """Seconds of each call of each peer, doing the same work; the first peer is the one a ratio is relative to."""

    work: str
    seconds: Mapping[str, np.ndarray]

    def quantiles(self, peer: str) -> tuple[float, float]:
        """Median and 99th percentile of a peer, seconds."""
        low, high = np.quantile(self.seconds[peer], (0.5, 0.99))
        return float(low), float(high)

    def ratios(self, peer: str) -> tuple[float, float]:
        """How many times longer than the first peer, at the median and at the 99th percentile."""
        first = self.quantiles(next(iter(self.seconds)))
        low, high = (a / b for a, b in zip(self.quantiles(peer), first, strict=True))
        return low, high

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        peers = {}
        for peer, seconds in self.seconds.items():
            names = ("p50_seconds", "p99_seconds", "p50_ratio", "p99_ratio")
            figures = (*self.quantiles(peer), *self.ratios(peer))
            peers[peer] = {"calls": len(seconds), **dict(zip(names, figures, strict=True))}
        return {"work": self.work, "peers": peers}


@dataclass(frozen=True)
class Sheet:
    """What is not a ratio of call times: named cells for people, and `data` for programs."""

    work: str
    cells: Mapping[str, str]
    data: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {"work": self.work, **self.data}

    def __rich__(self) -> Table:
        drawn = Table(title=self.work, title_justify="left", show_header=False)
        drawn.add_column()
        drawn.add_column(justify="right")
        for name, value in self.cells.items():
            drawn.add_row(name, value)
        return drawn


def take_turns(
    work: str,
    peers: Mapping[str, Callable[[Any], Any]],
    inputs: Iterable[Any],
    check: Callable[[Any, Mapping[str, Any]], None] = lambda given, answers: None,
    warm_up: int = 1,
) -> Figure:
    """Call every peer once with each input, in an order that rotates; `check` sees the answers, untimed.

    The first `warm_up` inputs are not counted.
    """
    names = list(peers)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.freeze()
    for turn, given in enumerate(inputs):
        answers = {}
        for i in range(len(names)):
            name = names[(turn + i) % len(names)]
            begin = time.perf_counter()
            answers[name] = peers[name](given)
            end = time.perf_counter()
            if turn >= warm_up:
                seconds[name].append(end - begin)
        check(given, answers)
    gc.unfreeze()
    return Figure(work, {name: np.array(taken) for name, taken in seconds.items()})


def table(figures: Iterable[Figure]) -> Table:
    """The figures for reading."""
    drawn = Table("work", "by", "calls", "p50", "p99", "p50 ratio", "p99 ratio")
    for column in drawn.columns[2:]:
        column.justify = "right"
    for figure in figures:
        for i, (peer, seconds) in enumerate(figure.seconds.items()):
            spans, ratios = figure.quantiles(peer), figure.ratios(peer)
            drawn.add_row(
                figure.work if not i else "",
                peer,
                f"{len(seconds):,}",
                *map(spell, spans),
                *(f"{r:.2f}" for r in ratios),
            )
        drawn.add_section()
    return drawn


def spell(seconds: float) -> str:
    """A span of time with three digits.

    >>> spell(0.0000123), spell(0.00456), spell(1.5)
    ('12.3 µs', '4.56 ms', '1.5 s')
    """
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
