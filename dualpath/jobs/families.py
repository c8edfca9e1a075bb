"""Numbers by label, as Prometheus reads them: plain values in this process, and histograms that take whole arrays.

prometheus_client's own Counter and Gauge keep their values in files by process id as soon as Feast has been imported,
which sets PROMETHEUS_MULTIPROC_DIR; in a container, where ids repeat, they would go on after a restart.
"""

from collections.abc import Iterator
from threading import Lock
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

MILLISECONDS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SECONDS = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 15, 20, 30, 45)
MINUTES = (60, 90, 120, 180, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400)
EDGES = np.array([*MILLISECONDS, *SECONDS, *MINUTES], dtype=float)
"""Upper edges of the buckets of ages, seconds; what is older than the last one is in a bucket without an end."""


class Family(Collector):
    """A metric of one kind; its numbers, arrays of some length, by the values of its labels."""

    width = 1

    def __init__(self, registry: CollectorRegistry, name: str, documentation: str, *labels: str) -> None:
        self.name, self.documentation, self.labels = f"dualpath_{name}", documentation, labels
        self._numbers: dict[tuple[str, ...], np.ndarray] = {}
        self._lock = Lock()
        registry.register(self)

    def add(self, labels: tuple[str, ...], *more: float | np.ndarray) -> None:
        """Add to the numbers of the labels, which begin at 0."""
        with self._lock:
            self._numbers[labels] = self._numbers.get(labels, np.zeros(self.width)) + np.concatenate(more, axis=None)

    def set(self, labels: tuple[str, ...], value: float) -> None:
        """Replace the number of the labels."""
        self._numbers[labels] = np.array([value])

    def collect(self) -> Iterator[Metric]:
        """As Prometheus reads it."""
        family = self.family()
        for labels, numbers in list(self._numbers.items()):
            self.fill(family, labels, numbers.tolist())
        yield family

    def family(self) -> Any:
        """The metric without numbers."""
        raise NotImplementedError

    def fill(self, family: Any, labels: tuple[str, ...], numbers: list[float]) -> None:
        """Put the numbers of some labels into it."""
        family.add_metric(labels, *numbers)


class Gauge(Family):
    """What is so now."""

    def family(self) -> Any:
        return GaugeMetricFamily(self.name, self.documentation, labels=self.labels)


class Counter(Family):
    """What has come together since the process began."""

    def family(self) -> Any:
        return CounterMetricFamily(self.name, self.documentation, labels=self.labels)


class Spans(Family):
    """How many spans of time there were, and their seconds."""

    width = 2

    def family(self) -> Any:
        return SummaryMetricFamily(self.name, self.documentation, labels=self.labels)


class Ages(Family):
    """A histogram of ages in seconds: the rows of each bucket, and the sum of their ages."""

    width = len(EDGES) + 2
    names = tuple(floatToGoString(edge) for edge in (*EDGES, np.inf))

    def observe(self, labels: tuple[str, ...], ages: np.ndarray) -> None:
        """Add float64[n] seconds; an age below zero, by a clock that is ahead, counts as zero."""
        ages = np.maximum(ages, 0)
        self.add(labels, np.bincount(np.searchsorted(EDGES, ages), minlength=len(EDGES) + 1), ages.sum())

    def family(self) -> Any:
        return HistogramMetricFamily(self.name, self.documentation, labels=self.labels)

    def fill(self, family: Any, labels: tuple[str, ...], numbers: list[float]) -> None:
        """Every bucket has all rows up to its edge."""
        *rows, total = numbers
        family.add_metric(labels, list(zip(self.names, np.cumsum(rows).tolist(), strict=True)), total)


def quantile(share: float, edges: np.ndarray, counts: np.ndarray) -> float:
    """The age that a share of rows does not exceed, seconds, linear within a bucket as in PromQL; nan without rows.

    `edges` are upper edges, ascending, the last one infinite; `counts` are the rows up to each. A quantile in the
    bucket without an end is its lower edge.

    >>> edges = np.array([1, 2, np.inf])
    >>> quantile(0.5, edges, np.array([0, 10, 10])), quantile(0.99, edges, np.array([0, 5, 10]))
    (1.5, 2.0)
    """
    if not counts[-1]:
        return float("nan")
    finite = np.r_[0, edges[:-1], edges[-2]]
    return float(np.interp(share * counts[-1], np.r_[0, counts], finite))
