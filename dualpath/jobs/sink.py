"""What a micro-batch leaves behind: rows in the log and the dead-letter table, records in Redis, an entry in
the ledger. Every step can run again after a crash at any line.

Which of two duplicates in one batch is kept depends on the order of a shuffle, so another attempt may keep the
other. The first one that the ledger notes decides: its files are in the log, and what it kept is what Redis gets
and what is remembered.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import tenacity
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dualpath.dedup.remembered import Remembered
from dualpath.errors import StateError
from dualpath.jobs.attempt import Found, Writer, attempt
from dualpath.jobs.metrics import Meter
from dualpath.jobs.rebuild import rebuild
from dualpath.log.files import move, sync
from dualpath.log.ledger import Entry
from dualpath.log.storage import first_open
from dualpath.online import bounds, high_water_mark, manifest
from dualpath.online.connection import FAILED, connect
from dualpath.online.health import Health, check_health
from dualpath.online.manifest import FOREIGN, LostError
from dualpath.online.small_batch import SmallBatch
from dualpath.online.spark_writer import record_rows, write, write_small_batch
from dualpath.online.writer import FencedWrite
from dualpath.record import Fence
from dualpath.repo import Repo
from dualpath.retention import CLOCK_LAG, earliest_as_of
from dualpath.schema import EventSource
from dualpath.spark.log import read_folders
from dualpath.spark.retention import out_of_retention

log = logging.getLogger(__name__)
SMALL_BATCH = 20_000
"""Accepted rows of a batch whose records the driver writes to Redis, sooner than another Spark job would."""


class Sink:
    """Lands micro-batches of one source; `query` is the generation of the checkpoint."""

    def __init__(self, repo: Repo, source: EventSource, query: int, meter: Meter) -> None:
        self.repo, self.source, self.query, self.meter = repo, source, query, meter
        self.views = repo.views_of(source.name)
        self.storage = repo.storage(source.name)
        self.retention = repo.retention(*self.views)
        self.remembered = Remembered(self.storage, source)
        self.small = True

    def land(self, batch: DataFrame, number: int) -> None:
        """Write one micro-batch; `batch` is a frame of `dualpath.spark.admit.admit`."""
        # Before the batch is begun: one that is refused then would keep every night waiting.
        self.meter.timed("addBatch/agree", self.patiently, self.agree, batch.sparkSession)
        entry = self.storage.begin(self.query, number)
        found = self.meter.timed("addBatch/write", self.write, batch, entry)
        small_batch = None
        if entry.logged:
            self.recognise(entry, found.outcomes)
        else:
            self.place(found, entry)
            entry, small_batch = self.storage.note(entry, **found.outcomes), found.small_batch
            self.remembered.add(entry)
            self.small = entry.accepted <= SMALL_BATCH
        shutil.rmtree(self.storage.folder("staging"), ignore_errors=True)
        if not entry.done:
            self.meter.timed("addBatch/serve", self.patiently, self.serve, batch.sparkSession, entry, small_batch)
            self.meter.landed(self.storage.finish(entry), self.storage.folder("log") / entry.name)
        self.meter.timed("addBatch/remember", self.remembered.tend, entry.clock)
        self.meter.remembers(self.remembered.ids)

    def recognise(self, entry: Entry, outcomes: dict[str, Any]) -> None:
        """Raise `StateError` if a batch that was landed before holds other rows now, as after a lost checkpoint."""
        if (outcomes["rows_read"], outcomes["dead_letter"]) != (entry.rows_read, entry.dead_letter):
            raise StateError(
                f"source '{self.source.name}': batch {entry.batch} had {entry.rows_read} rows when it was landed and "
                f"has {outcomes['rows_read']} now; the checkpoint is not the one the log was written with, or a landed "
                "file has changed: restore it, or start with `dualpath stream --from-snapshot`."
            )

    def write(self, rows: DataFrame, entry: Entry) -> Found:
        """Pass over the rows. Of a batch that is likely to be as small as the last, the records come along."""
        staging = self.storage.folder("staging")
        shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
        views = self.views if self.small and not entry.logged else ()
        arrival_day = F.greatest(F.to_date("arrival_time"), F.lit(first_open(entry.closed_through)).cast("date"))
        known = self.remembered.before(entry)
        writer = Writer(staging / uuid4().hex, SMALL_BATCH if views else -1, known, self.remembered.horizon)
        return attempt(rows, writer, arrival_day=arrival_day, retention=self.retention, views=views)

    def place(self, found: Found, entry: Entry) -> None:
        """Move the files of a pass to the batch's own folders; a repetition replaces what is there."""
        self.storage.clear(entry)
        changed: set[Path] = set()
        for file in found.files:
            kind, _, name = file.partition("/")
            changed |= move(found.folder / file, self.storage.folder(kind) / entry.name / name)
        sync(changed)

    def patiently(self, step: Callable[..., object], *arguments: object) -> None:
        """Do a step that needs Redis; while that is away, wait and try again, for every step may be repeated."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self.is_away),
            wait=tenacity.wait_exponential(multiplier=0.1, max=5),
            before_sleep=self.waiting,
        )
        retrying(step, *arguments)
        self.meter.answered()

    def waiting(self, attempt: tenacity.RetryCallState) -> None:
        """Say that a step failed because Redis is away."""
        log.warning("Redis is away (%s); waiting", attempt.outcome and attempt.outcome.exception())
        self.meter.waiting()

    def ready(self, spark: SparkSession) -> None:
        """Recall the ids of late, and agree with the online store once before any row comes, if it can be reached."""
        self.remembered.recall(spark)
        self.meter.remembers(self.remembered.ids)
        try:
            self.agree(spark)
        except Exception as error:
            if not self.is_away(error):
                raise
            log.warning("Redis is away (%s); the first batch will wait for it", error)

    def agree(self, spark: SparkSession) -> tuple[str, Fence]:
        """See that the online store holds all that was written, or rebuild it; answers its namespace and high-water
        mark.

        Raises `StateError` if it holds state of other declarations than this stream's.
        """
        redis = connect(self.repo.redis_address)
        while (found := check_health(redis, self.repo.project, self.storage, self.views)).health is not Health.WHOLE:
            if found.health is Health.FOREIGN:
                raise StateError(FOREIGN)
            with suppress(LostError):  # then it is found not to be whole, and rebuilt again
                rebuild(spark, self.repo, self.source, found)
                self.meter.rebuilt(found.health.name.lower())
        return next(p.namespace for p in found.manifests.values() if p), found.high_water_mark

    def serve(self, spark: SparkSession, entry: Entry, small_batch: SmallBatch | None) -> None:
        """Make the arrival days known, append every entity's records once, and move the high-water mark; fences forgive
        repetition.

        The records are those of the log, or `small_batch`, which were computed of the same rows.

        Raises `LostError`, to be repeated, if Redis may have lost writes in the meantime.
        """
        redis = connect(self.repo.redis_address)
        incarnation, (namespace, since) = manifest.incarnation(redis), self.agree(spark)
        to = Fence(entry.query, entry.batch)
        if entry.accepted:
            destinations = {}
            # By the batch's own clock, so that a repetition decides as before.
            earliest = earliest_as_of(entry.clock - CLOCK_LAG, self.repo.online_lookback)
            for view in self.views:
                manifest.move(redis, self.repo.project, view.name, lambda p: p.with_arrival_days(entry.arrival_days))
                destinations[view.name] = self.repo.destination(view, namespace, earliest)
            fenced = FencedWrite(self.repo.redis_address, self.repo.project, destinations, to)
            if small_batch is None:
                self.meter.wrote(write(record_rows(self.logged(spark, entry), self.views), fenced))
            else:
                self.meter.wrote(write_small_batch(small_batch, self.views, fenced))
            over_bound = Counter(each.view for each in bounds.large_entities(redis, self.repo.project, self.views))
            for view in self.views:
                self.meter.over_bound(view.name, over_bound[view.name])
        high_water_mark.advance(
            redis, self.repo.project, namespace, self.source.name, since=since, to=to, within=incarnation
        )

    def logged(self, spark: SparkSession, entry: Entry) -> DataFrame:
        """A batch's events that any window reaches, from the log."""
        events = read_folders(spark, self.storage, self.source, [self.storage.folder("log") / entry.name])
        return events.where(~out_of_retention(F.unix_micros("event_time"), self.retention, F.lit(entry.clock)))

    def is_away(self, error: BaseException) -> bool:
        """Whether an attempt failed because Redis cannot be reached."""
        if isinstance(error, FAILED):
            return True
        try:
            manifest.incarnation(connect(self.repo.redis_address))
        except FAILED:
            return True
        return False
