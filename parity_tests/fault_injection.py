"""Faults in the middle of a task's write, or of its pass over rows; Spark's workers import this."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from unittest.mock import patch

import pyarrow as pa
from pyspark import TaskContext

from dualpath.jobs import staging
from dualpath.jobs.staging import StagingWriter
from dualpath.online import writer
from dualpath.online.writer import FencedWrite

FAILURE = "fail"
WORKER = "kill the worker"
STILL = "stand still"


@dataclass(frozen=True)
class Fault:
    """Hits the first `times` attempts of a job's first task, or of the driver, each of which leaves a file in
    `marks`. `kind` is `FAILURE`, `WORKER`, or `STILL`: it stands still until its process is killed.
    """

    marks: Path
    kind: str = FAILURE
    times: int = 1

    def trigger(self) -> None:
        task = TaskContext.get()
        made = len(list(self.marks.iterdir()))
        if (task is not None and task.partitionId()) or made == self.times:
            return
        (self.marks / str(made)).touch()
        if self.kind == FAILURE:
            raise RuntimeError("a failure that was injected")
        if self.kind == STILL:
            Event().wait()
        os.kill(os.getpid(), signal.SIGKILL)

    def within(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows one by one; half-way, the fault hits."""
        for batch in batches:
            for row in range(batch.num_rows):
                if row == batch.num_rows // 2:
                    self.trigger()
                yield batch.slice(row, 1)


@dataclass(frozen=True)
class FaultyWrite(FencedWrite):
    """A write in which, when half of the records are in Redis, the fault hits."""

    fault: Fault | None = None

    def write(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        assert self.fault is not None, "`targets` gives it"
        with patch.object(writer, "ENTITIES_PER_CALL", 1):
            yield from super().write(self.fault.within(batches))


@dataclass(frozen=True)
class FaultyWriter(StagingWriter):
    """Staging in which, after half of a task's rows, the fault hits. Some of them are in files by then."""

    fault: Fault | None = None

    def write(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        assert self.fault is not None, "`writers` gives it"
        with patch.object(staging, "HELD_BYTES", 5_000):
            yield from super().write(self.fault.within(batches))


def writers(fault: Fault) -> Callable[..., FaultyWriter]:
    """What takes the place of `StagingWriter` where staging begins."""
    return partial(FaultyWriter, fault=fault)


def targets(fault: Fault) -> Callable[..., FaultyWrite]:
    """What takes the place of `FencedWrite` where a write begins."""
    return partial(FaultyWrite, fault=fault)
