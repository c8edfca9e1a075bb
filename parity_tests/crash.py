"""Streams that end together at steps of their own: `python -m parity_tests.crash FOLDER STEP REPO [STEP REPO]...`.

Each is `dualpath stream --once`, a file a batch, of a repo. It stands still in its first batch at its STEP, a key of
`STEPS`; when the last one does, the process kills itself, as `kill -9` would. FOLDER is empty and of the test's own.

To start a process, Spark in it, and a first batch takes twelve seconds of a core, and a further stream two.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pyspark.sql import SparkSession

import dualpath.jobs.session
from dualpath.cli import app
from dualpath.jobs import sink
from dualpath.spark.session import session
from dualpath.steps import Step
from parity_tests import faults
from parity_tests.fault_injection import STILL, Fault, targets

Patch = Callable[[pytest.MonkeyPatch, Path], None]


def still(step: Step, *, nth: int = 1, after: bool = False) -> Patch:
    """Stand still before or after the `nth` time a step is taken."""

    def patched(patch: pytest.MonkeyPatch, marks: Path) -> None:
        faults.crash_at(patch, step, nth=nth, after=after, fault=Fault(marks, STILL).trigger)

    return patched


def halfway(patch: pytest.MonkeyPatch, marks: Path) -> None:
    """Stand still when half of a batch's records are in Redis."""
    patch.setattr(sink, "FencedWrite", targets(Fault(marks, STILL)))


def halfway_by_workers(patch: pytest.MonkeyPatch, marks: Path) -> None:
    """The same of a batch that is served from the log, by a worker's hand, which no other stream has from then on."""
    patch.setattr(sink, "SMALL_BATCH", -1)
    halfway(patch, marks)


STEPS: dict[str, Patch] = {
    "before the beginning": still(Step.BEGIN),
    "after the beginning": still(Step.BEGIN, after=True),
    "after the pass": still(Step.STAGE, after=True),
    "between two files of ids": still(Step.MOVE_FILE, nth=2),
    "before the commit": still(Step.COMMIT),
    "after the commit": still(Step.COMMIT, after=True),
    "between two manifests": still(Step.MOVE_MANIFEST, nth=2),
    "with half of the records in Redis": halfway,
    "after the records": still(Step.WRITE_RECORDS, after=True),
    "after the high-water mark": still(Step.ADVANCE_MARK, after=True),
    "before Spark's commit": still(Step.FINISH, after=True),
    "with half of the records of the log in Redis": halfway_by_workers,
}


def session_of_its_own(*args: Any, **kwargs: Any) -> SparkSession:
    """One in which no other query has the name, for all repos are of one project."""
    return session(*args, **kwargs).newSession()


def main(folder: str, *words: str) -> None:
    for number, (step, repo) in enumerate(zip(words[::2], words[1::2], strict=True)):
        marks = Path(folder) / str(number)
        marks.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            STEPS[step](patch, marks)
            patch.setattr(dualpath.jobs.session, "session", session_of_its_own)
            stream = Thread(target=app, args=[["stream", "--once", "--files-per-batch", "1", "--repo", repo]])
            stream.daemon = True
            stream.start()
            faults.until(lambda: [*marks.iterdir()] or not stream.is_alive())  # noqa: B023 - at once
            if not [*marks.iterdir()]:
                sys.exit(f"the stream has ended, and not reached the step {step!r}")
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
