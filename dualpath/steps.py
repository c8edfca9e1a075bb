"""The named steps of the stream, the rebuild and the night: a meter times them, and tests inject faults at them.

A step is known by its name alone, so that the function that takes it can be renamed or split. `docs/stream.md` draws
the steps of a micro-batch, and says what is on disk and in Redis after each.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum


class Step(StrEnum):
    """Every step, in the order in which they are taken."""

    # Of a micro-batch.
    AGREE = "agree"
    BEGIN = "begin"
    STAGE = "stage"
    LOG = "log"
    SERVE = "serve"
    FINISH = "finish"
    EXPIRE_IDS = "expire ids"

    # Within LOG.
    PLACE_IDS = "place the batch's ids"
    MOVE_FILE = "move a file"
    COMMIT = "commit to the log"

    # Within SERVE.
    MOVE_MANIFEST = "move a manifest"
    WRITE_RECORDS = "write records"
    ADVANCE_MARK = "advance the high-water mark"

    # Within EXPIRE_IDS.
    MERGE_SEGMENTS = "merge segments"
    PLACE_SEGMENTS = "place segments"
    DROP_SEGMENTS = "drop segments"

    # Of a rebuild, and of the handover to a new generation.
    LEAVE_OFF = "leave off the last batch"
    REBUILD = "rebuild"
    REBUILD_RECORDS = "write records of a rebuild"
    PLACE_MANIFEST = "place a manifest"
    EXPIRE_SUPERSEDED = "expire superseded parts"
    BEGIN_GENERATION = "begin a generation"

    # Of a night.
    CLOSE_DAY = "close a day"
    COMPACT_LOG = "compact the log"
    VACUUM_LOG = "vacuum the log"
    CHECK_QUALITY = "check quality"
    PUBLISH_RECORD_FILES = "publish record files"
    WRITE_SNAPSHOT = "write snapshots"

    # Of an erasure, which then builds records and rebuilds.
    NOTE_ERASURE = "note an erasure"
    REWRITE_FILE = "rewrite a file without a person's rows"
    FORGET_IDS = "forget ids"
    REMOVE_SUPERSEDED = "remove superseded parts at once"
    REMOVE_TEXTS = "remove texts that nobody has"
    REWRITE_REDIS = "let Redis rewrite its files"
    END_ERASURE = "end an erasure"

    # Of a migration from the previous version.
    MIGRATE_BLOCK = "migrate a block"
    NOTE_PROGRESS = "note how far the stream was"
    MIGRATE_RECORDS = "migrate record files"
    REMOVE_FORMER = "remove files of the previous version"


Watcher = Callable[[Step, bool], None]
"""Is called before a step with False, and with True once the step has ended without an error."""

watchers: list[Watcher] = []
"""Whoever watches the steps of this process."""


@contextmanager
def step(name: Step) -> Iterator[None]:
    """A step while it is taken: a `with` block, or a decorator of the function that takes it.

    >>> watchers.append(lambda step, ended: print(step, "ended" if ended else "begins"))
    >>> with step(Step.STAGE):
    ...     print("at work")
    stage begins
    at work
    stage ended
    >>> _ = watchers.pop()
    """
    for watcher in watchers:
        watcher(name, False)
    yield
    for watcher in watchers:
        watcher(name, True)
