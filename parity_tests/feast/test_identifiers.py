"""Ids of 64 bits, from files through the stream, the batch job and the nightly job to both answers, in every digit."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from dualpath.jobs.build import build
from dualpath.jobs.nightly import nightly
from dualpath.jobs.stream import start
from dualpath.online.connection import embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources import files
from dualpath.sources.delimited import PLAIN
from dualpath.sources.directory import Directory
from parity_tests.conftest import REPOS

IDS = [2**63 - 1, 1 - 2**63, 2**53 + 1, 2**53, 0, -1]
START = datetime(2026, 3, 1, tzinfo=UTC)
FEATURES = [f"account_transfers:{name}" for name in ("last", "latest", "peers", "n_peers", "to_odd")]


def transfers() -> pa.Table:
    """Each account pays the two ids after it in turn, thrice, and then null."""
    rows = [
        (f"t{at}-{n}", START + timedelta(minutes=10 * n + at), account, (IDS * 2)[at + 1 + n % 2] if n < 3 else None)
        for at, account in enumerate(IDS)
        for n in range(4)
    ]
    names = ["transfer", "at", "account_id", "peer"]
    columns = [pa.array(column) for column in zip(*rows, strict=True)]
    return pa.table(columns, names=names)


def answer(peers: list[int]) -> list[object]:
    """What the features are of the peers of an account, first to last."""
    return [peers[-1], peers[::-1][:3], sorted(set(peers)), len(set(peers)), peers.count(2**53 + 1)]


@pytest.mark.slow
def test_ids_of_64_bits_are_the_same_in_files_served_and_trained(spark: SparkSession, tmp_path: Path) -> None:
    shutil.copytree(REPOS / "ids", tmp_path / "ids", ignore=shutil.ignore_patterns("__pycache__"))
    repo = Repo(tmp_path / "ids")
    repo.apply()
    source, table = repo.sources["transfers"], transfers()
    # Half of the events come from Parquet, half from CSV.
    pq.write_table(table.slice(0, 12), tmp_path / "transfers.parquet")
    pa.csv.write_csv(table.slice(12), tmp_path / "transfers.csv")
    landing = repo.storage("transfers").folder("landing")
    landing.mkdir(parents=True)
    for name in ("parquet", "csv"):
        lines = files.payloads(tmp_path / f"transfers.{name}", source, PLAIN)
        (landing / f"{name}.jsonl").write_bytes(b"".join(lines))
    at = START + timedelta(days=1)
    rows = pd.DataFrame({"account_id": IDS, "event_timestamp": [at] * len(IDS)})
    expected = [answer([(IDS * 2)[n + 1 + each % 2] for each in range(3)]) for n in range(len(IDS))]
    try:
        start(spark, repo, source, Directory(landing, 1)).awaitTermination()
        online = repo.store.get_online_features(FEATURES, rows.to_dict("records")).to_arrow()
        build(spark, repo, source)
        trained = repo.store.get_historical_features(rows, FEATURES).to_arrow()
        night = nightly(spark, repo, source, START.date())
        after = repo.store.get_online_features(FEATURES, rows.to_dict("records")).to_arrow()
    finally:
        redis.stop(embedded_folder(repo.store.config))
    assert night.gate.passed and night.gate.checked == len(table)
    names = [name.split(":")[1] for name in FEATURES]
    for found in (online, trained, after):
        assert found["account_id"].type == found["last"].type == pa.int64()
        by_account = {row["account_id"]: [row[name] for name in names] for row in found.to_pylist()}
        assert [by_account[account] for account in IDS] == expected
