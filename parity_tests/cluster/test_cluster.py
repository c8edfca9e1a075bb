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
from parity_tests.conftest import SOURCE
from parity_tests.startup.cluster import Cluster, refusal
from parity_tests.startup.object_store import reached
from parity_tests.startup.s3 import Server

FILES = 3
"""Files of each of two deliveries; each file is a batch."""
SETTINGS = "spark.sql.shuffle.partitions 2\nspark.ui.enabled false\n"
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
    """A repo of the driver with data at a path, whose training sets are all computed on Spark."""
    folder = home / f"repo-{uuid4().hex}" / "feature_repo"
    shutil.copytree(applied, folder)
    settings = folder / "feature_store.yaml"
    said = settings.read_text().replace('connection_string: ""', f'connection_string: "{connection}"')
    settings.write_text(said.replace("  path: data\n", f"  path: {path}\n  spark_above_rows: 0\n"))
    return Repo(folder)


def start(
    repo: Repo, home: Path, cluster: Cluster, environ: dict[str, str], *commands: object
) -> subprocess.Popen[str]:
    """Start a driver that runs commands."""
    settings = {
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_CONF_DIR": str(home),
        "SPARK_LOCAL_IP": HOST,
        "SPARK_MASTER": cluster.master,
        "TMPDIR": str(home / "tmp"),
    }
    return subprocess.Popen(
        [sys.executable, "-m", driver.__name__, str(repo.folder), json.dumps(commands)],
        cwd=home,
        env={**os.environ, **environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


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
    events = shop_events.slice(0, 1_500)
    deliveries = []
    for number in range(2 * FILES):
        file = home / f"{number}.parquet"
        pq.write_table(events.slice(number * 250, 250), file)
        deliveries.append(("ingest", str(file)))
    asked = (
        events.slice(0, 200)
        .select(["user_id", "product_id", "event_time"])
        .rename_columns({"event_time": "event_timestamp"})
    )
    pq.write_table(asked, home / "asked.parquet")
    day = max(events["arrival_time"].to_pylist()).date().isoformat()
    first = [*deliveries[:FILES], STREAM, *deliveries[FILES:], STREAM]
    then = [
        ("batch",),
        ("nightly", "--date", day),
        (driver.TRAIN, str(home / "asked.parquet"), str(home / "trained.parquet")),
        ("status",),
    ]
    checked = ("parity", "--cells", "500", "--oracle-cells", "100")

    server = home / "redis"
    connection = redis.ensure(server)
    try:
        with reached(s3.environ):
            repo = repo_at(home, applied, s3.fresh(), connection)
            process = start(repo, home, cluster, s3.environ, *first, *then, checked)
            faults.until(lambda: process.poll() is not None or batches(repo) > FILES)
            cluster.kill(0)
            at = batches(repo)
            said, _ = process.communicate()
            assert process.returncode == 0, said
            assert FILES < at < 2 * FILES
            found = faults.bits(repo), faults.counts(repo), faults.values(repo, events)
            trained = pq.read_table(home / "trained.parquet")
    finally:
        redis.stop(server)

    local = new_repo()
    driver.run(local.folder, *first, *then)
    assert found == (faults.bits(local), faults.counts(local), faults.values(local, events))
    assert trained.equals(pq.read_table(home / "trained.parquet"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_folder_that_workers_do_not_see_is_refused(home: Path, cluster: Cluster, applied: Path) -> None:
    repo = repo_at(home, applied, str(home / "data"), f"{HOST}:1")
    process = start(repo, home, cluster, {}, ("batch",))
    said, _ = process.communicate()
    assert process.returncode == 1
    assert f" do not see {home / 'data'}, where data is kept; let offline_store.path name an object store" in said
    assert list((home / "data").iterdir()) == []
