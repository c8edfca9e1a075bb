"""What is delivered into the landing folder is read, whatever its name is, or named by `dualpath status`."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from dualpath.console import status
from dualpath.console.stream import new_generation
from dualpath.log.accounts import Entry
from dualpath.log.generation import checkpoint
from dualpath.log.storage import Storage
from dualpath.repo import Repo
from dualpath.sources.delivery import UNKNOWN, Delivery, delivery, version
from dualpath.sources.directory import Directory
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE, drain

LINES = faults.payloads(faults.events())
NAMES = [
    *("plain.jsonl", "a b.jsonl", "a[1].jsonl", "q?.jsonl", "p%20.jsonl", "p%.jsonl", "é 日.jsonl", "a+b#c.jsonl"),
    *("*.jsonl", "{x}.jsonl", "a\\b.jsonl", "a:b.jsonl", "k=1/plain.jsonl", "_k=1/plain.jsonl", "su:b/é?/plain.jsonl"),
]


def put(folder: Path, name: str, text: bytes) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text)
    return file


def test_every_name_is_read_in_subfolders_too_and_left_out_by_a_later_query(
    spark: SparkSession, tmp_path: Path
) -> None:
    landing = Directory(tmp_path / "of a[b]?{c} é" / "landing")
    for name in NAMES:
        put(landing.folder, name, b"{}\n{}")
    places = Counter[tuple[str, int]]()

    def collect(batch: DataFrame, number: int) -> None:
        places.update((row.origin, row.position) for row in batch.collect())

    for query in (1, 2):
        put(landing.folder, f"{query}.jsonl", b"{}")
        writer = landing.read(spark, dict(places.keys())).writeStream.option(
            "checkpointLocation", str(tmp_path / f"{query}")
        )
        writer.foreachBatch(collect).trigger(availableNow=True).start().awaitTermination()
    storage = Storage(landing.folder.parent.parent, landing.folder.parent.name)
    logged.commit(storage, Entry(1, 0, positions=dict(places.keys())))
    assert sorted(places.values()) == [1, 1, *[2] * len(NAMES)]
    assert delivery(storage) == Delivery([], [], [])


def test_a_file_that_changed_after_it_was_read_is_named_until_it_is_moved_away(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    repo = new_repo()
    storage, source = repo.storage(SOURCE), repo.sources[SOURCE]
    landing, pieces = storage.folder("landing"), [b"\n".join(LINES[n : n + 10]) for n in range(0, 50, 10)]
    grown, replaced = put(landing, "day/1.jsonl", pieces[0]), put(landing, "2.jsonl", pieces[1])
    filled = put(landing, "3.jsonl", b"")
    drain(spark, repo)
    assert status.report(repo).ok

    with grown.open("ab") as file:
        file.write(b"\n" + pieces[2])
    replaced.write_bytes(pieces[1].swapcase())
    filled.write_bytes(pieces[3])
    put(landing, "1.jsonl", pieces[4])
    assert delivery(storage).waiting == ["1.jsonl"]
    drain(spark, repo)
    assert faults.counts(repo)["rows_read"] == 30
    found = status.report(repo)
    assert not found.ok and found.data["adds_up"]
    assert found.errors == [
        "shop_events: changed after the stream had read it, and not read again: landing/2.jsonl, landing/3.jsonl, "
        "landing/day/1.jsonl; deliver what is new in it under a name of its own, and move it away."
    ]

    # What was read without a row in it can be read from the beginning.
    new_generation(spark, repo, source)
    drain(spark, repo)
    assert faults.counts(repo)["rows_read"] == 40
    assert delivery(storage).changed == ["2.jsonl", "day/1.jsonl"]
    put(landing, "day/new.jsonl", pieces[2])
    for file in (grown, replaced):
        file.rename(repo.folder / file.name)
    drain(spark, repo)
    assert faults.counts(repo)["rows_read"] == 50
    assert status.report(repo).ok


def test_what_the_stream_passes_over_is_named_and_what_is_under_way_is_not(tmp_path: Path) -> None:
    storage = Storage(tmp_path, "clicks")
    landing = storage.folder("landing")
    for name in ("a.csv", "b.jsonl.gz", "_c.jsonl", "sub/_d/e.jsonl", "F.JSONL"):
        put(landing, name, b"{}")
    for name in (".a.jsonl", ".b/c.jsonl", "sub/.d.tmp"):
        put(landing, name, b"{}")
    put(landing, "_SUCCESS", b"")
    (landing / "round.jsonl").symlink_to("round.jsonl")
    Path(os.fsdecode(os.fsencode(landing) + b"/\xff.jsonl")).write_bytes(b"{}")
    found = delivery(storage)
    assert found.ignored == ["F.JSONL", "_c.jsonl", "a.csv", "b.jsonl.gz", "sub/_d/e.jsonl", "\ufffd.jsonl"]
    assert (found.changed, found.waiting) == ([], [])
    [said] = status.unread(found)
    assert "landing/b.jsonl.gz, landing/sub/_d/e.jsonl and 1 more file; give it to `dualpath ingest`" in said


def test_a_ledger_that_knows_no_versions_says_that_its_files_were_read(tmp_path: Path) -> None:
    storage = Storage(tmp_path, "clicks")
    state = put(storage.folder("landing"), "a b.jsonl", b"{}").stat()
    known = {"a%20b.jsonl": UNKNOWN, "shop/0": 7}
    logged.commit(storage, Entry(1, 0, positions=known))
    assert delivery(storage) == Delivery([], [], [])
    known["a%20b.jsonl"] = version(state.st_size, state.st_mtime_ns // 1_000_000) - 1
    logged.commit(storage, Entry(2, 0, positions=known))
    assert delivery(storage).changed == ["a b.jsonl"]


@pytest.mark.parametrize("offset", ["12", '{"shop":{"0":7}}'])
def test_the_checkpoint_of_a_source_that_reads_no_files_has_taken_none(tmp_path: Path, offset: str) -> None:
    storage = Storage(tmp_path, "clicks")
    put(storage.folder("landing"), "a.jsonl", b"{}")
    logged.commit(storage, Entry(1, 0, positions={"shop/0": 7}))
    put(checkpoint(storage, 1), "offsets/0", f"v1\n{{}}\n{offset}".encode())
    (checkpoint(storage, 1) / "sources" / "0").mkdir(parents=True)
    assert delivery(storage) == Delivery([], [], ["a.jsonl"])
