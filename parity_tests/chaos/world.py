"""A shop under a schedule: what was delivered to it, and everything that can befall it."""

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.errors.exceptions.base import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from dualpath import steps as library_steps
from dualpath.console.stream import new_generation
from dualpath.demo.generate import generate
from dualpath.errors import StateError, UnavailableError
from dualpath.files.places import matching, remove
from dualpath.jobs import sink
from dualpath.jobs.gate_report import GateError
from dualpath.jobs.nightly import nightly
from dualpath.jobs.stream import start
from dualpath.log.generation import checkpoint
from dualpath.online.connection import embedded_folder
from dualpath.parity.audit import audit
from dualpath.repo import Repo
from dualpath.steps import Step
from parity_tests import faults, invariants
from parity_tests.chaos import steps
from parity_tests.chaos.orders import ORDERS, Database, replace_table, strange_brands
from parity_tests.chaos.transport import Side, Topic, Transport
from parity_tests.conftest import SOURCE

START = datetime(2026, 3, 1, tzinfo=UTC)
CHUNK = 60
"""Events in a delivery."""
POISON = [b"hello", b"[1]", b'{"user_id": "ann"', b"\xff\xfe", b'{"action":"x"}', b""]
GONE = "the checkpoint is gone"
CUT_OFF = "the stream stopped in the middle of a batch"
BROKEN = "the online store"
"""What a night says of a store that only the stream repairs."""


class InvariantError(AssertionError):
    """An invariant does not hold."""


