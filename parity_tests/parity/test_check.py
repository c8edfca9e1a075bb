"""The parity check itself: it repeats itself, reads what it has drawn, and fails where a store is damaged."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dualpath.offline.history import History, view_version
from dualpath.online import keys, manifest
from dualpath.online.connection import connect
from dualpath.parity import check as checking
from dualpath.parity import events
from dualpath.parity.check import Certificate, check
from dualpath.repo import Repo
from parity_tests.conftest import SOURCE

VIEW = "product_activity"


def checked(repo: Repo) -> Certificate:
    return check(repo, cells=2_000, oracle_cells=1_000, seed=3)


def test_the_same_repo_and_seed_give_the_same_certificate(shop: Repo) -> None:
    once = checked(shop)
    assert once.passed and once.cells >= 2_000 and once.oracle_cells >= 1_000
    assert checked(shop) == once


def test_the_oracle_gets_the_events_of_the_drawn_entities_alone(shop: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "ROWS", 50)
    scanned, honest = [], events.Log.batches

    def batches(self: events.Log, *given: Any) -> Iterator[pa.RecordBatch]:
        for batch in honest(self, *given):
            scanned.append(batch)
            yield batch

    compared = []

    def compare(group: Any, logs: Any, entities: Any, *given: Any) -> tuple[int, list[Any]]:
        [log], [key] = logs, entities
        named = log.to_table()[group.views[0].key_columns[0]]
        assert pc.all(pc.is_in(named, key)).as_py() and pc.all(named.is_valid()).as_py()
        compared.append(len(named))
        return 1, []

    monkeypatch.setattr(events.Log, "batches", batches)
    monkeypatch.setattr(checking, "compare_with_oracle", compare)
    check(shop, cells=100, oracle_cells=50)
    assert max(batch.num_rows for batch in scanned) <= 50 and max(len(batch.schema) for batch in scanned) == 2
    assert len(compared) == 2 and 0 < max(compared) < shop.storage(SOURCE).accounts().total().accepted


@pytest.mark.parametrize("damaged", ["record file", "Redis value"])
def test_a_damaged_store_is_noticed(damaged: str, shop: Repo) -> None:
    view = shop.views[VIEW]
    if damaged == "record file":
        records = History(shop.root).table(view_version(view))
        before, damaged_files = records.snapshot().files(), []
        for file in before:
            table = pq.ParquetFile(records.folder / file.path).read()
            # Each record says that its event happened a week before.
            words = [[words[0] - 7 * 86_400_000_000, *words[1:]] for words in table["words"].to_pylist()]
            path = file.path.replace("part-", "damaged-")
            at = table.column_names.index("words")
            changed = table.set_column(at, "words", pa.array(words, table["words"].type))
            pq.write_table(changed, records.folder / path)
            damaged_files.append(replace(file, path=path, size=(records.folder / path).stat().st_size))
        records.commit("WRITE", damaged_files, before)
    else:
        redis: Any = connect(shop.redis_address)
        known = manifest.read(redis, shop.project, VIEW)
        found = [
            key
            for part in known.parts
            for key, _ in keys.states(redis, shop.project, namespace=known.namespace, views=[VIEW], part=part)
        ]
        kept = {key: redis.get(key) for key in found}
        redis.delete(*found[: len(found) // 2])
    try:
        said = checked(shop)
    finally:
        if damaged == "record file":
            records.commit("WRITE", before, damaged_files)
        else:
            for key, content in kept.items():
                redis.set(key, content)
    assert not said.passed and said.examples
    assert {row.view for row in said.rows if row.differing} == {VIEW}
    assert bool(said.oracle_differing) == (damaged == "record file")
    assert checked(shop).passed
