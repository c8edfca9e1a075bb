"""A driver: commands of dualpath one after another, which share a Spark session, as in a notebook."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dualpath.cli import app
from dualpath.repo import Repo

TRAIN = "train"
"""The command, of the tests alone, that writes a training set."""


def run(repo: Path, *commands: Sequence[str]) -> None:
    """Run commands on a repo; ends this process if one of them fails."""
    for name, *words in commands:
        print(name, file=sys.stderr, flush=True)
        if name == TRAIN:
            pq.write_table(train(Repo(repo), pq.read_table(words[0]), spark_above_rows=int(words[2])), words[1])
        elif code := app([name, "--repo", str(repo), *words], standalone_mode=False):
            raise SystemExit(f"{name} ended with {code}")


def train(repo: Repo, rows: pa.Table, spark_above_rows: int) -> pa.Table:
    """A training set of all features."""
    repo.store.config.offline_store.spark_above_rows = spark_above_rows
    names = [f"{view.name}:{feature.name}" for view in repo.views.values() for feature in view.features]
    return repo.store.get_historical_features(entity_df=rows, features=names).to_arrow()


if __name__ == "__main__":
    run(Path(sys.argv[1]), *json.loads(sys.argv[2]))
