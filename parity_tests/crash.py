"""A `dualpath` command that crashes at a step: `python -m parity_tests.crash STEP FOLDER WORDS...`.

STEP is a key of `STEPS`. The process kills itself there, as `kill -9` would, except at `PAUSE`: it waits until
whoever opens the pipe `FOLDER/pause` for writing closes it again. `FOLDER` is empty and of the test's own.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dualpath.cli import app
from dualpath.jobs import sink
from dualpath.steps import Step
from parity_tests import faults
from parity_tests.fault_injection import Fault, targets

PAUSE = "paused in a batch"
Patch = Callable[[pytest.MonkeyPatch, Path], None]


def die() -> None:
    """End this process without a chance to do anything more."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed(step: Step, *, nth: int = 1, after: bool = False) -> Patch:
    """Die before or after the `nth` time a step is taken."""
    return lambda patch, _: faults.crash_at(patch, step, nth=nth, after=after, fault=die)


def paused(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Wait before serving: opening the pipe waits for its writer, reading it for the writer's end."""
    faults.crash_at(patch, Step.SERVE, fault=lambda: print((folder / "pause").read_text(), end=""))


def halfway(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Die when half of a batch's records are in Redis."""
    patch.setattr(sink, "FencedWrite", targets(Fault(folder, str(os.getpid()))))


def halfway_by_workers(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """The same of a batch that is served from the log, by a worker's hand."""
    patch.setattr(sink, "SMALL_BATCH", -1)
    halfway(patch, folder)


STEPS: dict[str, Patch] = {
    "before the beginning": killed(Step.BEGIN),
    "after the beginning": killed(Step.BEGIN, after=True),
    "after the pass": killed(Step.STAGE, after=True),
    "between two files of ids": killed(Step.MOVE_FILE, nth=2),
    "before the commit": killed(Step.COMMIT),
    "after the commit": killed(Step.COMMIT, after=True),
    "between two manifests": killed(Step.MOVE_MANIFEST, nth=2),
    "with half of the records in Redis": halfway,
    "with half of the records of the log in Redis": halfway_by_workers,
    "after the records": killed(Step.WRITE_RECORDS, after=True),
    "after the high-water mark": killed(Step.ADVANCE_MARK, after=True),
    "before Spark's commit": killed(Step.FINISH, after=True),
    PAUSE: paused,
}


def main(step: str, folder: str, *words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        STEPS[step](patch, Path(folder))
        app(list(words))


if __name__ == "__main__":
    main(*sys.argv[1:])
