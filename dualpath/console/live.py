"""`status --watch`: what a running stream says of itself, every second, from the file that it leaves in its ledger."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table

from dualpath.console.report import output, table
from dualpath.jobs.histogram import quantile
from dualpath.jobs.metrics import FILE
from dualpath.log.outcomes import OUTCOMES
from dualpath.log.storage import Storage
from dualpath.repo import Repo

SPAN = 60.0
"""Seconds that rates, durations and freshness are about."""
SILENT = 30.0
"""Seconds after which a stream that says nothing is taken to be gone; an idle one speaks every ten."""
ADDING = ("_total", "_bucket", "_count", "_sum")
"""How the names of numbers end that only ever grow."""
Label = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Reading:
    """The numbers of one source at an instant: name and labels (but for the source) to value."""

    values: Mapping[tuple[str, Label], float]

    def value(self, name: str, **labels: str) -> float:
        """One number; nan if the stream has not said it."""
        return self.values.get((name, frozenset(labels.items())), float("nan"))

    def by(self, label: str, name: str) -> dict[str, float]:
        """The numbers of a name by one of their labels, in the order they were written."""
        return {dict(labels)[label]: v for (n, labels), v in self.values.items() if n == name and label in dict(labels)}

    def since(self, earlier: "Reading | None") -> "Reading":
        """What was added after an earlier reading of the same stream; what does not add up stays as it is."""
        if earlier is None or earlier.value(STARTED) != self.value(STARTED):
            return self
        return Reading(
            {k: v - earlier.values.get(k, 0) if k[0].endswith(ADDING) else v for k, v in self.values.items()}
        )

    def quantile(self, share: float, name: str) -> float:
        """A quantile of a histogram, seconds; nan if it is empty."""
        buckets = self.by("le", f"{name}_bucket")
        if not buckets:
            return float("nan")
        return quantile(share, np.array([float(edge) for edge in buckets]), np.array(list(buckets.values())))


STARTED = "dualpath_started_timestamp_seconds"
REPORTED = "dualpath_reported_timestamp_seconds"
EVENT_AGE, ARRIVAL_AGE = "dualpath_event_to_servable_seconds", "dualpath_arrival_to_servable_seconds"


def read(storage: Storage) -> Reading | None:
    """The last numbers of a source's stream; None if none has run since there are metrics."""
    try:
        text = (storage.folder("ledger") / FILE).read_text()
    except FileNotFoundError:
        return None
    return Reading(
        {
            (sample.name, frozenset(sample.labels.items() - {("source", storage.source)})): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels.get("source") == storage.source
        }
    )


class Watch:
    """Readings of a repo's sources; each frame is about the last `SPAN` seconds of them."""

    def __init__(self, repo: Repo) -> None:
        self.storages = [repo.storage(name) for name in repo.sources]
        self.seen: dict[str, deque[Reading]] = {name: deque() for name in repo.sources}

    def frame(self, now: float) -> RenderableType:
        """The view at an instant, seconds since 1970."""
        parts: list[RenderableType] = []
        for storage in self.storages:
            found = read(storage)
            parts += [storage.source, *self._of(storage.source, found, now), ""] if found else []
        return Group(*(parts or ["No stream of this repo has run yet; start one with `dualpath stream`."]))

    def _of(self, source: str, found: Reading, now: float) -> Iterable[RenderableType]:
        seen = self.seen[source]
        if not seen or found.value(REPORTED) != seen[-1].value(REPORTED):
            seen.append(found)
        while len(seen) > 1 and seen[1].value(REPORTED) <= found.value(REPORTED) - SPAN:
            seen.popleft()
        earlier = seen[0] if len(seen) > 1 else None
        return shown(found, earlier, now)


def watch(repo: Repo, *, interval: float, clock: Callable[[], float] = time.time) -> None:
    """Show frames until Ctrl-C."""
    frames = Watch(repo)
    with Live(frames.frame(clock()), console=output(), auto_refresh=False) as live:
        try:
            while True:
                time.sleep(interval)
                live.update(frames.frame(clock()), refresh=True)
        except KeyboardInterrupt:
            return


