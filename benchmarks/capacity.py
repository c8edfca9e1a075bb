"""What a platform of a given size needs: costs measured with the shop's views, multiplied by its users.

A week's events go through the stream, then through a night for each day, all on two cores of this machine. A platform
with more users, who do as much, needs so many times as much. That is arithmetic: docs/scale.md names what stands in
its way.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

from pyspark.sql import SparkSession

from benchmarks.measure import Sheet
from benchmarks.place import applied
from dualpath.demo.generate import generate
from dualpath.jobs.nightly import nightly
from dualpath.jobs.publish import served
from dualpath.jobs.stream import start
from dualpath.online.connection import connect
from dualpath.online.removal import remove_superseded
from dualpath.repo import Repo
from dualpath.sources.directory import Directory
from dualpath.sources.landing import land
from dualpath.spark.session import session

USERS, EVENTS, DAYS = 20_000, 1_000_000, 7
FIRST = datetime(2026, 3, 2, tzinfo=UTC)
SOURCE = "shop_events"
ROWS_PER_FILE, FILES_PER_BATCH = 25_000, 4
CORES = 2
PLATFORMS = (100_000, 5_000_000, 100_000_000)
"""Users of platforms whose needs are told."""
DAY, HOUR = 86_400, 3_600


@dataclass(frozen=True)
class Cost:
    """Of an event: core seconds of the stream and of its night, and bytes on the disk. Of a user: bytes in Redis."""

    stream: float
    night: float
    log: float
    records: float
    redis: float

    def of(self, users: int) -> dict[str, float]:
        """What so many users need who do as much."""
        daily = users * EVENTS / USERS / DAYS
        return {
            "events a second": daily / DAY,
            "GB of Redis": users * self.redis / 1e9,
            "cores of the stream": daily / DAY * self.stream,
            "core hours of a night": daily * self.night / HOUR,
            "GB of log and records a day": daily * (self.log + self.records) / 1e9,
        }


def run() -> Iterator[Sheet]:
    """The costs, and what they make of larger platforms."""
    with applied() as repo:
        spark = session("benchmarks", cores=CORES)
        try:
            found = _measured(spark, repo)
        finally:
            spark.stop()
    cells = {
        "the stream, an event": f"{found.stream * 1e6:,.0f} µs of a core",
        "the night, an event of its day": f"{found.night * 1e6:,.0f} µs of a core",
        "the log, an event": f"{found.log:,.0f} bytes",
        "record files, an event": f"{found.records:,.0f} bytes",
        "Redis, a user": f"{found.redis:,.0f} bytes",
    }
    yield Sheet(f"{EVENTS:,} events of {USERS:,} users in {DAYS} days, {CORES} cores", cells, asdict(found))
    for users in PLATFORMS:
        needs = found.of(users)
        cells = {name: f"{value:,.2f}" for name, value in needs.items()}
        yield Sheet(f"{users:,} users who do as much", cells, {"users": users, **needs})


def _measured(spark: SparkSession, repo: Repo) -> Cost:
    source, storage = repo.sources[SOURCE], repo.storage(SOURCE)
    week = generate(users=USERS, events=EVENTS, products=2_000, categories=40, start=FIRST, days=DAYS, seed=1)
    land(week, storage.folder("landing"), rows_per_file=ROWS_PER_FILE)
    redis = connect(repo.redis_address)
    empty = redis.info("memory")["used_memory"]
    query = start(spark, repo, source, Directory(storage.folder("landing"), FILES_PER_BATCH))
    query.awaitTermination()
    batches = [each["durationMs"]["triggerExecution"] for each in query.recentProgress if each["numInputRows"]]
    nights = []
    for number in range(DAYS):
        began = perf_counter()
        nightly(spark, repo, source, (FIRST + timedelta(days=number)).date())
        nights.append(perf_counter() - began)
    # An hour later they would have expired.
    remove_superseded(redis, repo.project, served(repo, repo.views_of(SOURCE)))
    accepted = storage.accounts().total().accepted
    return Cost(
        stream=CORES * sum(batches) / 1_000 / EVENTS,
        night=CORES * nights[-1] / (accepted / DAYS),
        log=_size(storage.folder("log")) / accepted,
        records=_size(repo.root / "records") / accepted,
        redis=(redis.info("memory")["used_memory"] - empty) / USERS,
    )


def _size(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
