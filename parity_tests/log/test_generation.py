"""Which checkpoint a stream goes on with, if it is with the data and if it is elsewhere."""

from dataclasses import replace
from pathlib import Path

import pytest

from dualpath.errors import InputError, LostCheckpointError, StateError
from dualpath.feast.offline import DualpathOfflineStoreConfig
from dualpath.files import checkpoint_place
from dualpath.files.places import Place, place, remove
from dualpath.log.accounts import Entry
from dualpath.log.generation import begin_next, checkpoint, is_lost, location, present
from dualpath.log.storage import Storage
from dualpath.runtime import doctor
from parity_tests import logged

READS = "the files of a folder"


@pytest.fixture(params=["with the data", "elsewhere"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(tmp_path / "data", "orders", tmp_path / "here" if request.param == "elsewhere" else None)


@pytest.fixture
def here(tmp_path: Path) -> Storage:
    """A source whose stream runs on this machine."""
    return Storage(tmp_path / "data", "orders", tmp_path / "here")


@pytest.fixture
def there(here: Storage, tmp_path: Path) -> Storage:
    """The same on another machine."""
    return replace(here, checkpoints=tmp_path / "there")


def started(storage: Storage, *, batches: int = 0) -> Place:
    """A stream that starts, as Spark does: it makes its checkpoint, then takes batches; answers the checkpoint."""
    number = present(storage, READS)
    folder = checkpoint(storage, number)
    assert isinstance(folder, Path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata").touch()
    done, _ = storage.reached()
    first = done.batch + 1 if done.query == number else 0
    for batch in range(first, first + batches):
        logged.commit(storage, Entry(number, batch, rows_read=1, skipped=1))
    return folder


def test_a_generation_goes_on_with_its_checkpoint(storage: Storage) -> None:
    folder = started(storage, batches=1)
    assert started(storage, batches=1) == folder == checkpoint(storage, 1) and not is_lost(storage)
    begin_next(storage)
    assert started(storage, batches=1) == checkpoint(storage, 2) != folder


def test_one_that_has_begun_nothing_may_lose_its_checkpoint(storage: Storage) -> None:
    remove(started(storage))
    assert not is_lost(storage) and present(storage, READS) == 1
    remove(started(storage, batches=1))
    assert is_lost(storage)
    begin_next(storage)
    assert not is_lost(storage) and present(storage, READS) == 2


def test_a_lost_one_is_named(storage: Storage) -> None:
    remove(folder := started(storage, batches=1))
    with pytest.raises(LostCheckpointError, match="the checkpoint is gone but the log has its rows") as refused:
        present(storage, READS)
    elsewhere = ", or start the stream on the machine that has it" if storage.checkpoints else ""
    assert refused.value.message.endswith(f"or restore {folder}{elsewhere}.")


def test_it_goes_on_with_what_it_reads_alone(storage: Storage) -> None:
    started(storage, batches=1)
    with pytest.raises(StateError, match=f"is of a stream that reads {READS}, and this one reads the topic x"):
        present(storage, "the topic x")


def test_a_checkpoint_with_the_data_has_the_name_that_it_always_had(tmp_path: Path) -> None:
    storage = Storage(tmp_path, "orders")
    assert started(storage) == tmp_path / "orders/checkpoint/query=1"
    assert (tmp_path / "orders/checkpoint/generation").read_text() == f"1\n{READS}"


def test_another_machine_goes_on_behind_the_log_and_the_first_one_is_told(here: Storage, there: Storage) -> None:
    old = started(here, batches=2)
    assert old.parent == here.checkpoints / "orders"
    with pytest.raises(LostCheckpointError):
        present(there, READS)
    begin_next(there)
    started(there, batches=1)
    assert old.exists() and not (here.folder("checkpoint") / old.name).exists()
    assert checkpoint(there, 1).name == "query=1"  # whose mark nobody knows any more
    with pytest.raises(LostCheckpointError):
        present(here, READS)


def test_a_checkpoint_that_another_machine_has_overtaken_is_not_gone_on_with(here: Storage, there: Storage) -> None:
    """It has planned a batch that it never began."""
    started(here)
    started(there, batches=2)
    with pytest.raises(LostCheckpointError):
        present(here, READS)
    assert started(there) == checkpoint(there, 1)


def test_the_checkpoint_of_data_that_were_here_before_is_not_gone_on_with(here: Storage) -> None:
    old = started(here, batches=1)
    remove(here.root)
    assert present(here, READS) == 1 and checkpoint(here, 1) != old


def test_a_checkpoint_that_was_with_the_data_can_be_moved(here: Storage) -> None:
    with_data = replace(here, checkpoints=None)
    old = started(with_data, batches=1)
    with pytest.raises(LostCheckpointError):
        present(here, READS)
    new = checkpoint(here, 1)
    assert isinstance(new, Path) and isinstance(old, Path)
    new.parent.mkdir(parents=True)
    old.rename(new)
    assert present(here, READS) == 1 and not is_lost(here)


def test_spark_is_told_of_a_folder_of_this_machine(tmp_path: Path) -> None:
    assert location(Path("data/checkpoint")) == f"file://{Path.cwd()}/data/checkpoint"
    assert location(tmp_path / "a b%") == f"file://{tmp_path}/a b%"
    assert location(place("s3://bucket/a")) == "s3://bucket/a"


@pytest.mark.parametrize(
    ("path", "chosen", "said"),
    [
        ("s3://b/data", "checkpoints", "is checkpoints; give an absolute path, as /var/lib/dualpath/checkpoints."),
        ("s3://b/data", "ftp://b", "is ftp://b: data can be in a folder, or at s3://, gs:// or abfss://."),
        ("data", "s3://b", "is s3://b, and data is kept at data; Spark reads one kind of store, so keep both at s3://"),
        ("gs://b/data", "s3://b", "is s3://b, and data is kept at gs://b/data; Spark reads one kind of store"),
    ],
)
def test_what_cannot_have_checkpoints_is_refused_with_the_settings(path: str, chosen: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        DualpathOfflineStoreConfig(path=path, checkpoints=chosen)
    assert refused.value.message.startswith(f"feature_store.yaml: offline_store.checkpoints {said}")


@pytest.mark.parametrize(("path", "chosen"), [("data", "/a"), ("s3://b", "/a"), ("s3://b", "s3://c/a"), ("data", None)])
def test_what_can_is_taken(path: str, chosen: str | None) -> None:
    assert DualpathOfflineStoreConfig(path=path, checkpoints=chosen).checkpoints == chosen


def test_a_folder_that_cannot_be_written_to_is_refused_by_the_doctor_and_before_a_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    storage = Storage(tmp_path / "data", "orders", tmp_path / "file/checkpoints")
    with pytest.raises(InputError, match=r"file/checkpoints, which offline_store.checkpoints names, cannot be written"):
        present(storage, READS)
    assert not (storage.folder("checkpoint") / "generation").exists()
    found = doctor.examine_checkpoints(tmp_path / "file/checkpoints")
    assert (found.name, found.ok) == ("Checkpoints", False) and "(not a directory)" in found.remedy
    assert doctor.examine_checkpoints(tmp_path / "new/checkpoints").ok
    checkpoint_place.require(None)
