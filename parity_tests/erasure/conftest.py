"""A filled repo: streamed, compacted, published, served and logged, with one person in every place."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from dualpath.jobs import log_compaction
from dualpath.jobs.build import build
from dualpath.jobs.nightly import nightly
from dualpath.online import keys
from dualpath.online.connection import connect, embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from parity_tests import faults
from parity_tests.conftest import SOURCE, drain
from parity_tests.erasure.person import DEAD, DECISION, LINES, PERSON


@pytest.fixture(scope="package")
def filled(spark: SparkSession, new_repo: Callable[[], Repo]) -> Repo:
    """It; its Redis has stopped, and nobody uses it but to copy it."""
    repo = new_repo()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log_compaction, "FEW", 1)
        # The first batches are compacted and what was replaced stays; the last ones are as they were written.
        for number in range(10):
            if number == 8:
                drain(spark, repo, files_per_batch=1)
                nightly(spark, repo, repo.sources[SOURCE], date(2026, 3, 2))
            faults.post(repo, [*LINES[number * 70 : (number + 1) * 70], *DEAD[number : number + 1]])
        drain(spark, repo, files_per_batch=1)
    build(spark, repo, repo.sources[SOURCE])
    client = connect(repo.redis_address)
    client.set(keys.decision(repo.project, "d1"), json.dumps(DECISION))
    client.set(keys.decision(repo.project, "d2"), json.dumps(DECISION | {"user_id": "user_000001"}))
    client.zadd(keys.large_entities(repo.project, "user_activity"), {PERSON: 10, "user_000001": 9})
    service = repo.store.get_feature_service("audited_profile")
    at = "2026-03-04T12:00:00Z"
    repo.store.get_online_features(
        service, [{"user_id": user, "event_timestamp": at} for user in (PERSON, "user_000001")]
    )
    repo.store._get_provider().online_store.served_log.flush()  # type: ignore[attr-defined]
    redis.stop(embedded_folder(repo.store.config))
    return repo


@pytest.fixture
def repo(filled: Repo, tmp_path: Path) -> Iterator[Repo]:
    """A copy of it, with a Redis of its own."""
    shutil.copytree(filled.folder, tmp_path / "feature_repo")
    copy = Repo(tmp_path / "feature_repo")
    yield copy
    redis.stop(embedded_folder(copy.store.config))