class World:
    """The methods down to `restart_broker` are the actions of a schedule; all that one needs is drawn from its seed."""

    def __init__(self, spark: SparkSession, repo: Repo, transport: Callable[[str], Transport]) -> None:
        self.spark, self.repo = spark, repo
        self.sides = {name: Side(repo, name, transport(name)) for name in (SOURCE, ORDERS)}
        self.side = self.sides[SOURCE]
        self.database, self.tables = Database(), 1
        self.dumps: list[Path] = []
        self.asking = random.Random(1)

    def turn_to(self, draw: random.Random) -> None:
        """Draw what the next action is about: mostly what users do, else their orders."""
        self.side = self.sides[ORDERS if draw.random() < 0.25 else SOURCE]

    def deliver(self, draw: random.Random) -> None:
        """New events up to three times each, and some of long ago, shuffled; some messages are no events."""
        side = self.side
        events = self.database.changes(CHUNK // 2, draw) if side.name == ORDERS else self.events(draw)
        lines = [line for line in events for _ in range(draw.choice((1, 1, 2, 3)))]
        lines += draw.sample(side.valid, min(len(side.valid), 5))
        dead: list[bytes | None] = [draw.choice(POISON) for _ in range(draw.randint(0, 4))]
        # What a tombstone is to a source of changes is no dead letter.
        dead += [None] * (side.transport.tombstones and side.name == SOURCE and draw.randint(0, 1))
        side.transport.send(draw.sample([*lines, *dead], len(lines) + len(dead)), draw)
        side.valid += lines
        side.dead += dead

    def events(self, draw: random.Random) -> list[bytes]:
        """What users did; some of it is days late, some an hour ahead."""
        table = generate(
            users=12, events=CHUNK, products=8, categories=4, start=START, days=4, seed=draw.randrange(2**31)
        )
        time, arrival = (table[name].to_pylist() for name in ("event_time", "arrival_time"))
        for row in draw.sample(range(CHUNK), 6):
            if row % 2:
                arrival[row] = time[row] + timedelta(days=draw.randint(2, 3))
            else:
                time[row] = arrival[row] + timedelta(hours=1)
        for name, column in (("event_time", time), ("arrival_time", arrival)):
            place = table.column_names.index(name)
            table = table.set_column(place, name, pa.array(column, table[name].type))
        return faults.payloads(table)

    def run(self, draw: random.Random) -> None:
        """The stream to its end, mostly with something new to read."""
        self.perhaps_deliver(draw)
        self.drain(draw)

    def crash(self, draw: random.Random) -> None:
        """The stream, until it dies before or after a step; it may end before it gets there."""
        self.perhaps_deliver(draw)
        self.keep_dump()
        with self.injecting(steps.STREAM, draw):
            self.dies(lambda: self.start(draw))

    def disturb(self, draw: random.Random) -> None:
        """The stream, with Redis killed and back at a step; it must go on by itself."""
        self.perhaps_deliver(draw)
        with self.injecting(steps.STREAM, draw, lambda: self.kill_redis(draw)):
            self.read(draw)
        self.drain(draw)  # what crashed last is mended by the next start

    def night(self, draw: random.Random) -> None:
        """Close a day that has events. The gate may refuse it while not all changes of the orders are read."""
        if days := self.side.storage.arrival_days():
            try:
                nightly(self.spark, self.repo, self.side.source, date.fromisoformat(draw.choice(days)))
            except GateError as error:
                found = {failure.expectation for failure in error.report.failures}
                if found != {"moved rows"} or self.side.read_all():
                    raise
            except StateError as error:
                if not any(reason in error.message for reason in (CUT_OFF, BROKEN)):
                    raise

    def crash_at_night(self, draw: random.Random) -> None:
        """A night that dies before or after a step."""
        with self.injecting(steps.NIGHT, draw):
            self.dies(lambda: self.night(draw))

    def kill_redis(self, draw: random.Random) -> None:
        """`kill -9` of Redis; it comes back with its data, with an older dump, or empty."""
        how = draw.choice(("kept", "older", "empty"))
        dump = draw.choice(self.dumps) if how == "older" and self.dumps else None
        faults.kill_redis(self.repo, kept=how == "kept", dump=dump)

    def lose_checkpoint(self, draw: random.Random) -> None:
        """Delete the checkpoint, or all there ever were, and go on with `--from-snapshot`, which may die once."""
        storage = self.side.storage
        folder = storage.folder("checkpoint")
        if draw.random() < 0.5:
            remove(folder)
        else:
            for query in range(1, 1 + max(storage.logged().last(), default=0)):
                remove(checkpoint(storage, query))
        if draw.random() < 0.5:
            with self.injecting(steps.HANDOVER, draw):
                self.dies(self.hand_over)
        else:
            self.hand_over()

    def lose_ids(self, draw: random.Random) -> None:
        """Delete what is remembered of accepted ids, or some of it."""
        if folders := matching(self.side.storage.folder("ids"), "query=*/batch*"):
            for folder in draw.sample(folders, draw.randint(1, len(folders))):
                remove(folder)

    def replace_table(self, draw: random.Random) -> None:
        """The stream of the orders, whose table is replaced at a step, or the step crashes after that."""
        self.side = self.sides[ORDERS]
        self.perhaps_deliver(draw)
        crashes = draw.random() < 0.5

        def replaced() -> None:
            replace_table(self.repo.folder, self.tables)
            self.tables += 1
            if crashes:
                raise faults.Crash("after the table was replaced")

        self.keep_dump()
        with self.injecting(steps.STREAM, draw, replaced):
            self.dies(lambda: self.start(draw))
        self.drain(draw)

    def grow_topic(self, draw: random.Random) -> None:
        """A partition more; nothing where the transport is a folder."""
        if isinstance(self.side.transport, Topic):
            self.side.transport.grow()

    def restart_broker(self, draw: random.Random) -> None:
        """`kill -9` of the broker, and its start; nothing where the transport is a folder."""
        if isinstance(self.side.transport, Topic):
            self.side.transport.restart()

    # --- what actions are made of

    def perhaps_deliver(self, draw: random.Random) -> None:
        if draw.random() < 0.8:
            self.deliver(draw)

    def drain(self, draw: random.Random) -> None:
        """Read all there is; then the invariants must hold, as far as that can be seen without Spark."""
        self.read(draw)
        side = self.side
        wrong = invariants.stream_violations(self.repo, side.valid, side.dead, side.name)
        if side.name == ORDERS:
            wrong += strange_brands(faults.log(self.repo, ORDERS), self.tables)
        if wrong:
            raise InvariantError("\n".join(wrong))

    def read(self, draw: random.Random) -> None:
        self.keep_dump()
        try:
            self.start(draw).awaitTermination()
        except StateError as error:
            # Only a handover that died leaves the stream without its checkpoint.
            if GONE not in error.message:
                raise
            self.hand_over()
            self.read(draw)

    def start(self, draw: random.Random) -> StreamingQuery:
        """The stream, whose batches count as small, or as large ones that are served from the log."""
        sink.SMALL_BATCH = draw.choice((20_000, -1))
        return start(self.spark, self.repo, self.side.source, self.side.transport.payloads(draw))

    def ask(self) -> None:
        """Read some users at some instants, if the store answers; the answers are logged with what they knew."""
        store = Repo(self.repo.folder).store  # a server that was started now: it has seen no state before
        random = self.asking
        rows = [
            {
                "user_id": f"user_{random.randrange(20):06d}",
                "event_timestamp": START + timedelta(minutes=random.randrange(6 * 1_440)),
            }
            for _ in range(10)
        ]
        with suppress(StateError, UnavailableError):
            store.get_online_features(store.get_feature_service("audited_profile"), rows)
            store._get_provider().online_store.served_log.flush()  # type: ignore[attr-defined]

    @contextmanager
    def asked(self) -> Iterator[None]:
        """While it is open, a reader comes between the last write of each batch and its high-water mark."""

        def watch(taken: Step, ended: bool) -> None:
            if taken is Step.ADVANCE_MARK and not ended:
                self.ask()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(library_steps, "watchers", [*library_steps.watchers, watch])
            yield

    def hand_over(self) -> None:
        with self.side.storage.alone():
            new_generation(self.spark, self.repo, self.side.source)

    def dies(self, work: Callable[[], object]) -> None:
        """Do what may end in an injected crash, here or in the thread of a query."""
        try:
            query = work()
            if query is not None:
                query.awaitTermination()  # type: ignore[attr-defined]
        except faults.Crash:
            pass
        except StreamingQueryException as error:
            if faults.Crash.__name__ not in str(error):
                raise
        except StateError as error:
            if GONE not in error.message:
                raise

    @contextmanager
    def injecting(
        self, where: Sequence[Step], draw: random.Random, fault: Callable[[], None] | None = None
    ) -> Iterator[None]:
        """While it is open, a drawn step crashes, or has a fault."""
        step, nth, after = draw.choice(where), draw.choice((1, 1, 2, 3)), draw.random() < 0.5
        with pytest.MonkeyPatch.context() as patch:
            faults.crash_at(patch, step, nth=nth, after=after, fault=fault)
            yield

    def keep_dump(self) -> None:
        """Copy what Redis has on disk, for it to come back with."""
        data = embedded_folder(self.repo.store.config) / "appendonly.aof"
        if data.exists():
            copy = self.repo.folder.parent / f"dump-{len(self.dumps)}"
            shutil.copy(data, copy)
            self.dumps.append(copy)

    def finish(self, draw: random.Random, cells: int) -> None:
        """Read what is left, and check every invariant."""
        for side in self.sides.values():
            self.side = side
            self.deliver(draw)
            self.drain(draw)
        if wrong := invariants.parity_violations(self.spark, self.repo, cells):
            raise InvariantError("\n".join(wrong))
        found = audit(self.repo, 0)
        if not found.passed or found.waiting:
            raise InvariantError(f"served answers are not derived again: {found}")
