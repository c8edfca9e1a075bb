"""Schedules: drawn from a seed, played in a new world, and cut down to the actions that a failure needs."""

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch
from uuid import uuid4

from pyspark.sql import SparkSession

from dualpath.jobs import log_compaction, sink
from dualpath.log import batches
from dualpath.log import table as log_table
from dualpath.online.connection import embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.runtime.kafka import Broker
from parity_tests import faults
from parity_tests.chaos.transport import Landing, Topic
from parity_tests.chaos.world import World
from parity_tests.shrink import smallest

FREQUENCIES = {
    "deliver": 2,
    "run": 4,
    "crash": 6,
    "disturb": 4,
    "night": 3,
    "crash_at_night": 2,
    "kill_redis": 3,
    "lose_checkpoint": 2,
    "lose_ids": 1,
    "replace_table": 2,
}
OF_KAFKA = {"grow_topic": 1, "restart_broker": 2}
Say = Callable[[str, int, int], None]

FILE = "feature_store.yaml"
IN_STORE = "world"
"""The folder of an object store that stands for one of each world's own."""


@dataclass(frozen=True)
class Action:
    """A method of `World`, and the seed of all that it draws: it is the same action in any schedule."""

    kind: str
    seed: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.seed}"

    @classmethod
    def read(cls, text: str) -> "Action":
        """
        >>> str(Action.read("crash:17"))
        'crash:17'
        """
        kind, _, seed = text.partition(":")
        return cls(kind, int(seed))


@dataclass(frozen=True)
class Outcome:
    """What a schedule came to: `rows` were delivered, `accepted` of them as different events; `cells` were compared."""

    actions: Counter[str]
    rows: int
    accepted: int
    duplicate: int
    dead_letter: int
    cells: int


class ScheduleError(AssertionError):
    """A schedule after which an invariant does not hold, and the fewest of its actions that break it."""


def drawn(seed: int, count: int, *, kafka: bool) -> list[Action]:
    """The schedule of a seed."""
    draw, frequencies = random.Random(seed), FREQUENCIES | (OF_KAFKA if kafka else {})
    kinds = draw.choices(list(frequencies), list(frequencies.values()), k=count)
    return [Action(kind, draw.randrange(2**31)) for kind in kinds]


def play(
    spark: SparkSession,
    applied: Path,
    actions: Sequence[Action],
    *,
    kafka: bool,
    cells: int = 2_000,
    say: Say = lambda *_: None,
) -> Outcome:
    """Every action in a new world, then all that is left, then the proof; raises whatever goes wrong.

    `applied` is a feature repo to copy.
    """
    with world(spark, applied, kafka=kafka) as each, each.asked():
        for number, action in enumerate(actions):
            say(str(action), number, len(actions))
            draw = random.Random(action.seed)
            each.turn_to(draw)
            getattr(each, action.kind)(draw)
            each.ask()
        say("proof", len(actions), len(actions))
        each.finish(random.Random(0), cells)
        counts = Counter[str]()
        for name in each.repo.sources:
            counts.update(faults.counts(each.repo, name))
        outcomes = {name: counts[name] for name in ("accepted", "duplicate", "dead_letter")}
        return Outcome(Counter(a.kind for a in actions), counts["rows_read"], **outcomes, cells=cells)


def search(
    spark: SparkSession, applied: Path, actions: Sequence[Action], *, kafka: bool, whole: bool = False, say: Say
) -> Outcome:
    """Play a schedule; if it fails, raise `ScheduleError` with the fewest actions that still fail in the same way.

    With `whole`, it is not cut down.
    """
    try:
        return play(spark, applied, actions, kafka=kafka, say=say)
    except Exception as error:
        first = error

    def fails(left: list[Action]) -> bool:
        say(f"{len(left)} actions", 0, 1)
        try:
            play(spark, applied, left, kafka=kafka)
        except type(first):
            return True
        except Exception:
            return False
        return False

    left = list(actions) if whole else smallest(actions, fails)
    again = f"python -m parity_tests.chaos{' --kafka' if kafka else ''} --actions '{' '.join(map(str, left))}'"
    raise ScheduleError(
        f"{type(first).__name__}: {first}\n\n{len(left)} of {len(actions)} actions suffice:\n{again}"
    ) from first


@contextmanager
def world(spark: SparkSession, applied: Path, *, kafka: bool) -> Iterator[World]:
    """A shop without events, with a Redis and, if asked for, a broker of its own; and if the repo keeps its data in an
    object store, with a place of its own there."""
    with ExitStack() as held:
        folder = held.enter_context(TemporaryDirectory(prefix="chaos-"))
        held.enter_context(patch.object(sink, "SMALL_BATCH", sink.SMALL_BATCH))  # the world draws it
        # So that accounts are summed up, and nights find something to compact, and to remove.
        held.enter_context(patch.object(batches, "SUMMED_UP", 4))
        held.enter_context(patch.object(log_compaction, "FEW", 2))
        held.enter_context(patch.object(log_table, "GRACE_HOURS", 0))
        copied = Path(folder) / "feature_repo"
        shutil.copytree(applied, copied)
        settings = copied / FILE
        settings.write_text(settings.read_text().replace(f"/{IN_STORE}\n", f"/{uuid4().hex}\n"))
        repo = Repo(copied)
        try:
            if kafka:
                with Broker(Path(folder) / "kafka") as broker:
                    yield World(spark, repo, lambda source: Topic(broker, source))
            else:
                yield World(spark, repo, lambda source: Landing(repo, source))
        finally:
            with suppress(Exception):
                redis.stop(embedded_folder(repo.store.config))
