"""What a stream refuses to go on with: another stream's checkpoint, other rows, state of another declaration."""

import re
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.errors.exceptions.base import StreamingQueryException
from pyspark.sql import SparkSession

from dualpath.errors import CollisionError, OtherDeclarationError, StateError
from dualpath.jobs.nightly import nightly
from dualpath.log.generation import present
from dualpath.online import keys, manifest
from dualpath.online.connection import connect
from dualpath.online.writer import TEXTS, FencedWrite
from dualpath.record import Fence, layout
from dualpath.repo import Repo
from dualpath.sources.directory import Directory
from dualpath.sources.kafka import Kafka
from dualpath.words import code
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE, drain
from parity_tests.jobs.stream import LINES, LINES_CONTENT, write
from parity_tests.saved import Saved


def test_a_write_with_an_older_or_equal_fence_is_skipped_and_a_newer_one_lands(calm: Repo) -> None:
    record = [7] * layout(calm.views["product_activity"]).width
    trail = [(2, 5, 1), (2, 5, 0), (2, 4, 0), (1, 9, 0), (1, 2**40, 0), (2, 6, 1), (3, 0, 1), (2, 7, 0), (3, 0, 0)]
    done = [write(calm, Fence(query, batch), "fenced", record) for query, batch, _ in trail]
    assert done == [expected for *_, expected in trail]
    [key] = connect(calm.redis_address).keys("*}fenced")
    value = connect(calm.redis_address).getdel(key)
    assert layout(calm.views["product_activity"]).unpack(value).tolist() == [record] * sum(done)


def test_two_writers_of_one_manifest_do_not_undo_each_other(calm: Repo) -> None:
    """The stream makes an arrival day known; between its look at the manifest and its change, a night publishes."""
    client, nights = connect(calm.redis_address), []
    manifest.place(client, "other", "view", manifest.Manifest("n1"))

    def with_arrival_day(known: manifest.Manifest) -> manifest.Manifest:
        if not nights:
            nights.append(
                manifest.move(client, "other", "view", lambda p: p.at("2026-03-01", 0, "digest", "view_version"))
            )
        return known.with_arrival_days(["2026-03-01", "2026-03-02"])

    moved = manifest.move(client, "other", "view", with_arrival_day)
    assert moved == manifest.read(client, "other", "view")
    assert (moved.snapshot, moved.arrival_days, moved.digest) == ("2026-03-01", ("2026-03-02",), "digest")


def test_a_second_stream_on_one_checkpoint_is_refused(calm: Repo) -> None:
    storage = calm.storage(SOURCE)
    with storage.alone(), pytest.raises(StateError, match="another stream is running on this checkpoint"):
        storage.alone().__enter__()
    with storage.alone():
        pass


@pytest.mark.parametrize("lost", ["checkpoint", "checkpoint/generation", "checkpoint/query=1"])
def test_a_lost_checkpoint_is_refused_before_anything_is_read_twice(
    lost: str, spark: SparkSession, calm: Repo, tmp_path: Path
) -> None:
    folder = calm.root / SOURCE / lost
    before = faults.bits(calm)
    folder.rename(tmp_path / "lost")
    with pytest.raises(StateError, match="the checkpoint is gone but the log has its rows"):
        drain(spark, calm)
    assert faults.bits(calm) == before
    shutil.rmtree(folder, ignore_errors=True)
    (tmp_path / "lost").rename(folder)


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (Kafka("localhost:9092", "shop_events"), "the topic shop_events"),
        (Kafka("localhost:9092", pattern="shop_.*"), "the topics shop_.*"),
    ],
)
def test_a_checkpoint_goes_on_only_with_what_it_was_made_from(other: Kafka, name: str, calm: Repo) -> None:
    storage = calm.storage(SOURCE)
    assert present(storage, Directory(calm.root).name) == present(storage, Directory(calm.folder).name)
    said = f"the checkpoint is of a stream that reads the files of a folder, and this one reads {name}. Read what"
    with pytest.raises(StateError, match=re.escape(said)):
        present(storage, other.name)


def test_an_old_checkpoint_whose_batches_hold_other_rows_is_refused(
    spark: SparkSession, new_repo: Callable[[], Repo], tmp_path: Path
) -> None:
    repo = new_repo()
    checkpoint = repo.storage(SOURCE).folder("checkpoint")
    faults.post(repo, LINES[:10])
    drain(spark, repo)
    shutil.copytree(checkpoint, tmp_path / "backup")
    faults.post(repo, LINES[10:20])
    drain(spark, repo)
    shutil.rmtree(checkpoint)
    shutil.copytree(tmp_path / "backup", checkpoint)
    faults.post(repo, LINES[20:35])
    with pytest.raises(StreamingQueryException, match="the checkpoint is not the one the log was written with"):
        drain(spark, repo)
    assert faults.counts(repo)["rows_read"] == 20


