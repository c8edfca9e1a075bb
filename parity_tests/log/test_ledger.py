"""The ledger folds finished batches into blocks, and nobody who asks it can tell."""

from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dualpath.log import ledger, spans
from dualpath.log.outcomes import COUNTS
from dualpath.log.storage import Storage
from parity_tests import faults

FORMER = {"sealed": "closed_through", "epochs": "arrival_days", "beyond": "out_of_retention"}
"""Names in the files of an earlier version, and today's."""
EPOCHS = [("2026-03-01",), ("2026-03-01", "2026-03-02"), (), ("2026-03-02",), ("2026-03-01",)]


def land(storage: Storage, batches: range, query: int = 1) -> None:
    """Batches as the stream finishes them."""
    for batch in batches:
        entry = storage.begin(query, batch)
        outcomes = {
            "rows_read": 6,
            "accepted": 3,
            "duplicate": 2,
            "dead_letter": 1,
            "late": batch % 2,
            "latest_by": batch,
        }
        place = {"arrival_days": EPOCHS[batch % 5], "positions": {f"{batch}.jsonl": 0, "shop/0": 10 * batch}}
        storage.finish(storage.note(entry, clock=1_000 * query + batch, **outcomes, **place))


def told(storage: Storage) -> dict[str, Any]:
    """All that is asked of a ledger."""
    blocks = storage.blocks()
    return {
        "sums": [sum(getattr(b, name) for b in blocks) for name in COUNTS],
        "most": [max(getattr(b, name) for b in blocks) for name in ("latest_by", "clock")],
        "batches": [(b.query, n) for b in blocks for n in b.batches],
        "arrival_days": storage.arrival_days(),
        "digests": storage.digests("salt"),
        "folders": storage.log_folders(),
        "of a day": storage.log_folders(["2026-03-02"]),
        "reached": storage.reached(),
        "positions": [ledger.positions(storage.folder("ledger"), before) for before in (1, 2, 3)],
    }


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, Any]:
    """What an unfolded ledger tells."""
    storage = Storage(tmp_path, "clicks")
    land(storage, range(11))
    land(storage, range(3), query=2)
    return told(storage)


def test_a_folded_ledger_tells_what_an_unfolded_one_does(
    tmp_path: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "BLOCK", 4)
    other = Storage(tmp_path / "other", "clicks")
    land(other, range(11))
    land(other, range(3), query=2)
    assert [(b.query, b.first, b.last) for b in other.blocks()][:3] == [(1, 0, 3), (1, 4, 7), (1, 8, 8)]
    assert len(other.entries()) == 3 + 3
    for name, found in told(other).items():
        if name in ("folders", "of a day"):
            right = [f.relative_to(tmp_path) for f in expected[name]]
            assert [f.relative_to(tmp_path / "other") for f in found] == right
        else:
            assert found == expected[name], name


@pytest.mark.parametrize("removed", range(4))
def test_a_fold_that_dies_while_it_removes_entries_counts_nothing_twice(
    removed: int, tmp_path: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "BLOCK", 4)
    other = Storage(tmp_path / "other", "clicks")
    land(other, range(4))
    with monkeypatch.context() as faulty:
        faults.crash(faulty, Path, "unlink", nth=removed + 1)
        with pytest.raises(faults.Crash):
            land(other, range(4, 5))
    assert [n for b in other.blocks() for n in b.batches] == list(range(5))
    assert other.reached() == ((1, 4), (1, 4))
    land(other, range(5, 11))
    land(other, range(3), query=2)
    assert told(other)["sums"] == expected["sums"] and told(other)["positions"] == expected["positions"]
    assert len(other.entries()) == 3 + 3


