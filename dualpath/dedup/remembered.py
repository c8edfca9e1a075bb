"""The ids that a source's stream has accepted of late, as runs on the disk: those of each batch, and fewer, larger ones
in their place.

`query=G/batch=N/` holds the runs of a batch, `query=G/batches=A-B/` those of several, `.npy` files of `ids`.
They say nothing that the log does not say, so what is missing is made from it.
"""

import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, lru_cache
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from dualpath.dedup.ids import due, merged, run
from dualpath.log.files import move, sync, written
from dualpath.log.ledger import Block, Entry, span
from dualpath.log.storage import Storage
from dualpath.schema import EventSource
from dualpath.steps import Step, step

log = logging.getLogger(__name__)
MICROSECOND = timedelta(microseconds=1)
NAME = re.compile(r"query=(\d+)/batch(?:es)?=(\d+)(?:-(\d+))?$")
SMALL = 100_000
"""Bytes of a run that is read as a whole."""
FROM_LOG = 2**21
"""Ids in a run that is made from the log, about."""


@cache
def hashes() -> tuple[Column, Column]:
    """What an event's id is known by, two bigint columns: the first rows of a run."""
    # The hash of several columns begins each with that of the one before: the second hash has another seed.
    return F.xxhash64("event_id").alias("__hash"), F.xxhash64(F.lit("check"), "event_id").alias("__check")


@lru_cache(maxsize=256)
def opened(file: Path) -> np.ndarray:
    """A run of a file, whose name is used once, as long as a worker of Spark's lives."""
    return _loaded(file)


def kept(ids: np.ndarray, folder: Path) -> Path:
    """A new file that holds a run and outlives a power failure."""
    file = folder / f"{uuid4().hex}.npy"
    with written(file) as stream:
        np.save(stream, ids)
    return file


@dataclass(frozen=True)
class Part:
    """The runs of some batches of a query, in a folder of their own: how many ids, and the latest clock of a batch."""

    query: int
    first: int
    last: int
    ids: int
    clock: int
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        return span(self.query, self.first, self.last)


