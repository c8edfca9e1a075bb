"""A user's own decoder and source: the files that `docs/operations.md` shows, outside the package and with no edit."""

import importlib
import re
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from dualpath.console import status
from dualpath.console.stream import new_generation
from dualpath.jobs.build import build
from dualpath.jobs.stream import start
from dualpath.log.table import DEAD_LETTER
from dualpath.parity.check import check
from dualpath.repo import Repo
from dualpath.runtime.kafka import Broker
from dualpath.sources.kafka import Kafka
from dualpath.sources.source import PayloadSource
from parity_tests import faults, logged
from parity_tests.conftest import CHECKOUT, SOURCE
from parity_tests.sources.topics import send

EVENTS = faults.events()
LINES = faults.payloads(EVENTS)
MODULES = ("changes", "tables")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    """The modules of the documentation, each a file in one folder."""
    folder, text = tmp_path_factory.mktemp("own"), (CHECKOUT / "docs" / "operations.md").read_text()
    for name in MODULES:
        [code] = re.findall(rf"say in `{name}\.py`:\n\n```python\n(.*?)```", text, re.DOTALL)
        (folder / f"{name}.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name)


def stream(spark: SparkSession, repo: Repo, payloads: PayloadSource) -> None:
    """Run the stream to the end of what is there."""
    start(spark, repo, repo.sources[SOURCE], payloads).awaitTermination()


def test_a_decoder_in_a_file_of_its_own_feeds_the_stream(
    spark: SparkSession,
    new_repo: Callable[[], Repo],
    broker: Broker,
    topic: str,
    own: dict[str, ModuleType],
    expected: tuple[Counter[Any], Counter[str]],
) -> None:
    repo = new_repo()
    wrapped = [b'{"op": "c", "before": null, "after": ' + line + b"}" for line in LINES]
    strays = [b"no JSON", b'{"op": "d", "after": null}', LINES[0], b'{"op": "c", "after": [1]}']
    send(broker, topic, [*wrapped, *strays])
    # A user names the folder in PYTHONPATH; the workers of this session are there already.
    spark.sparkContext.addPyFile(str(own["changes"].__file__))
    source = replace(repo.sources[SOURCE], decoder=own["changes"].Changes())
    start(spark, repo, source, Kafka(broker.address, topic)).awaitTermination()
    assert faults.bits(repo) == expected
    assert faults.counts(repo)["rows_read"] == len(LINES) + len(strays)
    dead = {row["payload"]: row["reason"] for row in logged.rows(repo.storage(SOURCE), DEAD_LETTER).to_pylist()}
    assert dead == {
        b64encode(strays[0]).decode(): "not a change event of Debezium",
        b64encode(strays[1]).decode(): "the change is a deletion",
        b64encode(strays[2]).decode(): "not a change event of Debezium",
        "[1]": "not a JSON object",
    }


@pytest.mark.slow
def test_a_source_in_a_file_of_its_own_serves_the_bits_of_the_training_set(
    spark: SparkSession,
    new_repo: Callable[[], Repo],
    own: dict[str, ModuleType],
    expected: tuple[Counter[Any], Counter[str]],
    tmp_path: Path,
) -> None:
    repo, half = new_repo(), EVENTS.num_rows // 2
    payloads = own["tables"].Tables(tmp_path / "tables")
    payloads.folder.mkdir()
    pq.write_table(EVENTS.slice(0, half), payloads.folder / "1.parquet")
    stream(spark, repo, payloads)
    new_generation(spark, repo, repo.sources[SOURCE])
    pq.write_table(EVENTS.slice(half), payloads.folder / "2.parquet")
    stream(spark, repo, payloads)
    assert faults.counts(repo)["rows_read"] == EVENTS.num_rows
    assert faults.bits(repo) == expected
    found = status.report(repo)
    assert found.ok, found.errors
    build(spark, repo, repo.sources[SOURCE])
    proof = check(repo, cells=2_000, oracle_cells=500, seed=0)
    assert proof.cells >= 2_000
    assert (proof.differing, proof.oracle_differing) == (0, 0)
