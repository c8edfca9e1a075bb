"""The histogram of ages that the stream exposes: its buckets, and what quantiles they tell."""

import numpy as np
from prometheus_client import Histogram

MILLISECONDS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SECONDS = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 15, 20, 30, 45)
MINUTES = (60, 90, 120, 180, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400)
EDGES = np.array([*MILLISECONDS, *SECONDS, *MINUTES], dtype=float)
"""Upper edges of the buckets of ages, seconds; what is older than the last one is in a bucket without an end."""


class AgeHistogram(Histogram):
    """Prometheus's histogram, which takes a whole array of seconds: a batch may have a million rows."""

    def observe_many(self, ages: np.ndarray) -> None:
        """Add float64[n] seconds; an age below zero, by a clock that is ahead, counts as zero."""
        self._raise_if_not_observable()
        ages = np.maximum(ages, 0)
        rows = np.bincount(np.searchsorted(self._upper_bounds, ages), minlength=len(self._upper_bounds))
        for bucket, count in zip(self._buckets, rows.tolist(), strict=True):
            bucket.inc(count)
        self._sum.inc(float(ages.sum()))


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
