"""What a micro-batch costs with all data in an S3 server on this machine, beside a folder: seconds, and requests; also
with Spark's checkpoint in a folder.

The server answers within two milliseconds, in one thread, and shares the cores with Spark: the requests are what tells
of another store.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pyspark.sql import SparkSession

from benchmarks.measure import Figure, Sheet
from benchmarks.place import applied
from dualpath.demo.generate import generate
from dualpath.files.places import place
from dualpath.jobs.stream import start
from dualpath.repo import Repo
from dualpath.sources.directory import Directory
from dualpath.sources.landing import land
from dualpath.spark.session import session
from parity_tests.startup.s3 import Server
from parity_tests.startup.s3_faults import Faults

ROWS, WARM_UP, BATCHES = 200, 4, 24
"""Events of a micro-batch, and how many of them are run before, and for, the figures."""
SOURCE = "shop_events"


def run() -> Iterator[Figure | Sheet]:
    """The seconds of micro-batches, and the requests of one."""
    with TemporaryDirectory() as folder, Server(Path(folder)) as server, Faults(server) as seen:
        os.environ.update(seen.environ)
        there, apart = server.fresh(), server.fresh()
        spark = session("benchmarks", cores=2, data=place(there))
        try:
            with (
                applied() as local,
                applied(lambda repo: _keep_at(repo, there)) as remote,
                applied(lambda repo: _keep_at(repo, apart, f"{folder}/checkpoints")) as parted,
            ):
                repos = {"a folder": local, "S3": remote, "S3, checkpoint in a folder": parted}
                seconds = {name: _batches(spark, repo) for name, repo in repos.items()}
                requests = {name: _requests(spark, repos[name], seen) for name in [*repos][1:]}
        finally:
            spark.stop()
    yield Figure(f"a micro-batch of {ROWS} events", seconds)
    for name, found in requests.items():
        counts = {kind: n / BATCHES for kind, n in found.most_common()}
        cells = {kind: f"{n:.1f}" for kind, n in {"all": sum(counts.values()), **counts}.items()}
        yield Sheet(f"requests of a micro-batch: {name}", cells, counts)


def _keep_at(repo: Path, there: str, checkpoints: str = "") -> None:
    file = repo / "feature_store.yaml"
    more = f"  checkpoints: {checkpoints}\n" if checkpoints else ""
    file.write_text(file.read_text().replace("  path: data\n", f"  path: {there}\n{more}"))


def _batches(spark: SparkSession, repo: Repo) -> np.ndarray:
    """Seconds of each micro-batch after the first ones."""
    return _drain(spark, repo, WARM_UP + BATCHES)[WARM_UP:]


def _requests(spark: SparkSession, repo: Repo, seen: Faults) -> Counter[str]:
    """The requests of `BATCHES` micro-batches without those of a start, by method and by what they are about."""
    few, many = (_during(seen, lambda n=n: _drain(spark, repo, n)) for n in (WARM_UP, WARM_UP + BATCHES))
    many.subtract(few)
    return many


def _during(seen: Faults, work: Callable[[], object]) -> Counter[str]:
    before = len(seen.seen)
    work()
    return Counter(f"{method} {_kind(key)}" for method, key in seen.seen[before:])


def _kind(key: str) -> str:
    """The folder of a source that a request is about."""
    found = key.partition(f"{SOURCE}/")[2].partition("/")[0]
    return found or "others"


def _drain(spark: SparkSession, repo: Repo, batches: int) -> np.ndarray:
    """Land so many files, and stream them one by one; answers the seconds of each micro-batch."""
    storage, source = repo.storage(SOURCE), repo.sources[SOURCE]
    landed = len(storage.accounts())
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    events = generate(users=50, events=2 * ROWS * batches, products=20, categories=5, start=begin, days=2, seed=landed)
    land(events.slice(0, ROWS * batches), storage.folder("landing"), rows_per_file=ROWS, start=landed)
    query = start(spark, repo, source, Directory(storage.folder("landing"), 1))
    query.awaitTermination()
    return np.array(
        [each["durationMs"]["triggerExecution"] / 1000 for each in query.recentProgress if each["numInputRows"]]
    )
