"""Why rows were refused: the counts are exact, and the files of a block are read once."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dualpath.log.dead_letters import reasons

from dualpath.log import dead_letters, ledger
from dualpath.log.storage import Storage

SAID = ["not a JSON object", "amount is not finite: NaN", "amount is not finite: inf", "user is missing"]


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Eleven batches, each but every third with dead letters, in two blocks of four and three alone."""
    monkeypatch.setattr(ledger, "BLOCK", 4)
    return refuse(Storage(tmp_path, "clicks"), range(11))


def refuse(storage: Storage, batches: range) -> Storage:
    """Batches as a stream finishes them, some with dead letters."""
    for batch in batches:
        entry, said = storage.begin(1, batch), SAID[: batch % 3 * 2]
        if said:
            folder = storage.folder("dead") / entry.name
            folder.mkdir(parents=True)
            pq.write_table(pa.table({"reason": said}), folder / "part-0.parquet")
        done = storage.finish(storage.note(entry, rows_read=len(said), dead_letter=len(said)))
        dead_letters.keep(storage, done)
    return storage


def expected(batches: range) -> dict[str, int]:
    found = Counter(said.partition(":")[0] for batch in batches for said in SAID[: batch % 3 * 2])
    return dict(found)


def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files of dead letters that are read from now on."""
    opened: list[Path] = []
    honest = pq.read_table
    monkeypatch.setattr(pq, "read_table", lambda file, **named: (opened.append(file), honest(file, **named))[1])
    return opened


def test_the_files_of_a_block_are_not_read_again(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = read(monkeypatch)
    assert reasons(storage, storage.blocks()) == expected(range(11))
    assert {file.parent.name for file in opened} == {"batch=8", "batch=10"}
    found = reasons(storage, storage.blocks()[:1])
    assert found == expected(range(4)) and [*found] == ["amount is not finite", "not a JSON object", "user is missing"]
    assert len(opened) == 2


def test_a_block_whose_reasons_were_not_kept_is_read(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of an earlier version, or after a crash between the block and its reasons."""
    for file in (storage.folder("ledger") / "reasons").rglob("*.json"):
        file.unlink()
    opened = read(monkeypatch)
    assert reasons(storage, storage.blocks()) == expected(range(11))
    assert len(opened) == 7


def test_reasons_are_not_kept_while_a_file_cannot_be_read(storage: Storage) -> None:
    refuse(storage, range(11, 12))
    file = storage.folder("dead") / "query=1/batch=10/part-0.parquet"
    content = file.read_bytes()
    file.write_bytes(b"broken")
    refuse(storage, range(12, 14))
    assert sum(reasons(storage, storage.blocks()).values()) == sum(expected(range(14)).values()) - 2
    file.write_bytes(content)
    assert reasons(storage, storage.blocks()) == expected(range(14))
