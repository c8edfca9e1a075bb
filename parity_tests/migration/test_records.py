"""Record files of the previous version become Delta tables, and stay valid."""

import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from dualpath.errors import StateError
from dualpath.log.storage import Storage
from dualpath.migration.job import migrate
from dualpath.migration.records import migrate as migrate_records
from dualpath.offline import buckets
from dualpath.offline.history import DICTIONARY, RECORDS, History, view_version
from dualpath.repo import Repo
from dualpath.steps import Step
from parity_tests import faults
from parity_tests.conftest import SOURCE
from parity_tests.migration.test_migrate import ARCHIVE

DICTIONARY_OF = f"{DICTIONARY}/{SOURCE}"


@pytest.fixture
def history(tmp_path: Path, applied: Path) -> History:
    """The previous version's record files, beside a log that is migrated."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    migrate(Storage(tmp_path, SOURCE), Repo(applied).sources[SOURCE])
    return History(tmp_path)


def names(applied: Path) -> list[str]:
    return [DICTIONARY_OF, *(view_version(part) for part in Repo(applied).parts)]


def before(history: History, name: str) -> Counter[str]:
    """The rows of the parts that the index names."""
    folder = history.folder(name)
    index = json.loads((folder / "index.json").read_text())
    files = [str(file) for part, _ in index.values() for file in (folder / part).glob("*.parquet")]
    return Counter(map(str, ds.dataset(files, format="parquet").to_table().to_pylist()))


def after(history: History, name: str) -> Counter[str]:
    return Counter(map(str, ds.dataset(history.paths(name), format="parquet").to_table().to_pylist()))


def test_every_record_is_brought_over_and_nothing_has_to_be_built_again(history: History, applied: Path) -> None:
    rows = {name: before(history, name) for name in names(applied)}
    parts = {name: json.loads((history.folder(name) / "index.json").read_text()) for name in rows}
    assert migrate_records(history.root, [Storage(history.root, SOURCE)]) == 16
    for name, expected in rows.items():
        assert after(history, name) == expected and expected.total() >= 10
        assert {day: [*part] for day, part in history.index(name).items()} == parts[name]
        assert not [f for f in history.folder(name).iterdir() if f.name == "index.json" or f.name.startswith("2026")]
    for part in Repo(applied).parts:
        history.require(part)
    assert migrate_records(history.root, []) == 0


@pytest.mark.parametrize(
    ("step", "more"),
    [
        (Step.COMMIT, {}),
        (Step.COMMIT, {"after": True}),
        (Step.MIGRATE_RECORDS, {"nth": 2}),
        (Step.MIGRATE_RECORDS, {"nth": 2, "after": True}),
    ],
)
def test_one_that_was_cut_off_goes_on(
    step: Step, more: dict[str, bool], history: History, applied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {name: before(history, name) for name in names(applied)}
    with monkeypatch.context() as patched:
        faults.crash_at(patched, step, **more)
        with pytest.raises(faults.Crash):
            migrate_records(history.root, [])
    migrate_records(history.root, [])
    assert {name: after(history, name) for name in rows} == rows
    for name in rows:
        files = {str(f) for f in history.folder(name).rglob("*.parquet") if "_delta_log" not in f.parts}
        assert files == {*history.paths(name)}


def test_a_part_that_has_lost_a_file_is_built_again(history: History, applied: Path) -> None:
    part = Repo(applied).parts[0]
    [lost] = history.folder(view_version(part)).glob("2026-03-02-*/*.parquet")
    lost.unlink()
    migrate_records(history.root, [])
    assert "2026-03-02" not in history.index(view_version(part))
    with pytest.raises(StateError, match="its record files lack events of 2026-03-02; run `dualpath batch`"):
        history.require(part)


def test_files_of_buckets_stay_those_of_their_buckets(tmp_path: Path) -> None:
    history, name = History(tmp_path), "seen-0123abcd"
    table = pa.table({"entity": ["ann"], "words": [[1]], "arrived": [1], "batch": [2]}, RECORDS)
    files = {"bucket-3-of-8-a.parquet": "3-of-8", "bucket-1-of-2-b.parquet": "1-of-2", "c.parquet": buckets.ALL}
    folder = history.folder(name) / "2026-03-01-0123"
    folder.mkdir(parents=True)
    for file in files:
        pq.write_table(table, folder / file)
    size = sum(file.stat().st_size for file in folder.iterdir())
    index = {"2026-03-01": [folder.name, size], "2026-03-02": ["2026-03-02-4567", 0], "2026-03-03": "2026-03-03-89"}
    (folder.parent / "index.json").write_text(json.dumps(index))
    migrate_records(tmp_path, [])
    found = history.table(name).snapshot().files()
    assert sorted(file.bucket for file in found if file.rows) == sorted(files.values())
    assert {day: part.size for day, part in history.index(name).items()} == {"2026-03-01": size, "2026-03-02": 0}
    shutil.rmtree(tmp_path / "records")
    assert history.index(name) == {}