def test_two_texts_with_one_code_stop_the_stream_until_one_is_changed(
    spark: SparkSession, new_repo: Callable[[], Repo], expected: tuple[Counter[Any], Counter[str]]
) -> None:
    repo = new_repo()
    client, texts = connect(repo.redis_address), keys.dictionary(repo.project)
    client.hset(texts, str(code("category_001")), "quite another text")
    faults.post(repo, LINES)
    with pytest.raises(StreamingQueryException, match="'quite another text' and 'category_001' have the same 64-bit"):
        drain(spark, repo)
    assert not any(entry.done for entry in logged.entries(repo.storage(SOURCE)))
    client.hdel(texts, str(code("category_001")))
    drain(spark, repo)
    assert faults.bits(repo) == expected


def test_two_new_texts_with_one_code_are_found_within_one_write(calm: Repo) -> None:
    one, other = "category_collide", "lhoxhzctDk89<U/%"
    assert code(one) == code(other)
    rows = pa.record_batch([[TEXTS] * 2, [""] * 2, [one, other], [[code(one)]] * 2],
                           ["view", "arrival_day", "entity", "words"])  # fmt: skip
    target = FencedWrite(calm.redis_address, calm.project, {}, Fence(9, 9))
    with pytest.raises(CollisionError, match="have the same 64-bit code"):
        list(target.write([rows]))
    connect(calm.redis_address).hdel(keys.dictionary(calm.project), str(code(one)))


@pytest.fixture(scope="module")
def streamed(spark: SparkSession, new_repo: Callable[[], Repo], tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A repo whose stream has read half of the lines."""
    repo = new_repo()
    faults.post(repo, LINES[:300])
    drain(spark, repo)
    return Saved(repo, tmp_path_factory.mktemp("streamed"))


@pytest.fixture
def redeclared(streamed: Saved, tmp_path: Path) -> Repo:
    """It, and then another meaning of a view's feature; the old registry is kept in `tmp_path`."""
    repo = streamed.again()
    shutil.copy(repo.folder / "data/registry.db", tmp_path)
    declared = repo.folder / "product_activity.py"
    declared.write_text(declared.read_text().replace("'view_item'", "'purchase'"))
    repo.apply()
    return Repo(repo.folder)


def test_state_of_another_declaration_is_neither_read_nor_added_to_until_it_is_published_anew(
    spark: SparkSession, redeclared: Repo
) -> None:
    before, last = faults.stored(redeclared), redeclared.storage(SOURCE).arrival_days()[-1]
    with pytest.raises(StateError, match="view 'product_activity': the state was written for another declaration"):
        faults.values(redeclared, faults.log(redeclared))
    faults.post(redeclared, LINES[300:])
    with pytest.raises(OtherDeclarationError, match="the online store holds state of another declaration of a view"):
        drain(spark, redeclared)
    source = redeclared.sources[SOURCE]
    with pytest.raises(StateError, match=f"Its last day is {last}: run the night of that day, not of 2026-03-01"):
        nightly(spark, redeclared, source, date(2026, 3, 1))
    assert faults.stored(redeclared) == before

    nightly(spark, redeclared, source, date.fromisoformat(last))
    assert faults.misserved(redeclared, faults.log(redeclared)) == []
    drain(spark, redeclared)
    assert sum(faults.ids(redeclared).values()) == len(set(LINES_CONTENT))
    assert faults.misserved(redeclared, faults.log(redeclared)) == []


def test_after_a_refusal_the_old_declaration_can_still_go_on(
    spark: SparkSession, redeclared: Repo, tmp_path: Path, expected: tuple[Counter[Any], Counter[str]]
) -> None:
    faults.post(redeclared, LINES[300:])
    with pytest.raises(OtherDeclarationError, match="the online store holds state of another declaration of a view"):
        drain(spark, redeclared)
    shutil.copy(tmp_path / "registry.db", redeclared.folder / "data")
    repo = Repo(redeclared.folder)
    drain(spark, repo)
    assert faults.bits(repo) == expected


def test_a_part_with_records_of_another_layout_is_never_appended_to(calm: Repo) -> None:
    width = layout(calm.views["product_activity"]).width
    redis_, part = connect(calm.redis_address), keys.prefix(calm.project, "n1", "product_activity", "e2026-03-01")
    redis_.set(part + keys.tagged("foreign"), b"\1\0\0\0" + bytes(20))
    with pytest.raises(OtherDeclarationError, match="start the stream with"):
        write(calm, Fence(9, 9), "foreign", [7] * width)
    [key] = redis_.keys("*}foreign")
    assert redis_.getdel(key) == b"\1\0\0\0" + bytes(20)
