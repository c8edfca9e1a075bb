"""Which metrics a text names, and which a registry gives."""

import re
from collections.abc import Iterable

from prometheus_client import CollectorRegistry

ENDINGS = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
}
"""What a metric's name ends in where it is scraped, by its kind."""


def metric_names(text: str) -> set[str]:
    """The metrics of dualpath that PromQL, or what an exporter answers, names; comments do not count.

    >>> sorted(metric_names('# TYPE dualpath_b gauge\\nrate(dualpath_rows_total{source="dualpath"}[5m]) / dualpath_a'))
    ['dualpath_a', 'dualpath_rows_total']
    """
    said = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    return set(re.findall(r"\bdualpath_\w+", said))


def scraped(kinds: Iterable[tuple[str, str]]) -> set[str]:
    """The names in a scrape of metrics, which are given by name and kind.

    >>> sorted(scraped([("late", "counter"), ("seconds", "summary")]))
    ['late_total', 'seconds_count', 'seconds_sum']
    """
    return {name + ending for name, kind in kinds for ending in ENDINGS[kind]}


def registered(registry: CollectorRegistry) -> set[str]:
    """The names in a scrape of all that a registry has, also of what it has no number of yet."""
    return scraped((family.name, family.type) for family in registry.collect())
