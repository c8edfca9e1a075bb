"""What the tests share."""

import gc
import importlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import settings
from pyspark.sql import SparkSession

import parity_tests.startup.sitecustomize as startup  # before Feast
from dualpath.demo.generate import generate
from dualpath.errors import UnavailableError
from dualpath.jobs.build import build
from dualpath.jobs.stream import start
from dualpath.online.connection import embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import jars, redis
from dualpath.runtime.kafka import Broker
from dualpath.sources.directory import Directory
from dualpath.sources.landing import land
from dualpath.spark.session import session
from parity_tests.startup import prepared
from parity_tests.startup.s3 import Server

CHECKOUT = Path(__file__).resolve().parent.parent
REPOS = Path(__file__).parent / "repos"
SOURCE = "shop_events"

# A test's JVM lives for seconds or minutes: better code is compiled for longer than it runs. Code by this compiler
# alone would have a small room, and be swept out of it.
BRIEFLY = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m"

# Spark keeps the code it has compiled of a hundred plans' stages; tests have many more, again and again.
COMPILED = {"spark.sql.codegen.cache.maxEntries": "4000"}

# Every run draws the same examples, and a busy machine is no fault. A test's own settings build upon these.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    """Let all processes that tests start import Feast quickly or not at all, and the JVM of Spark compile quickly."""
    if sys.platform == "linux":
        held = ExitStack()
        os.environ[prepared.ADDRESS] = held.enter_context(prepared.running())
        config.add_cleanup(held.close)
    paths = [str(Path(startup.__file__).parent), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    os.environ["SPARK_SUBMIT_OPTS"] = f"{BRIEFLY} {os.environ.get('SPARK_SUBMIT_OPTS', '')}".strip()


def pytest_collection_finish() -> None:
    """Let the collector of garbage pass over what was imported: it is half a million objects, and stays to the end."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that take the Spark session, so that `make light` can leave them out."""
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker("spark")


@pytest.fixture(scope="session")
def connector() -> dict[str, str]:
    """The settings that let a session read Kafka; none where the jars cannot be had."""
    try:
        return jars.settings(os.environ)
    except UnavailableError:
        return {}


@pytest.fixture(scope="session")
def spark(connector: dict[str, str]) -> Iterator[SparkSession]:
    """One Spark session, in UTC, for the whole run: starting it costs more than most tests."""
    started = session("parity-tests", cores=2, conf=connector | COMPILED)
    yield started
    started.stop()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, connector: dict[str, str]) -> Iterator[Broker]:
    """One Kafka broker for the whole run: starting it takes two JVMs. Each test has topics of its own.

    Those that take it are skipped where the jars cannot be had.
    """
    try:
        jars.fetch("spark", os.environ)
        jars.fetch("broker", os.environ)
    except UnavailableError as error:
        pytest.skip(error.message)
    with Broker(tmp_path_factory.mktemp("kafka")) as started:
        yield started


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One S3 server for the whole run. Each test has a place of its own there: `s3.fresh()`."""
    with Server(tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture(scope="session")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the feature repo with its registry made by `feast apply`, once: applying takes seconds."""
    folder = tmp_path_factory.mktemp("applied") / "feature_repo"
    shutil.copytree(CHECKOUT / "feature_repo", folder, ignore=shutil.ignore_patterns("data", "__pycache__"))
    Repo(folder).apply()
    return folder


@pytest.fixture(scope="session")
def new_repo(applied: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Repo]]:
    """Makes applied repos, each with an embedded Redis of its own; their servers end with the run."""
    made: list[Repo] = []

    def make() -> Repo:
        folder = tmp_path_factory.mktemp("repo") / "feature_repo"
        shutil.copytree(applied, folder)
        made.append(Repo(folder))
        return made[-1]

    yield make
    for repo in made:
        redis.stop(embedded_folder(repo.store.config))


@pytest.fixture(scope="session")
def shop_events() -> pa.Table:
    """Six thousand generated events over six days, with every quirk; in delivery order."""
    start_of_time = datetime(2026, 3, 1, tzinfo=UTC)
    return generate(users=150, events=6_000, products=60, categories=12, start=start_of_time, days=6, seed=1)


@pytest.fixture(scope="module")
def shop(spark: SparkSession, new_repo: Callable[[], Repo], shop_events: pa.Table) -> Repo:
    """A repo of the module's own, whose stream has served the generated events and whose batch has read the log."""
    repo = new_repo()
    deliver(repo, shop_events)
    drain(spark, repo)
    build(spark, repo, repo.sources[SOURCE])
    return repo


@pytest.fixture(scope="session")
def calm(spark: SparkSession, new_repo: Callable[[], Repo]) -> Repo:
    """An undisturbed run over the events of the fault tests: what every other run over them must end in."""
    repo = new_repo()
    faults = importlib.import_module("parity_tests.faults")  # which imports this module
    faults.post(repo, faults.payloads(faults.events()), files=2)
    drain(spark, repo, files_per_batch=1)
    return repo


@pytest.fixture(scope="session")
def expected(calm: Repo) -> tuple[Counter[Any], Counter[str]]:
    """The bits of the undisturbed run."""
    return importlib.import_module("parity_tests.faults").bits(calm)


def deliver(repo: Repo, events: pa.Table, *, rows_per_file: int = 1_000, start: int = 0) -> list[Path]:
    """Land events for the repo's stream."""
    return land(events, repo.storage(SOURCE).folder("landing"), rows_per_file=rows_per_file, start=start)


def drain(spark: SparkSession, repo: Repo, *, files_per_batch: int = 2) -> None:
    """Run the stream until it has read all that has landed."""
    source = Directory(repo.storage(SOURCE).folder("landing"), files_per_batch)
    start(spark, repo, repo.sources[SOURCE], source).awaitTermination()
