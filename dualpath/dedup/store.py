"""The deduplication store of a source: the ids of accepted events, for `duplicates_within` after their batch.

`query=G/batch=N/` holds the segment of a batch, `query=G/batches=A-B/` the merged one of several. Each is a folder of
`.npy` files of `segments`, one for each range of hashes, `LOW-HIGH-*.npy`; a file of an earlier version has no range in
its name and may hold any hash. They are called `*-1of3.npy`, and a segment that lacks some counts for nothing; a
batch's own of an earlier version do not say how many they are. The store says nothing that the log does not say, so
what is missing is made from it.
"""

import io
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, lru_cache, partial
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from dualpath.dedup.segments import FILE_IDS, HIGHEST, LOWEST, Stored, due_for_merge, hash_bounds, merged, sort, split
from dualpath.files.durable import move, sync, written
from dualpath.files.places import Place, matching, remove, size
from dualpath.log.accounts import Entry, span
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED
from dualpath.schema import EventSource
from dualpath.steps import Step, step

log = logging.getLogger(__name__)
MICROSECOND = timedelta(microseconds=1)
FOLDER_NAME = re.compile(r"query=(\d+)/batch(?:es)?=(\d+)(?:-(\d+))?$")
FILE_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})-")
OF = re.compile(r"-\d+of(\d+)$")
READ_BYTES = 100_000
"""Size up to which a file is read as a whole; a larger one is mapped into memory."""
FROM_LOG_IDS = 2**21
"""Ids in a file that is made from the log, about."""


@cache
def hashes() -> tuple[Column, Column]:
    """What an event's id is known by, two bigint columns: the first rows of a segment."""
    # The hash of several columns begins each with that of the one before: the second hash has another seed.
    return F.xxhash64("event_id").alias("__hash"), F.xxhash64(F.lit("check"), "event_id").alias("__check")


def hash_range(ranges: int) -> Column:
    """Which of so many ranges of hashes, all of the same width, an event's id is in."""
    upper_half = F.shiftright(F.xxhash64("event_id"), 32) + F.lit(2**31)
    return F.shiftright(upper_half * F.lit(ranges), 32).cast("int")


def write_segment(ids: np.ndarray, folder: Place) -> Place:
    """Write a segment to a new file, named by its range of hashes, that outlives a power failure."""
    file = folder / _file_name([ids])
    with written(file) as stream:
        np.save(stream, ids)
    return file


def placed(staged: Sequence[Place], folder: Place) -> tuple[Place, ...]:
    """Move staged files to a segment's folder, under names that say how many there are; answers those. The next batch
    removes what stays in staging."""
    files = tuple(
        folder / f"{file.stem}-{number}of{len(staged)}{file.suffix}" for number, file in enumerate(staged, start=1)
    )
    sync({changed for file, to in zip(staged, files, strict=True) for changed in move(file, to, may_stay=True)})
    return files


def stored(file: Place) -> Stored:
    """The segment of a file, which is opened when its range of hashes is first asked for."""
    low, high = LOWEST, HIGHEST
    if named := FILE_NAME.match(file.name):
        low, high = (int(bound, 16) + LOWEST for bound in named.groups())
    return Stored(low, high, partial(_opened, file))


@dataclass(frozen=True)
class Segment:
    """The ids of batches `first` to `last` of a query, in a folder: how many, and the latest clock of a batch."""

    query: int
    first: int
    last: int
    ids: int
    clock: int
    files: tuple[Place, ...]

    @property
    def name(self) -> str:
        return span(self.query, self.first, self.last)