def numbers(found: Reading) -> dict[str, Any]:
    """The most asked for, for programs; null where the stream has not said it."""
    plain = {
        "reported_at": found.value(REPORTED),
        "lag_rows": found.value("dualpath_lag_rows"),
        "lag_seconds": found.value("dualpath_lag_seconds"),
        "state_rows": found.value("dualpath_state_rows"),
        "redis_away": found.value("dualpath_redis_away"),
        "event_to_servable_p50": found.quantile(0.5, EVENT_AGE),
        "event_to_servable_p99": found.quantile(0.99, EVENT_AGE),
    }
    return {name: None if np.isnan(number) else number for name, number in plain.items()}


def shown(found: Reading, earlier: Reading | None, now: float) -> Iterable[RenderableType]:
    """The numbers of one source: what it does, where its rows went, how fresh they are, where the time goes."""
    lately = found.since(earlier)
    began = found.value(STARTED) if lately is found or earlier is None else earlier.value(REPORTED)
    seconds = max(found.value(REPORTED) - began, 1e-3)
    outcomes = found.by("outcome", "dualpath_rows_total")
    yield _pairs(
        {
            "stream": _alive(found, now),
            "redis": "AWAY; the stream waits for it" if found.value("dualpath_redis_away") else "answers",
            "rows/s": _number(sum(lately.by("outcome", "dualpath_rows_total").values()) / seconds),
            "lag": f"{_number(found.value('dualpath_lag_rows'))} rows, {spell(found.value('dualpath_lag_seconds'))}",
            "newest arrival": _ago(now - found.value("dualpath_newest_arrival_timestamp_seconds")),
            "state": f"{_number(found.value('dualpath_state_rows'))} ids, "
            f"{_number(found.value('dualpath_state_bytes') / 2**20)} MiB",
        }
    )
    rows = table("read", *ROW_HEADS, "late", "out of retention", "latest by", numbers=HEADS)
    names = ("late_rows_total", "out_of_retention_rows_total", "latest_by_seconds")
    late, past, by = (found.value(f"dualpath_{name}") for name in names)
    counts = (
        sum(outcomes.values()),
        *(outcomes.get(outcome, 0) for outcome in OUTCOMES),
        late,
        past,
    )
    rows.add_row(*map(_number, counts), spell(by) if by > 0 else "-")
    yield rows
    fresh = table("servable after", "p50", "p99", numbers=HEADS)
    for what, name in (("event time", EVENT_AGE), ("arrival time", ARRIVAL_AGE)):
        fresh.add_row(what, *(spell(lately.quantile(share, name)) for share in (0.5, 0.99)))
    yield fresh
    phases = table("phase of a batch", "mean", numbers=HEADS)
    sums, batches = (lately.by("phase", f"dualpath_batch_phase_seconds_{end}") for end in ("sum", "count"))
    for phase, total in sorted(sums.items(), key=lambda each: -each[1]):
        if batches[phase]:
            phases.add_row(phase, spell(total / batches[phase]))
    yield phases


ROW_HEADS = [outcome.replace("_", " ") for outcome in OUTCOMES]
HEADS = ("read", *ROW_HEADS, "late", "out of retention", "latest by", "p50", "p99", "mean")


def _alive(found: Reading, now: float) -> str:
    silent = now - found.value(REPORTED)
    if silent > SILENT:
        return f"silent for {spell(silent)}; it has ended, or its batch takes that long"
    return f"{_number(found.value('dualpath_batches_total'))} batches in {spell(now - found.value(STARTED))}"


def _pairs(lines: Mapping[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, value in lines.items():
        grid.add_row(name, value)
    return grid


def _number(value: float) -> str:
    return "?" if np.isnan(value) else f"{value:,.0f}"


def _ago(seconds: float) -> str:
    return "none yet" if np.isnan(seconds) else f"{spell(max(seconds, 0))} ago"


def spell(seconds: float) -> str:
    """A span of time, short.

    >>> spell(0.0345), spell(3.21), spell(150), spell(7300), spell(float("nan"))
    ('34 ms', '3.2 s', '2.5 min', '2.0 h', '-')
    """
    if np.isnan(seconds):
        return "-"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1000:.0f} ms"
