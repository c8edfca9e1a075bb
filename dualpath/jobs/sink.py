"""The steps of a micro-batch: begun, staged, logged, served, done (`docs/stream.md` draws them).

Every step can run again after a crash at any line.

Which of two duplicates in one batch is kept depends on the order of a shuffle, so another attempt may keep the
other. The first one that is committed to the log decides: what it kept is what Redis and the deduplication store get.
"""

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import tenacity
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dualpath.dedup.store import DedupStore, placed
from dualpath.errors import OtherDeclarationError, StateError, crossing
from dualpath.files.places import Place, remove
from dualpath.jobs.dimensions import Dimensions
from dualpath.jobs.metrics import Meter
from dualpath.jobs.rebuild import rebuild
from dualpath.jobs.staging import Staged, StagingWriter, stage
from dualpath.log import forms
from dualpath.log.accounts import Entry
from dualpath.log.storage import first_open
from dualpath.log.table import ACCEPTED
from dualpath.online import bounds, high_water_mark, manifest
from dualpath.online.connection import FAILED, connect
from dualpath.online.health import Health, check_health
from dualpath.online.manifest import OTHER_DECLARATION, LostError
from dualpath.online.spark_writer import record_rows, write, write_small_batch
from dualpath.online.writer import FencedWrite
from dualpath.record import Fence
from dualpath.repo import Repo
from dualpath.retention import CLOCK_LAG, earliest_as_of
from dualpath.schema import EventSource
from dualpath.sources.topic_tables import Topics
from dualpath.spark.log import read_files
from dualpath.spark.retention import out_of_retention
from dualpath.steps import Step, step

logger = logging.getLogger(__name__)
SMALL_BATCH = 20_000
"""Accepted rows of a batch whose records the driver writes to Redis, sooner than another Spark job would."""


@dataclass
class MicroBatch:
    """A micro-batch under way: its rows, its entry, what was staged of it, and where its accepted events are."""

    rows: DataFrame
    entry: Entry
    staged: Staged
    paths: list[str] = field(default_factory=list)