class DedupStore:
    """The segments of a source, oldest batches first."""

    def __init__(self, storage: Storage, source: EventSource) -> None:
        self.storage, self.folder = storage, storage.folder("ids")
        self.horizon = source.duplicates_within // MICROSECOND
        self.segments: list[Segment] = []

    @property
    def count(self) -> int:
        """How many ids there are."""
        return sum(segment.ids for segment in self.segments)

    def files_before(self, entry: Entry) -> tuple[Place, ...]:
        """The files of all batches before one."""
        here = entry.query, entry.batch
        return tuple(
            file for segment in self.segments if (segment.query, segment.last) < here for file in segment.files
        )

    def add(self, entry: Entry, files: tuple[Place, ...]) -> None:
        """Take up the segment of a batch that is in the log: its files, if it has ids."""
        if files:
            segment = Segment(entry.query, entry.batch, entry.batch, entry.accepted, entry.clock, files)
            self.segments = [*(each for each in self.segments if each.name != segment.name), segment]

    def compact_and_expire(self, clock: int) -> None:
        """Remove segments that no batch after one of that clock, microseconds UTC, can repeat, and merge small ones."""
        for segment in [segment for segment in self.segments if segment.clock + self.horizon <= clock]:
            self._drop(segment)
        while count := due_for_merge([each.ids for each in self.segments if each.query == self.segments[-1].query]):
            small = self.segments[-count:]
            self.segments.append(self._merged(small))
            for segment in small:
                self._drop(segment)

    def load(self, spark: SparkSession) -> None:
        """Load what is on the disk. If something of a query is missing, its ids are made from the log."""
        needed: dict[int, dict[int, int]] = {}
        for batch, clock in self.storage.logged().clocks(self.horizon).items():
            needed.setdefault(batch.query, {})[batch.batch] = clock
        self.segments = []
        for query, late in needed.items():
            found = self._found(query, late)
            if late.keys() <= {number for segment in found for number in range(segment.first, segment.last + 1)}:
                self.segments += found
            else:
                log.warning("source '%s': ids are missing; making them from the log", self.storage.source)
                made = self._from_log(spark, query, late)
                self.segments += [made] if made else []
        named = {self.folder / segment.name for segment in self.segments}
        for folder in set(matching(self.folder, "query=*/batch*")) - named:
            remove(folder)

    def _found(self, query: int, clocks: Mapping[int, int]) -> list[Segment]:
        """The segments on the disk of some batches of a query: not those of batches that are not in the log, those
        that were merged into another, or those that cannot be read."""
        spans = []
        for folder in matching(self.folder, f"query={query}/batch*"):
            [(_, first, last)] = FOLDER_NAME.findall(folder.as_posix())
            spans.append((int(first), int(last or first), tuple(matching(folder, "*.npy"))))
        found: list[Segment] = []
        for first, last, files in sorted(spans, key=lambda each: (each[0], -each[1])):
            within = [clock for number, clock in clocks.items() if first <= number <= last]
            if within and last <= max(clocks) and not (found and last <= found[-1].last) and _is_whole(files):
                with suppress(OSError, ValueError, EOFError):  # as of a file that was cut off
                    ids = sum(_loaded(file).shape[1] for file in files)
                    found.append(Segment(query, first, last, ids, max(within), files))
        return found

    def _from_log(self, spark: SparkSession, query: int, clocks: Mapping[int, int]) -> Segment | None:
        """Make one segment of some batches of a query from the log; None if an erasure has left no row of them."""
        staging, (first, last) = self._staging(), (min(clocks), max(clocks))
        files = self.storage.table.snapshot().files(outcome=ACCEPTED)
        mine = [each for each in files if each.overlaps(query, first, last)]
        paths = [str(self.storage.folder("log") / each.path) for each in mine]
        if not paths:
            return None
        rows = spark.read.schema("event_id string, query int, batch bigint").parquet(*paths)
        events = rows.where(F.col("query") == query).select("event_id", "batch")
        times = spark.createDataFrame(list(clocks.items()), "batch bigint, clock bigint")
        logged = events.join(F.broadcast(times), "batch")

        def keep(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            found = [np.stack([column.to_numpy() for column in batch.columns]) for batch in batches]
            file = [write_segment(sort(np.concatenate(found, axis=1)), staging).name] if found else []
            yield pa.RecordBatch.from_pydict({"file": pa.array(file, pa.string())})

        if not (tasks := -(-logged.count() // FROM_LOG_IDS)):
            return None
        ids = logged.repartitionById(tasks, hash_range(tasks)).select(*hashes(), "clock")
        made = [staging / answer.file for answer in ids.mapInArrow(keep, "file string").collect()]
        remove(self.folder / f"query={query}", ignore_errors=True)
        return self._placed(made, query, first, last, max(clocks.values()))

    @step(Step.MERGE_SEGMENTS)
    def _merged(self, small: Sequence[Segment]) -> Segment:
        """Merge segments that follow each other into one; they stay beside it."""
        staging = self._staging()
        pieces = 1 << ((sum(each.ids for each in small) - 1) // FILE_IDS).bit_length()
        ranges = split([_loaded(file) for each in small for file in each.files], pieces)
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # NumPy sorts without Python's lock
            made = [file for file in threads.map(partial(_write_merged, staging), ranges) if file]
        return self._placed(made, small[0].query, small[0].first, small[-1].last, max(each.clock for each in small))

    def _staging(self) -> Place:
        return self.storage.folder("staging") / uuid4().hex

    @step(Step.PLACE_SEGMENTS)
    def _placed(self, made: list[Place], query: int, first: int, last: int, clock: int) -> Segment:
        """Make a segment of staged files. It has no others, such as a failed task may have left in staging."""
        files = placed(made, self.folder / span(query, first, last))
        return Segment(query, first, last, sum(_loaded(file).shape[1] for file in files), clock, files)

    @step(Step.DROP_SEGMENTS)
    def _drop(self, segment: Segment) -> None:
        self.segments.remove(segment)
        remove(self.folder / segment.name)


def _file_name(segments: Sequence[np.ndarray]) -> str:
    """A new name for a file of segments, with their range of hashes."""
    low, high = hash_bounds(segments)
    return f"{low - LOWEST:016x}-{high - LOWEST:016x}-{uuid4().hex[:8]}.npy"


def _is_whole(files: Sequence[Place]) -> bool:
    """Whether a folder has all the files that their names say, if they say so."""
    told = {int(found[1]) for file in files if (found := OF.search(file.stem))}
    return not told or told == {len(files)}


def _write_merged(folder: Place, segments: Sequence[np.ndarray]) -> Place | None:
    """Merge what segments have of a range of hashes into a file; None if they have nothing."""
    segments = [each for each in segments if each.shape[1]]
    if not segments:
        return None
    file = folder / _file_name(segments)
    if not isinstance(file, Path):
        return write_segment(merged(segments), folder)
    with written(file):
        shape = 3, sum(each.shape[1] for each in segments)
        into = np.lib.format.open_memmap(file, mode="w+", dtype=np.int64, shape=shape)
        merged(segments, into)
        into.flush()
    return file


@lru_cache(maxsize=256)
def _opened(file: Place) -> np.ndarray:
    """The segment of a file, kept open as long as a Spark worker lives; the file's name is never used again."""
    return _loaded(file)


def _loaded(file: Place) -> np.ndarray:
    """The ids of a file: mapped into memory if it is large, else read, for a process may map only so many files."""
    if not isinstance(file, Path):
        return np.asarray(np.load(io.BytesIO(file.read_bytes())))
    return np.asarray(np.load(file, mmap_mode="r" if size(file) > READ_BYTES else None))
