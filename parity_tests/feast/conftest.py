"""Repos that the tests of the Feast plugins share."""

import shutil
from collections.abc import Iterator
from datetime import timedelta

import pytest
from pyspark.sql import SparkSession

from dualpath.jobs.build import build
from dualpath.jobs.stream import start
from dualpath.online.connection import embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources.directory import Directory
from parity_tests.conftest import REPOS
from parity_tests.feast.training import AT, USERS, events, write


@pytest.fixture(scope="session")
def repo(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    folder = tmp_path_factory.mktemp("ordinary") / "ordinary"
    shutil.copytree(REPOS / "ordinary", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    created = [at + timedelta(hours=5) for at in AT]
    ages, ratings = [*range(30, 42)], [n / 3 for n in range(12)]
    write(folder / "data/profiles.parquet", user_id=USERS, at=AT, created=created, age=ages, rating=ratings)
    shops = [n % 2 for n in range(12)]
    write(folder / "data/visits.parquet", user_id=USERS, shop_id=shops, at=AT, created=created, seen=[*range(12)])
    opened = Repo(folder)
    opened.apply()
    try:
        for name, source in opened.sources.items():
            landing = opened.storage(name).folder("landing")
            landing.mkdir(parents=True)
            (landing / "0.jsonl").write_text("\n".join(events(name)) + "\n")
            start(spark, opened, source, Directory(landing, 1)).awaitTermination()
            build(spark, opened, source)
        yield opened
    finally:
        redis.stop(embedded_folder(opened.store.config))
