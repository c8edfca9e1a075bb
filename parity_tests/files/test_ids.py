"""Ids of accepted events in a folder and in an object store: a segment counts with all of its files or not at all."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from dualpath.dedup import segments, store
from dualpath.dedup.segments import CLOCK
from dualpath.dedup.store import DedupStore, placed, write_segment
from dualpath.files.places import Place, below, matching, relative
from dualpath.log import forms
from dualpath.log.accounts import Entry
from dualpath.log.forms import Forms
from dualpath.log.storage import Storage
from parity_tests.evolved import DAY, orders

NOBODY: Any = None
"""The Spark session of a store that makes no ids from the log."""


@pytest.fixture
def dedup(somewhere: Place, monkeypatch: pytest.MonkeyPatch) -> DedupStore:
    """The ids of two batches of ten that were merged into several files, and of one more in two."""
    monkeypatch.setattr(segments, "MERGE_FACTOR", 2)
    monkeypatch.setattr(store, "FILE_IDS", 6)
    storage = Storage(somewhere, "orders")
    storage.table.ensure(forms.schema(Forms.of(orders())))
    found = DedupStore(storage, orders())
    for batch, tasks in enumerate(([6, 4], [10], [1, 1])):
        entry = storage.begin(1, batch)
        draw = np.random.default_rng(batch)
        staged = [write_segment(ids(draw, count, batch), storage.folder("staging")) for count in tasks]
        files = placed(staged, found.folder / entry.name)
        counts = {"rows_read": sum(tasks), "accepted": sum(tasks), "clock": batch, "arrival_days": (DAY,)}
        entry = storage.finish(storage.note(entry, [], **counts))
        found.add(entry, files)
        found.compact_and_expire(batch)
    return found


def ids(draw: np.random.Generator, count: int, clock: int) -> np.ndarray:
    return segments.sort(np.stack([*draw.integers(-(2**63), 2**63 - 1, (2, count)), np.full(count, clock)]))


def loaded(dedup: DedupStore, monkeypatch: pytest.MonkeyPatch) -> tuple[DedupStore, list[Mapping[int, int]]]:
    """The store of a process that starts now, and the batches of which it makes ids from the log."""
    found, asked = DedupStore(dedup.storage, orders()), list[Mapping[int, int]]()
    monkeypatch.setattr(found, "_from_log", lambda spark, query, clocks: asked.append(clocks))
    found.load(NOBODY)
    return found, asked


def clocks(dedup: DedupStore) -> list[int]:
    """The clocks of all ids that a later batch is told of."""
    files = dedup.files_before(Entry(10**6, 0))
    return sorted(clock for file in files for clock in store._loaded(file)[CLOCK].tolist())


def test_segments_are_merged_and_loaded_as_they_are(dedup: DedupStore, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [relative(file, dedup.folder) for file in below(dedup.folder)]
    folders = sorted({name.rpartition("/")[0] for name in files})
    assert folders == ["query=1/batch=2", "query=1/batches=0-1"]
    for folder in folders:
        ends = sorted(name.rpartition("-")[2] for name in files if name.startswith(f"{folder}/"))
        assert len(ends) > 1 and ends == [f"{number}of{len(ends)}.npy" for number in range(1, len(ends) + 1)]
    found, asked = loaded(dedup, monkeypatch)
    assert asked == [] and clocks(found) == clocks(dedup) == [0] * 10 + [1] * 10 + [2] * 2
    assert {each.name: {*each.files} for each in found.segments} == {e.name: {*e.files} for e in dedup.segments}


@pytest.mark.parametrize("folder", ["query=1/batches=0-1", "query=1/batch=2"])
def test_a_segment_that_lacks_a_file_counts_for_nothing(
    folder: str, dedup: DedupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is gone or a listing does not have it yet."""
    matching(dedup.folder / folder, "*.npy")[-1].unlink()
    _, asked = loaded(dedup, monkeypatch)
    assert asked == [{0: 0, 1: 1, 2: 2}]


def test_a_segment_of_a_batch_that_is_not_in_the_log_is_not_loaded(
    dedup: DedupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, staging = np.random.default_rng(9), dedup.storage.folder("staging")
    placed([write_segment(ids(draw, 3, 3), staging)], dedup.folder / dedup.storage.begin(1, 3).name)
    found, asked = loaded(dedup, monkeypatch)
    assert asked == [] and len(clocks(found)) == 22
    assert matching(dedup.folder, "query=1/batch=3") == []