class Remembered:
    """The ids of a source, each for `duplicates_within` after its batch; oldest batches first."""

    def __init__(self, storage: Storage, source: EventSource) -> None:
        self.storage, self.folder = storage, storage.folder("ids")
        self.horizon = source.duplicates_within // MICROSECOND
        self.parts: list[Part] = []

    @property
    def ids(self) -> int:
        """How many ids there are."""
        return sum(part.ids for part in self.parts)

    def before(self, entry: Entry) -> tuple[Path, ...]:
        """The runs of all batches before one."""
        here = entry.query, entry.batch
        return tuple(file for part in self.parts if (part.query, part.last) < here for file in part.files)

    def add(self, entry: Entry) -> None:
        """Take up the runs of a batch that was noted."""
        files = tuple((self.folder / entry.name).glob("*.npy"))
        if files:
            part = Part(entry.query, entry.batch, entry.batch, entry.accepted, entry.clock, files)
            self.parts = [*(each for each in self.parts if each.name != part.name), part]

    def tend(self, clock: int) -> None:
        """Forget what no batch after one of that clock, microseconds UTC, can repeat, and make few runs of many."""
        for part in [part for part in self.parts if part.clock + self.horizon <= clock]:
            self._drop(part)
        while many := due([part.ids for part in self.parts if part.query == self.parts[-1].query]):
            some = self.parts[-many:]
            self.parts.append(self._merged(some))
            for part in some:
                self._drop(part)

    def recall(self, spark: SparkSession) -> None:
        """Take up what is on the disk; a query of which something is missing is made from the log."""
        blocks = [block for block in self.storage.logged() if block.arrival_days]
        since = blocks[-1].clock - self.horizon if blocks else 0
        needed: dict[int, dict[int, int]] = {}
        for block in blocks:
            if block.clock > since:
                late = {number: clock for number, clock in self.storage.clocks(block).items() if clock > since}
                needed.setdefault(block.query, {}).update(late)
        self.parts = []
        for query, clocks in needed.items():
            found = self._found(query, clocks)
            if clocks.keys() <= {number for part in found for number in range(part.first, part.last + 1)}:
                self.parts += found
            else:
                log.warning("source '%s': ids are missing; making them from the log", self.storage.source)
                self.parts.append(self._from_log(spark, query, clocks, [b for b in blocks if b.query == query]))
        named = {self.folder / part.name for part in self.parts}
        for folder in set(self.folder.glob("query=*/batch*")) - named:
            shutil.rmtree(folder)

    def _found(self, query: int, clocks: Mapping[int, int]) -> list[Part]:
        """What is on the disk of some batches of a query, but for a batch that was not noted, for what a larger part
        has too, and for what cannot be read."""
        spans = []
        for folder in self.folder.glob(f"query={query}/batch*"):
            [(_, first, last)] = NAME.findall(folder.as_posix())
            spans.append((int(first), int(last or first), tuple(folder.glob("*.npy"))))
        found: list[Part] = []
        for first, last, files in sorted(spans, key=lambda each: (each[0], -each[1])):
            within = [clock for number, clock in clocks.items() if first <= number <= last]
            if within and last <= max(clocks) and not (found and last <= found[-1].last):
                with suppress(OSError, ValueError, EOFError):  # as of a file that was cut off
                    ids = sum(_loaded(file).shape[1] for file in files)
                    found.append(Part(query, first, last, ids, max(within), files))
        return found

    def _from_log(self, spark: SparkSession, query: int, clocks: Mapping[int, int], blocks: Sequence[Block]) -> Part:
        """The ids of some batches of a query as the log has them; they are in some of its blocks."""
        staging = self._staging()
        late = ((block, [number for number in block.batches if number in clocks]) for block in blocks)
        folders = [
            folder for block, numbers in late if numbers for folder in self.storage.folders("log", block, numbers)
        ]
        files = spark.read.schema("event_id string, __batch bigint, query int, batch string")
        rows = files.option("basePath", str(self.storage.folder("log"))).parquet(*map(str, folders))
        # What is packed says it in its rows, the rest in the name of its folder.
        number = F.coalesce("__batch", F.col("batch").try_cast("bigint"))
        events = rows.select("event_id", number.alias("batch"))
        times = spark.createDataFrame(list(clocks.items()), "batch bigint, clock bigint")
        ids = events.join(F.broadcast(times), "batch").select(*hashes(), "clock")

        def keep(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            found = [np.stack([column.to_numpy() for column in batch.columns]) for batch in batches]
            file = [str(kept(run(np.concatenate(found, axis=1)), staging))] if found else []
            yield pa.RecordBatch.from_pydict({"file": pa.array(file, pa.string())})

        tasks = -(-ids.count() // FROM_LOG)
        made = [Path(answer.file) for answer in ids.repartition(tasks).mapInArrow(keep, "file string").collect()]
        shutil.rmtree(self.folder / f"query={query}", ignore_errors=True)
        return self._placed(made, query, min(clocks), max(clocks), max(clocks.values()))

    @step(Step.MERGE_SEGMENTS)
    def _merged(self, parts: list[Part]) -> Part:
        """Parts that follow each other in one, beside them."""
        runs = [_loaded(file) for part in parts for file in part.files]
        with written(self._staging() / f"{uuid4().hex}.npy") as stream:
            shape = 3, sum(each.shape[1] for each in runs)
            into = np.lib.format.open_memmap(stream.name, mode="w+", dtype=np.int64, shape=shape)
            merged(runs, into)
            into.flush()
        clock = max(part.clock for part in parts)
        return self._placed([Path(stream.name)], parts[0].query, parts[0].first, parts[-1].last, clock)

    def _staging(self) -> Path:
        return self.storage.folder("staging") / uuid4().hex

    @step(Step.PLACE_SEGMENTS)
    def _placed(self, made: list[Path], query: int, first: int, last: int, clock: int) -> Part:
        """A part of files of staging, in its folder: that is there with all of them or not at all, and has no others,
        as an attempt at a task may have left."""
        apart, name = self._staging(), span(query, first, last)
        sync({folder for file in made for folder in move(file, apart / file.name)})
        sync(move(apart, self.folder / name))
        files = tuple(self.folder / name / file.name for file in made)
        return Part(query, first, last, sum(_loaded(file).shape[1] for file in files), clock, files)

    @step(Step.DROP_SEGMENTS)
    def _drop(self, part: Part) -> None:
        self.parts.remove(part)
        shutil.rmtree(self.folder / part.name)


def _loaded(file: Path) -> np.ndarray:
    """A run: a large one is mapped into memory, a small one is read, for a process may map a thousand files or so."""
    return np.asarray(np.load(file, mmap_mode="r" if file.stat().st_size > SMALL else None))