@pytest.mark.parametrize("nth", [1, 2])
def test_a_reader_of_positions_misses_none_that_are_folded_meanwhile(
    nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right before the reader looks for blocks, or for entries."""
    storage = Storage(tmp_path, "clicks")
    land(storage, range(5))
    right, folder = storage.positions(9), storage.folder("ledger")
    monkeypatch.setattr(ledger, "BLOCK", 4)
    looks = iter([1, 2])
    for name in ("_blocks", "files"):

        def folded_first(real: Any, *arguments: Any, **named: Any) -> Any:
            if next(looks, None) == nth:
                monkeypatch.undo()
                monkeypatch.setattr(ledger, "BLOCK", 4)
                ledger.fold(folder, ledger.read(folder / "query=1" / "batch=4.json"))
            return real(*arguments, **named)

        monkeypatch.setattr(ledger, name, partial(folded_first, getattr(ledger, name)))
    assert storage.positions(9) == right
    assert len(storage.entries()) == 1


def test_files_of_an_earlier_version_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had other names for three members, and its first blocks counted no rows out of retention."""
    monkeypatch.setattr(ledger, "BLOCK", 4)
    storage = Storage(tmp_path, "clicks")
    storage.close_day(date(2026, 2, 28))
    land(storage, range(6))
    right = storage.blocks(), storage.entries()
    with storage.building():
        days = storage.digests("")
    for file in storage.folder("ledger").rglob("*.json"):
        text = file.read_text()
        for former, name in FORMER.items():
            text = text.replace(f'"{name}"', f'"{former}"')
        file.write_text(text.replace('"beyond": 0, ', "") if "blocks" in file.parts else text)
    ledger._block.cache_clear()
    texts = [file.read_text() for file in storage.folder("ledger").rglob("*.json")]
    assert len(texts) == 4 and not any(name in text for text in texts for name in FORMER.values())
    assert (storage.blocks(), storage.entries()) == right and storage.digests("") == days


def test_a_batch_that_is_begun_is_not_counted_and_the_one_before_it_is_finished(tmp_path: Path) -> None:
    storage = Storage(tmp_path, "clicks")
    assert storage.reached() == ((0, 0), (0, 0))
    storage.begin(1, 0)
    assert storage.reached() == ((0, 0), (1, 0)) and storage.blocks() == []
    land(storage, range(2))
    storage.begin(2, 0)
    assert storage.reached() == ((1, 1), (2, 0))


@pytest.mark.parametrize("kept", range(12))
def test_what_was_kept_of_spans_changes_no_digest_and_spares_the_files_of_its_batches(
    kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the entries after it, or some of those before it, have become a block since."""
    monkeypatch.setattr(ledger, "BLOCK", 4)
    plain, other = Storage(tmp_path / "plain", "clicks"), Storage(tmp_path / "other", "clicks")
    for storage in (plain, other):
        land(storage, range(kept))
        if storage is other:
            spans.keep(storage.folder("ledger"))
        land(storage, range(kept, 11))
        land(storage, range(3), query=2)
        storage.begin(2, 3)
    opened, real = [], ledger.read
    monkeypatch.setattr(ledger, "read", lambda file: opened.append(ledger.number(file)) or real(file))
    assert other.digests("salt") == plain.digests("salt")
    single = [(1, 8), (1, 9), (1, 10), *((2, batch) for batch in range(4))]
    assert opened == [each for each in single if each >= (1, kept)] + single


def test_the_log_is_complete_up_to_the_batch_before_the_first_of_a_later_day(tmp_path: Path) -> None:
    """EPOCHS gives the second and the fourth of five batches rows of the later day."""
    storage = Storage(tmp_path, "clicks")
    assert storage.complete_through("2026-03-01") == (0, 0)
    land(storage, range(1))
    assert storage.complete_through("2026-03-01") == (1, 0)
    land(storage, range(1, 5))
    land(storage, range(3), query=2)
    assert storage.complete_through("2026-03-01") == (1, 0)
    assert storage.complete_through("2026-03-02") == storage.complete_through("9999-12-31") == (2, 2)
    assert storage.complete_through("2026-02-28") == (0, 0)
