"""The jobs on a standalone cluster, whose workers share nothing with the driver but an object store and Redis."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from dualpath.repo import Repo
from dualpath.runtime import jars, redis
from dualpath.runtime.kafka import HOST
from parity_tests import faults
from parity_tests.cluster import driver
from parity_tests.conftest import BRIEFLY, CHECKOUT, SOURCE
from parity_tests.startup.cluster import Cluster, refusal
from parity_tests.startup.object_store import reached
from parity_tests.startup.s3 import Server

FILES, FIRST, ROWS = 4, 1, 300
"""Files, each of which is a batch, and how many of them are read before a worker is killed; events in a file."""
SETTINGS = f"""
spark.executor.extraJavaOptions {BRIEFLY} -XX:+UseSerialGC
spark.sql.shuffle.partitions 2
spark.ui.enabled false
"""
STREAM = ("stream", "--once", "--files-per-batch", "1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the driver: repos, events, temporary files. Workers do not see it."""
    if reason := refusal():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("driver")
    (folder / "tmp").mkdir()
    (folder / "spark-defaults.conf").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="module")
def cluster(home: Path, s3: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster. The jars that the driver has fetched travel with the job, so they are hidden too."""
    jars.fetch("s3", os.environ)
    hidden = [home, jars.folder("s3", os.environ)]
    with Cluster(tmp_path_factory.mktemp("cluster"), hidden=hidden, environ=s3.environ) as started:
        yield started


def repo_at(home: Path, applied: Path, path: str, connection: str) -> Repo:
    """A repo of the driver with data at a path."""
    folder = home / f"repo-{uuid4().hex}" / "feature_repo"
    shutil.copytree(applied, folder)
    settings = folder / "feature_store.yaml"
    said = settings.read_text().replace('connection_string: ""', f'connection_string: "{connection}"')
    settings.write_text(said.replace("  path: data\n", f"  path: {path}\n"))
    return Repo(folder)


def started(home: Path, cluster: Cluster, environ: dict[str, str], *words: str) -> subprocess.Popen[str]:
    """A driver that runs a program of Python."""
    settings = {
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(CHECKOUT),
        "SPARK_CONF_DIR": str(home),
        "SPARK_LOCAL_IP": HOST,
        "SPARK_MASTER": cluster.master,
        "TMPDIR": str(home / "tmp"),
    }
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=home,
        env={**os.environ, **environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read(process: subprocess.Popen[str], until: str | None = None) -> str:
    """What a driver says up to a line, or to its end."""
    assert process.stdout is not None, "it is a pipe"
    said = []
    for line in process.stdout:
        said.append(line)
        if line.strip() == until:
            break
    return "".join(said)


def batches(repo: Repo) -> int:
    """How many micro-batches are in the log."""
    return repo.storage(SOURCE).accounts().total().batches


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cluster_gives_the_bits_of_one_machine_though_a_worker_is_killed(
    home: Path,
    cluster: Cluster,
    s3: Server,
    applied: Path,
    new_repo: Callable[[], Repo],
    shop_events: pa.Table,
    spark: SparkSession,
) -> None:
    events = shop_events.slice(0, FILES * ROWS)
    deliveries = []
    for number in range(FILES):
        file = home / f"{number}.parquet"
        pq.write_table(events.slice(number * ROWS, ROWS), file)
        deliveries.append(("ingest", str(file)))
    asked = (
        events.slice(0, 200)
        .select(["user_id", "product_id", "event_time"])
        .rename_columns({"event_time": "event_timestamp"})
    )
    pq.write_table(asked, home / "asked.parquet")
    day = max(events["arrival_time"].to_pylist()).date().isoformat()
    commands = [*deliveries[:FIRST], STREAM, *deliveries[FIRST:], STREAM]
    commands += [("batch",), ("nightly", "--date", day), ("status",)]
    train = (driver.TRAIN, str(home / "asked.parquet"), str(home / "trained.parquet"))
    on_cluster = [(*train, "0"), ("parity", "--cells", "500", "--oracle-cells", "100")]

    server = home / "redis"
    connection = redis.ensure(server)
    try:
        with reached(s3.environ):
            repo = repo_at(home, applied, s3.fresh(), connection)
            words = ["-m", driver.__name__, str(repo.folder), json.dumps([*commands, *on_cluster])]
            process = started(home, cluster, s3.environ, *words)
            said = read(process, until="stream") + read(process, until="stream")
            faults.until(lambda: batches(repo) > FIRST or process.poll() is not None)
            cluster.kill(0)
            at = batches(repo)
            said += read(process)
            assert process.wait() == 0, said
            assert FIRST < at < FILES
            found = faults.bits(repo), faults.counts(repo), faults.values(repo, events)
            trained = pq.read_table(home / "trained.parquet")
    finally:
        redis.stop(server)

    local = new_repo()
    driver.run(local.folder, *commands, (*train, str(len(asked))))
    assert found == (faults.bits(local), faults.counts(local), faults.values(local, events))
    assert trained.equals(pq.read_table(home / "trained.parquet"))


@pytest.mark.spark  # so that it runs in the process of the test above, whose cluster it needs
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_folder_that_workers_do_not_see_is_refused(home: Path, cluster: Cluster) -> None:
    data = home / "data"
    program = (
        f"from pathlib import Path; from dualpath.spark.session import session; session('test', data=Path('{data}'))"
    )
    process = started(home, cluster, {}, "-c", program)
    said = read(process)
    assert process.wait() == 1
    assert f" do not see {data}, where data is kept; let offline_store.path name an object store" in said
    assert list(data.iterdir()) == []
