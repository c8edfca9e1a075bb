"""A feature repo outside this checkout, with other entities, columns and views, needs no code of dualpath's."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from parity_tests.conftest import CHECKOUT, REPOS
from parity_tests.console.commands import run_json

BIKES = REPOS / "bike"
START = 1_780_000_000_000_000
"""2026-05-28, microseconds UTC."""


def job(script: str, *words: str) -> str:
    """Run one of the jobs for spark-submit in a process of its own; answers what it prints."""
    done = subprocess.run([sys.executable, str(CHECKOUT / script), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def payloads(count: int) -> Iterator[str]:
    """Seeded rides: out of order, some repeated, some late by days, some refused."""
    random = np.random.default_rng(3)
    for n in range(count):
        ended = START + int(random.integers(0, 12 * 86_400)) * 1_000_000 + int(random.integers(0, 2)) * 500_000
        reported = ended + int(random.choice([0, 5, 900, 3 * 86_400])) * 1_000_000
        ride = {
            "ride": f"r{n if n % 50 else 0}",
            "ended_at": str(np.datetime64(ended, "us")) + "Z",
            "reported_at": str(np.datetime64(reported, "us")) + "Z",
            "city_code": str(random.choice(["ber:1", "par"])),
            "station_no": int(random.integers(1, 6)),
            "metres": None if n % 11 == 0 else int(random.integers(100, 20_000)),
            "fare": f"{int(random.integers(0, 9_999)) / 1000:.3f}",
            "member": bool(random.integers(0, 2)),
            "bike": "rocket" if n % 97 == 0 else str(random.choice(["city", "cargo", "electric"])),
        }
        yield json.dumps(ride)


@pytest.fixture(scope="module")
def bikes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    repo = tmp_path_factory.mktemp("outside") / "bikes"
    shutil.copytree(BIKES, repo, ignore=shutil.ignore_patterns("__pycache__"))
    feast = [sys.executable, "-m", "feast.cli.cli", "--chdir", str(repo), "apply"]
    subprocess.run(feast, check=True, capture_output=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    (repo / "rides.jsonl").write_text("\n".join(payloads(3_000)) + "\n")
    yield repo
    run_json("stop", "--repo", repo)


@pytest.mark.slow
@pytest.mark.timeout(900)  # three processes, two with a JVM of their own, one after another
def test_a_sixty_line_repo_runs_through_ingest_stream_batch_and_parity(spark: SparkSession, bikes: Path) -> None:
    option = ("--repo", bikes)
    run_json("ingest", bikes / "rides.jsonl", *option)
    job("streaming/stream.py", "--repo", str(bikes), "--once")
    run_json("batch", *option)
    proof = run_json("parity", *option, "--cells", "8000", "--oracle-cells", "2000")
    assert proof["cells"] >= 8_000 and proof["differing"] == 0
    assert proof["oracle_cells"] >= 2_000 and proof["oracle_differing"] == 0
    counts = run_json("status", *option)
    assert counts["adds_up"] and counts["rows_read"] == 3_000
    assert counts["dead_letter"] > 0 and counts["duplicate"] > 0 and counts["late"] > 0
    last = counts["sources"]["rides"]["last_arrival_day"]
    assert f"rides: {last} is closed" in job("batch/nightly.py", "--repo", str(bikes), "--date", last)
    assert set(run_json("status", *option)["snapshots"].values()) == {last}
