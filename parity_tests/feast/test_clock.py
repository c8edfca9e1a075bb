"""Times that are corrected and moved, from Avro files through every job to every answer."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import fastavro
import pytest
from pyspark.sql import SparkSession

from dualpath.jobs.nightly import nightly
from dualpath.jobs.stream import start
from dualpath.online.connection import embedded_folder
from dualpath.parity.check import check
from dualpath.preview import preview
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources import files
from dualpath.sources.delimited import PLAIN
from dualpath.sources.directory import Directory
from parity_tests.both_ways import served_and_trained
from parity_tests.conftest import REPOS

START = datetime(2026, 3, 1, tzinfo=UTC)
MICROS = 1_772_323_200_000_000
HOUR = 3_600_000_000
COUNT = 60
SCHEMA = {
    "type": "record",
    "name": "tap",
    "fields": [{"name": "user", "type": "string"}]
    + [{"name": name, "type": "long"} for name in ("at", "sent", "arrived", "amount")],
}


def tap(random: Random, number: int) -> dict[str, Any]:
    """A tap that was sent a while after it happened, or planned for later, by a clock that is wrong by up to a year."""
    arrived = MICROS + number * HOUR // 3
    sent = random.randrange(MICROS - 9_000 * HOUR, MICROS + 9_000 * HOUR)
    ago = random.choice((1, HOUR, 5 * HOUR, -60_000_000, -300_000_000, -300_000_001, -9 * HOUR))
    return {
        "user": random.choice(("ann", "bob")),
        "at": sent - ago,
        "sent": sent,
        "arrived": arrived,
        "amount": random.randrange(100),
    }


@pytest.mark.slow
def test_corrected_times_are_the_same_previewed_served_and_trained(spark: SparkSession, tmp_path: Path) -> None:
    shutil.copytree(REPOS / "taps", tmp_path / "taps", ignore=shutil.ignore_patterns("__pycache__"))
    repo, random = Repo(tmp_path / "taps"), Random(0)
    repo.apply()
    [source], [view] = repo.sources.values(), repo.views.values()
    events = [tap(random, number) for number in range(COUNT)]
    landing = repo.storage(source.name).folder("landing")
    landing.mkdir(parents=True)
    with (tmp_path / "taps.avro").open("wb") as out:
        fastavro.writer(out, fastavro.parse_schema(SCHEMA, {}), events[: COUNT // 2])
    (landing / "1.jsonl").write_bytes(b"".join(files.payloads(tmp_path / "taps.avro", source, PLAIN)))
    # Some come again, sent and arrived later.
    again = [each | {"sent": each["sent"] + HOUR, "arrived": each["arrived"] + HOUR} for each in events[::7]]
    (landing / "2.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in (*events[COUNT // 2 :], *again)))
    at = START + timedelta(days=1)
    try:
        start(spark, repo, source, Directory(landing, 1)).awaitTermination()
        gate = nightly(spark, repo, source, START.date()).gate
        assert gate.passed and gate.checked == COUNT
        previewed = preview(view, events, at)
        served, trained = served_and_trained(repo, view, previewed, at)
        assert served == trained == previewed
        assert 0 < sum(row["wrong"] for row in previewed) < COUNT
        proof = check(repo, cells=2_000, oracle_cells=500, seed=0)
        assert (proof.differing, proof.oracle_differing) == (0, 0)
    finally:
        redis.stop(embedded_folder(repo.store.config))
