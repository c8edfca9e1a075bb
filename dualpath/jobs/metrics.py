"""What the stream measures of itself, for Prometheus; docs/operations.md says what each number means.

All numbers are of this process: they begin at 0 with it, as Prometheus expects, while the ledger counts for ever.
A row counts once its batch is finished, so one that is repeated after a crash counts in the process that finished it.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Summary,
    generate_latest,
    write_to_textfile,
)

from dualpath.dedup.segments import BYTES_PER_ID
from dualpath.files import objects
from dualpath.files.durable import write_atomically
from dualpath.files.parquet import dataset
from dualpath.files.places import Place
from dualpath.jobs.histogram import EDGES, AgeHistogram
from dualpath.log.accounts import Entry
from dualpath.log.outcomes import OUTCOMES
from dualpath.online.writer import WriteCounts
from dualpath.runtime.prometheus import new_registry
from dualpath.steps import Step, step

logger = logging.getLogger(__name__)
T = TypeVar("T")
TIMES = pa.schema([(name, pa.timestamp("us", "UTC")) for name in ("event_time", "arrival_time")])
FILE = "metrics.prom"
"""The numbers of a stream, in its source's ledger folder, for other processes."""
TEXTS = "(texts)"
"""The `view` of writes to the dictionary."""


class Metrics:
    """The metrics of all sources, in one registry."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or new_registry()

        def made(kind: Callable[..., T], name: str, documentation: str, *labels: str, **options: Any) -> T:
            name = f"dualpath_{name}"
            return kind(name, documentation, ("source", *labels), registry=self.registry, **options)

        counter, gauge = partial(made, Counter), partial(made, Gauge)

        self.started = gauge("started_timestamp_seconds", "When the stream was started")
        self.reported = gauge("reported_timestamp_seconds", "When the stream last said anything")
        self.batches = counter("batches", "Finished micro-batches")
        self.rows = counter("rows", "Rows of finished micro-batches; the outcomes add up to the rows read", "outcome")
        self.messages = counter("messages", "Messages that the rows are of")
        self.late = counter("late_rows", "Accepted rows that arrived later than the source's late_after")
        self.out_of_retention = counter("out_of_retention_rows", "Accepted rows that no window could reach any more")
        self.latest_by = gauge("latest_by_seconds", "How late the latest row came")
        self.records = counter("records", "Records appended to Redis", "view")
        self.parts = counter("parts", "Values in Redis that were appended to", "view")
        self.writes = counter("redis_writes", "Calls that wrote to Redis", "view")
        self.write_seconds = counter("redis_write_seconds", "Time spent in calls that wrote to Redis", "view")
        self.retries = counter("redis_retries", "Attempts that failed because Redis was away")
        self.away = gauge("redis_away", "1 while the stream waits for Redis, else 0")
        self.rebuilds = counter("rebuilds", "How often the online store was filled from the log", "state")
        self.over_bound = gauge(
            "entities_over_bound", "Entities with more records than max_records of the view", "view"
        )
        self.table_refused = gauge(
            "dimension_refused", "1 while the present table of a dimension cannot be read, else 0", "dimension"
        )
        self.newest = gauge("newest_arrival_timestamp_seconds", "The latest arrival time among servable rows")
        self.event_age = made(AgeHistogram, "event_to_servable_seconds", "From event time to servable", buckets=EDGES)
        self.arrival_age = made(
            AgeHistogram, "arrival_to_servable_seconds", "From arrival time to servable", buckets=EDGES
        )
        self.phases = made(Summary, "batch_phase_seconds", "Duration of a micro-batch's phases", "phase")
        self.scanned = counter("spark_input_rows", "Rows as Spark counts them")
        self.rate = gauge("spark_processed_rows_per_second", "The same a second, in the last micro-batch")
        self.lag = gauge("lag_rows", "Rows the last micro-batch left behind")
        self.lag_most = gauge("lag_rows_of_a_partition", "The same of the partition that is most behind")
        self.lag_seconds = gauge("lag_seconds", "Age of the newest servable arrival while rows wait, else 0")
        self.state_rows = gauge("state_rows", "Ids in the deduplication store")
        self.state_bytes = gauge("state_bytes", "What they take on the disk")


class Meter:
    """One source's share of the metrics; `file` is where other processes find them, `clock` seconds since 1970."""

    def __init__(self, metrics: Metrics, source: str, file: Place, *, clock: Callable[[], float] = time.time) -> None:
        self.metrics, self.source, self.file, self.clock = metrics, source, file, clock
        self.servable_at = self.newest = 0.0
        self.behind = 0
        self.latest_by = 0
        metrics.started.labels(self.source).set(clock())
        metrics.away.labels(self.source).set(0)

    @contextmanager
    def timed(self, name: Step) -> Iterator[None]:
        """A step of a micro-batch; how long it takes is noted once it has ended."""
        began = time.perf_counter()
        with step(name):
            yield
        self.metrics.phases.labels(self.source, f"addBatch/{name}").observe(time.perf_counter() - began)

    def waiting(self) -> None:
        """Redis is away, and the stream waits."""
        self.metrics.retries.labels(self.source).inc(1)
        self.metrics.away.labels(self.source).set(1)
        self.save()

    def answered(self) -> None:
        """A step that needs Redis has succeeded."""
        self.metrics.away.labels(self.source).set(0)

    def wrote(self, written: Mapping[str, WriteCounts]) -> None:
        """Redis has acknowledged a batch, by view."""
        self.servable_at = self.clock()
        for view, done in written.items():
            labels = self.source, view or TEXTS
            self.metrics.records.labels(*labels).inc(done.records)
            self.metrics.parts.labels(*labels).inc(done.parts)
            self.metrics.writes.labels(*labels).inc(done.calls)
            self.metrics.write_seconds.labels(*labels).inc(done.seconds)

    def rebuilt(self, state: str) -> None:
        """The online store has been filled from the log; `state` is how it was found, the name of a `Health`."""
        self.metrics.rebuilds.labels(self.source, state).inc(1)

    def over_bound(self, view: str, entities: int) -> None:
        """So many entities of a view have more records than its `max_records`."""
        self.metrics.over_bound.labels(self.source, view).set(entities)

    def table_refused(self, dimension: str, *, refused: bool) -> None:
        """Whether the present table of a dimension cannot be read, so that its last good table serves."""
        self.metrics.table_refused.labels(self.source, dimension).set(int(refused))

    def remembers(self, ids: int) -> None:
        """So many ids are in the deduplication store."""
        self.metrics.state_rows.labels(self.source).set(ids)
        self.metrics.state_bytes.labels(self.source).set(ids * BYTES_PER_ID)

    def landed(self, done: Entry, paths: Sequence[str], times: np.ndarray | None = None) -> None:
        """A batch is finished; `paths` are the files of its accepted rows.

        Their `times`, the event's and the arrival's, microseconds, int64[n, 2], are read from the files if they are not
        known, two columns of them, and counted in NumPy.
        """
        m = self.metrics
        m.batches.labels(self.source).inc(1)
        m.messages.labels(self.source).inc(done.messages)
        for outcome in OUTCOMES:
            m.rows.labels(self.source, outcome).inc(getattr(done, outcome))
        m.late.labels(self.source).inc(done.late)
        m.out_of_retention.labels(self.source).inc(done.out_of_retention)
        self.latest_by = max(self.latest_by, done.latest_by)
        m.latest_by.labels(self.source).set(self.latest_by / 1e6)
        if done.accepted:
            if times is None:
                read = dataset(paths, TIMES).to_table()
                times = np.stack([column.cast(pa.int64()).to_numpy() for column in read.columns], axis=1)
            happened, arrived = times.T / 1e6
            m.event_age.labels(self.source).observe_many(self.servable_at - happened)
            m.arrival_age.labels(self.source).observe_many(self.servable_at - arrived)
            self.newest = max(self.newest, float(arrived.max()))
            m.newest.labels(self.source).set(self.newest)
        self.save()

    def progress(self, report: Mapping[str, Any]) -> None:
        """Take what Spark says of a finished micro-batch: a `StreamingQueryProgress` as JSON has it."""
        m = self.metrics
        m.scanned.labels(self.source).inc(report["numInputRows"])
        m.rate.labels(self.source).set(report.get("processedRowsPerSecond", 0))
        for phase, milliseconds in report["durationMs"].items():
            m.phases.labels(self.source, phase).observe(milliseconds / 1000)
        if behind := [lag for each in report["sources"] for lag in behind_latest(each)]:
            self.wait(behind)
        self.save()

    def idle(self) -> None:
        """There was nothing new to read."""
        self.wait([0])
        self.save()

    def wait(self, rows: Sequence[int]) -> None:
        """So many rows of each partition wait to be taken."""
        self.behind = sum(rows)
        self.metrics.lag.labels(self.source).set(self.behind)
        self.metrics.lag_most.labels(self.source).set(max(rows))

    def save(self) -> None:
        """Put the numbers of all sources of the process into the file, whole; what another process shows."""
        age = max(self.clock() - self.newest, 0) if self.newest else float("nan")
        self.metrics.lag_seconds.labels(self.source).set(age if self.behind else 0)
        self.metrics.reported.labels(self.source).set(self.clock())
        if isinstance(self.file, Path):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_to_textfile(str(self.file), self.metrics.registry)
            return
        try:
            write_atomically(self.file, generate_latest(self.metrics.registry).decode())
        except Exception as error:  # Spark calls this too, and prints its own stack of what is raised
            if (said := objects.failure(error)) is None:
                raise
            logger.warning("%s: the numbers of the stream are not written. %s", self.file, said)


def behind_latest(source: Mapping[str, Any]) -> list[int]:
    """How many rows of each partition a micro-batch has left behind, of those that were there when it was planned.

    Empty for a source that has no offsets.

    >>> behind_latest({"endOffset": {"shop": {"0": 7, "1": 3}}, "latestOffset": {"shop": {"0": 9, "1": 3}}})
    [2, 0]
    >>> behind_latest({"endOffset": {"logOffset": 4}, "latestOffset": None})
    []
    """
    latest, taken = source.get("latestOffset"), source.get("endOffset")
    if not isinstance(latest, Mapping) or not isinstance(taken, Mapping):
        return []
    pairs = [(topic, p, offset) for topic, offsets in latest.items() for p, offset in dict(offsets).items()]
    return [offset - taken.get(topic, {}).get(p, offset) for topic, p, offset in pairs]
