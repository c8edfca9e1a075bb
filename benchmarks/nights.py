"""What a night's publication takes over a short and a long history, whose last days are of one size.

Record files are written here, in the form in which a build leaves them, and `publish` is called as a night does. Its
peer is the publication of the same day as a whole, upon a manifest that names no snapshot.
"""

import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from benchmarks.measure import Sheet, spell
from benchmarks.place import applied
from benchmarks.shop import lists, name
from dualpath.jobs.publish import publish
from dualpath.offline.history import RECORDS, History, view_version
from dualpath.online import high_water_mark, manifest
from dualpath.online.connection import connect
from dualpath.online.manifest import Manifest
from dualpath.record import UNFENCED, layout
from dualpath.repo import Repo
from dualpath.spark.session import session
from dualpath.windows import DAY

HISTORIES = (500_000, 5_000_000)
"""Events before the nights that are measured."""
A_DAY, REGULARS, EACH = 50_000, 20_000, 25
"""Events of a day; users of a measured day; events of a user in a history."""
NIGHTS = 3
FIRST, MIDNIGHT = date(2026, 1, 1), 1_767_225_600_000_000
"""The first day, and its first microsecond UTC."""
DECLARATIONS = """
from feast import Entity, ValueType

from dualpath.aggregates import Count
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import text
from dualpath.windows import days

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
source = event_source("clicks", fields=[text("user_id", required=True)], arrival_time=None)
clicked = feature_view("clicked", entity=user, source=source, features=[feature("clicks", Count(), over=days(365))])
"""


def run() -> Iterator[Sheet]:
    """Seconds of a publication, by the length of the history."""
    spark = session("benchmarks", cores=2)
    try:
        found = {events: _measured(spark, events) for events in HISTORIES}
    finally:
        spark.stop()
    cells = {
        f"upon {events:,} events": f"{spell(night)}, as a whole {spell(whole)}, {whole / night:.1f} times as long"
        for events, (night, whole) in found.items()
    }
    (short, _), (long, _) = found.values()
    cells["the longer history over the shorter"] = f"{long / short:.2f} times as long"
    data = {"events": HISTORIES, "night_seconds": [n for n, _ in found.values()]}
    data["whole_seconds"] = [w for _, w in found.values()]
    yield Sheet(f"to publish a night of {A_DAY:,} events of {REGULARS:,} users, 2 cores", cells, data)


def _declare(folder: Path) -> None:
    for file in folder.glob("*.py"):
        file.unlink()
    (folder / "clicks.py").write_text(DECLARATIONS)


def _measured(spark: SparkSession, events: int) -> tuple[float, float]:
    """Seconds of a night, and of the last one's snapshot as a whole."""
    days, random = events // A_DAY, np.random.default_rng(5)
    with applied(_declare) as repo:
        for day in range(days + NIGHTS):
            _write(repo, day, random.integers(0, events // EACH if day < days else REGULARS, A_DAY), random)
        _empty(repo)
        _seconds(spark, repo, days - 1)
        nights = [_seconds(spark, repo, days + night) for night in range(NIGHTS)]
        _empty(repo)
        return float(np.median(nights)), _seconds(spark, repo, days + NIGHTS - 1)


def _write(repo: Repo, day: int, users: np.ndarray, random: np.random.Generator) -> None:
    """The record files of a day."""
    view, history, iso = repo.views["clicked"], History(repo.root), (FIRST + timedelta(day)).isoformat()
    users = np.sort(users)
    words = np.ones((len(users), layout(view).width), dtype=np.int64)
    words[:, 0] = MIDNIGHT + day * DAY + random.integers(0, DAY, len(users))
    words[:, 1] = random.integers(1, 2**62, len(users))
    entities = pa.array([name(user) for user in users.tolist()])
    columns = [entities, lists(words), pa.array(words[:, 0]), pa.array(np.zeros(len(users), dtype=np.int64))]
    staged = repo.root / "staged"
    (staged / f"arrival_day={iso}").mkdir(parents=True)
    pq.write_table(pa.table(columns, RECORDS), staged / f"arrival_day={iso}" / "part.parquet")
    history.publish(view_version(view), staged, {iso: f"{iso}-{day:016x}"}, len(users))


def _empty(repo: Repo) -> None:
    """Leave what a stream has before its first batch."""
    redis, view = connect(repo.redis_address), repo.views["clicked"]
    redis.flushall()
    manifest.place(redis, repo.project, view.name, Manifest("n1", view_version=view_version(view)))
    high_water_mark.place(redis, repo.project, "n1", view.source.name, UNFENCED)


def _seconds(spark: SparkSession, repo: Repo, day: int) -> float:
    began = time.perf_counter()
    [done] = publish(spark, repo, [*repo.views.values()], FIRST + timedelta(day))
    assert done.changed
    return time.perf_counter() - began
