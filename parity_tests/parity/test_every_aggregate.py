"""Every aggregate over every kind of column, through the real stream, the real batch and both stores."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from dualpath.aggregates import Aggregate
from dualpath.jobs.build import build
from dualpath.jobs.stream import start
from dualpath.online.connection import embedded_folder
from dualpath.parity.check import check
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources.directory import Directory
from parity_tests.conftest import REPOS

START = 1_709_164_800_000_000
"""2024-02-29, microseconds UTC."""


def payloads(count: int) -> Iterator[str]:
    """Seeded visits: ties, nulls, extremes, two zeros, in no order."""
    random = np.random.default_rng(5)
    for n in range(count):
        at = START + int(random.integers(0, 20 * 24 * 60)) * 60_000_000 + int(random.choice([0, 1, 59_999_999]))
        visit = {
            "visit": f"v{n}",
            "at": f"{np.datetime64(at, 'us')}Z",
            "visitor": int(random.integers(0, 4)),
            "device": [2**63 - 1, 1 - 2**63, 2**53 + 1, 2**53, 0, None][n % 6],
            "page": random.choice(["Home", "home", "basket", "Ünï 😀", None]),
            "clicks": random.choice([0, 1, 2, -3, 1000, None]),
            "price": random.choice(["19.99", "0.01", "-0.01", "1234567.89", None]),
            "score": random.choice([0.1, -0.0, 0.0, 5e-324, -1.5e300, None]),
            "member": random.choice([True, False, None]),
            "seen": f"{np.datetime64(at - 1, 'us')}Z" if n % 3 else None,
        }
        yield json.dumps({k: v for k, v in visit.items() if v is not None})


@pytest.mark.slow
def test_every_aggregate_has_the_same_bits_served_trained_and_by_the_oracle(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / "wide"
    shutil.copytree(REPOS / "wide", folder, ignore=shutil.ignore_patterns("__pycache__"))
    repo = Repo(folder)
    repo.apply()
    landing = repo.storage("visits").folder("landing")
    landing.mkdir(parents=True)
    lines = list(payloads(1_200))
    for part in range(3):
        (landing / f"{part}.jsonl").write_text("\n".join(lines[part::3]) + "\n")
    try:
        start(spark, repo, repo.sources["visits"], Directory(landing, 1)).awaitTermination()
        build(spark, repo, repo.sources["visits"])
        proof = check(repo, cells=12_000, oracle_cells=6_000)
    finally:
        redis.stop(embedded_folder(repo.store.config))
    assert proof.passed, proof.examples
    assert proof.cells >= 12_000 and proof.oracle_cells >= 6_000
    used = {type(f.aggregate).__name__ for view in repo.views.values() for f in view.features}
    assert used == set(Aggregate.registry)