class Sink:
    """Takes the micro-batches of one source through their steps; `query` is the generation of the checkpoint.

    It goes on with the declaration that it was made with, and writes its forms, whatever is applied meanwhile.
    """

    def __init__(self, repo: Repo, source: EventSource, query: int, meter: Meter, topics: Topics | None = None) -> None:
        self.repo, self.source, self.query, self.meter = repo, source, query, meter
        self.views = repo.views_of(source.name)
        self.storage = repo.storage(source.name)
        self.retention = repo.retention(*self.views)
        self.dedup = DedupStore(self.storage, source)
        found = forms.note(self.storage, source)
        self.columns = found.columns(source)
        self.storage.table.ensure(forms.schema(found))
        self.dimensions = Dimensions(repo.folder, source, self.storage.folder("dimensions"), meter, topics)
        self.small = True
        self.reached: tuple[Fence, Fence] | None = None
        self.has_staged = True

    @crossing()
    def land(self, rows: DataFrame, number: int) -> None:
        """Take one micro-batch through every step; `rows` is a frame of `dualpath.spark.admit.admit`.

        A batch that is replayed takes the steps again; those that are done already change nothing.
        """
        # Before the batch is begun: one that is refused then would keep every night waiting.
        with self.meter.timed(Step.AGREE):
            self.patiently(self.agree, rows.sparkSession)
        with self.meter.timed(Step.BEGIN):
            entry = self.storage.begin(self.query, number)
            self.reached = self.reached and (self.reached[0], entry.fence)
            self.dimensions.serve(entry)
        with self.meter.timed(Step.STAGE):
            batch = MicroBatch(rows, entry, self.stage(rows, entry))
        for name, take in (
            (Step.LOG, self.log),
            (Step.SERVE, self.serve),
            (Step.FINISH, self.finish),
            (Step.EXPIRE_IDS, self.expire_ids),
        ):
            with self.meter.timed(name):
                take(batch)

    def stage(self, rows: DataFrame, entry: Entry) -> Staged:
        """Write the rows into staging files, and count them. The records come along if the last batch was small.

        Those of a batch that is in the log already do not: the log says which rows it has.
        """
        staging = self.storage.folder("staging")
        if self.has_staged:
            remove(staging, ignore_errors=True)  # of a process that was killed, or a batch that failed
        self.has_staged = True
        views = self.views if self.small and not entry.logged else ()
        arrival_day = F.greatest(F.to_date("arrival_time"), F.lit(first_open(entry.closed_through)).cast("date"))
        known = self.dedup.files_before(entry)
        limit = SMALL_BATCH if views else -1
        writer = StagingWriter(
            self.storage.folder("log"),
            staging / uuid4().hex,
            entry.fence,
            limit,
            known,
            self.dedup.horizon,
            self.columns,
        )
        return stage(rows, writer, arrival_day=arrival_day, retention=self.retention, views=views)

    def log(self, batch: MicroBatch) -> None:
        """Commit the staged files to the log.

        What a replay has staged is only compared with what the log has.
        """
        if batch.entry.logged:
            self.recognise(batch.entry, batch.staged.outcomes)
            batch.paths = self.storage.paths_of(batch.entry.fence)
            for file in batch.staged.files:
                (self.storage.folder("log") / file.path).unlink()
        else:
            ids = self.place_ids(batch.staged, batch.entry)
            batch.entry = self.storage.note(batch.entry, batch.staged.files, **batch.staged.outcomes)
            written = (each for each in batch.staged.files if each.outcome == ACCEPTED)
            batch.paths = [str(self.storage.folder("log") / each.path) for each in written]
            self.dedup.add(batch.entry, ids)
            self.small = batch.entry.accepted <= SMALL_BATCH
        remove(self.storage.folder("staging"), ignore_errors=True)
        self.has_staged = False

    def serve(self, batch: MicroBatch) -> None:
        """Append the records to Redis, unless all that has been done."""
        if not batch.entry.done:
            self.patiently(self.write_records, batch)

    def finish(self, batch: MicroBatch) -> None:
        """Note that nothing is left to do, unless it is noted."""
        if not batch.entry.done:
            done = self.storage.finish(batch.entry)
            self.reached = done.fence, done.fence
            self.meter.landed(done, batch.paths, batch.staged.times)

    def expire_ids(self, batch: MicroBatch) -> None:
        """Remove the ids that no later batch can repeat, and merge small segments of ids."""
        self.dedup.compact_and_expire(batch.entry.clock)
        self.meter.remembers(self.dedup.count)

    def recognise(self, entry: Entry, outcomes: dict[str, Any]) -> None:
        """Raise `StateError` if a batch that was landed before holds other rows now, as after a lost checkpoint."""
        names = ["rows_read", "skipped", "dead_letter"]
        if any(lookup.required for lookup in self.source.lookups):
            names.pop()  # a table that has changed refuses other rows
        if [outcomes[name] for name in names] != [getattr(entry, name) for name in names]:
            raise StateError(
                f"source '{self.source.name}': batch {entry.batch} had {entry.rows_read} rows when it was landed and "
                f"has {outcomes['rows_read']} now; the checkpoint is not the one the log was written with, or a landed "
                "file has changed: restore it, or start with `dualpath stream --from-snapshot`."
            )

    @step(Step.PLACE_IDS)
    def place_ids(self, staged: Staged, entry: Entry) -> tuple[Place, ...]:
        """Move staged ids to the batch's own folder, where a repetition replaces what is there; answers the files."""
        return placed(staged.ids, self.dedup.folder / entry.name)

    def patiently(self, work: Callable[..., object], *arguments: object) -> None:
        """Do work that needs Redis; while that is away, wait and try again, for all of it may be repeated."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self.is_away),
            wait=tenacity.wait_exponential(multiplier=0.1, max=5),
            before_sleep=self.waiting,
        )
        retrying(work, *arguments)
        self.meter.answered()

    def waiting(self, attempt: tenacity.RetryCallState) -> None:
        """Say that a step failed because Redis is away."""
        logger.warning("Redis is away (%s); waiting", attempt.outcome and attempt.outcome.exception())
        self.meter.waiting()

    def ready(self, spark: SparkSession) -> None:
        """Load the dimensions and the deduplication store, and agree with the online store, if that can be reached,
        before any row comes."""
        self.dimensions.load()
        self.dedup.load(spark)
        self.meter.remembers(self.dedup.count)
        try:
            self.agree(spark)
        except Exception as error:
            if not self.is_away(error):
                raise
            logger.warning("Redis is away (%s); the first batch will wait for it", error)

    def agree(self, spark: SparkSession) -> tuple[str, Fence]:
        """See that the online store holds all that was written, or rebuild it; answers its namespace and high-water
        mark.

        Raises `OtherDeclarationError` if it holds state of other declarations than this stream's.
        """
        redis = connect(self.repo.redis_address)
        about = redis, self.repo.project, self.storage, self.views
        # What this stream has noted last; a state that is not whole by it may be that of another one.
        found = check_health(*about, known=self.reached)
        while found.health is not Health.WHOLE and (found := check_health(*about)).health is not Health.WHOLE:
            if found.health is Health.FOREIGN:
                raise OtherDeclarationError(OTHER_DECLARATION)
            with suppress(LostError):  # then it is found not to be whole, and rebuilt again
                rebuild(spark, self.repo, self.source, found)
                self.meter.rebuilt(found.health.name.lower())
        return next(p.namespace for p in found.manifests.values() if p), found.high_water_mark

    def write_records(self, batch: MicroBatch) -> None:
        """Make the arrival days known, append every entity's records once, and move the high-water mark; fences forgive
        repetition.

        The records are those of the log, or the staged ones, which were computed of the same rows.

        Raises `LostError`, to be repeated, if Redis may have lost writes in the meantime.
        """
        redis, spark, entry = connect(self.repo.redis_address), batch.rows.sparkSession, batch.entry
        incarnation, (namespace, since), to = manifest.incarnation(redis), self.agree(spark), entry.fence
        if entry.accepted:
            destinations = {}
            # By the batch's own clock, so that a repetition decides as before.
            earliest = earliest_as_of(entry.clock - CLOCK_LAG, self.repo.online_lookback)
            for view in self.views:
                manifest.move(redis, self.repo.project, view.name, lambda p: p.with_arrival_days(entry.arrival_days))
                destinations[view.name] = self.repo.destination(view, namespace, earliest)
            fenced = FencedWrite(self.repo.redis_address, self.repo.project, destinations, to)
            with step(Step.WRITE_RECORDS):
                if batch.staged.small_batch is None:
                    counts = write(record_rows(self.logged(spark, batch), self.views), fenced)
                else:
                    counts = write_small_batch(batch.staged.small_batch, self.views, fenced)
            self.meter.wrote(counts)
            over_bound = Counter(each.view for each in bounds.large_entities(redis, self.repo.project, self.views))
            for view in self.views:
                self.meter.over_bound(view.name, over_bound[view.name])
        high_water_mark.advance(
            redis,
            self.repo.project,
            namespace,
            self.source.name,
            since=since,
            to=to,
            arrived=entry.newest_arrival,
            within=incarnation,
        )

    def idle(self) -> None:
        """Say in Redis that there is nothing to read: what is served is of the present, however old the last event is.

        It may be left out, so a Redis that is away, or whose state is not whole, is the next batch's matter.
        """
        finished, _ = self.storage.reached()
        with suppress(*FAILED):
            redis = connect(self.repo.redis_address)
            if known := manifest.read(redis, self.repo.project, self.views[0].name):
                high_water_mark.confirm(redis, self.repo.project, known.namespace, self.source.name, finished)

    def logged(self, spark: SparkSession, batch: MicroBatch) -> DataFrame:
        """A batch's events that any window reaches, from the log."""
        events = read_files(spark, self.storage, self.source, batch.paths)
        return events.where(~out_of_retention(F.unix_micros("event_time"), self.retention, F.lit(batch.entry.clock)))

    def is_away(self, error: BaseException) -> bool:
        """Whether an attempt failed because Redis cannot be reached."""
        if isinstance(error, FAILED):
            return True
        try:
            manifest.incarnation(connect(self.repo.redis_address))
        except FAILED:
            return True
        return False
