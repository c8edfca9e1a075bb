"""Tasks that are struck in the middle of a write or of a pass over rows; Spark's workers import this."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
from pyspark import TaskContext

from dualpath.jobs.attempt import Writer
from dualpath.online import append
from dualpath.online.append import Target

FAILURE = "fail"
WORKER = "kill the worker"


@dataclass(frozen=True)
class Blow:
    """Falls on the first `times` attempts of a job's first task, or of the driver, each of which leaves a file in
    `marks`. `kind` is `FAILURE`, `WORKER`, or the id of the process to kill.
    """

    marks: Path
    kind: str = FAILURE
    times: int = 1

    def fall(self) -> None:
        task = TaskContext.get()
        made = len(list(self.marks.iterdir()))
        if (task is not None and task.partitionId()) or made == self.times:
            return
        (self.marks / str(made)).touch()
        if self.kind == FAILURE:
            raise RuntimeError("a failure that was injected")
        os.kill(os.getpid() if self.kind == WORKER else int(self.kind), signal.SIGKILL)

    def within(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows one by one; half-way the blow falls."""
        for batch in batches:
            for row in range(batch.num_rows):
                if row == batch.num_rows // 2:
                    self.fall()
                yield batch.slice(row, 1)


@dataclass(frozen=True)
class Struck(Target):
    """A write in which, when half of the records are in Redis, the blow falls."""

    blow: Blow | None = None

    def write(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        assert self.blow is not None, "`targets` gives it"
        with patch.object(append, "ENTITIES_PER_CALL", 1):
            yield from super().write(self.blow.within(batches))


@dataclass(frozen=True)
class StruckWriter(Writer):
    """A pass over rows in which, after half of a task's, the blow falls."""

    blow: Blow | None = None

    def write(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        assert self.blow is not None, "`writers` gives it"
        yield from super().write(self.blow.within(batches))


def writers(blow: Blow) -> Callable[..., StruckWriter]:
    """What takes the place of `Writer` where a pass begins."""
    return partial(StruckWriter, blow=blow)


def targets(blow: Blow) -> Callable[..., Struck]:
    """What takes the place of `Target` where a write begins."""
    return partial(Struck, blow=blow)
