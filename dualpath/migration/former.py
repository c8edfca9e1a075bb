"""The log of the previous version: its ledger, and the folders of its rows. It is only read here.

`ledger/query=G/batch=N.json` was a micro-batch, `ledger/blocks/query=G/batches=A-B.json` a thousand finished ones in
four lines: what is summed up, the positions, the clock of each batch with rows, and one that is not needed. Rows were
Parquet files in `log/`, `dead/` and `duplicate/`, under `query=G/batch=N/`, or compacted, with the number of each row's
batch in `__batch`, under `query=G/batch=A-B/`; those of the log further split by arrival day, in `epoch=D/`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dualpath.errors import StateError
from dualpath.files.places import local
from dualpath.log.accounts import Entry, span
from dualpath.log.outcomes import Outcomes
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE

KINDS = {ACCEPTED: "log", DUPLICATE: "duplicate", DEAD_LETTER: "dead"}
OUTCOMES = [each.name for each in fields(Outcomes)]
RENAMED = {"sealed": "closed_through", "epochs": "arrival_days", "beyond": "out_of_retention"}
"""Names in files of still earlier versions."""


@dataclass(frozen=True, kw_only=True)
class Block(Outcomes):
    """Batches `first` to `last` of a query, whose rows are in the log; `clocks` has those of batches with rows, and
    `arrival_days` for each day with some the spans (first, last) of such batches."""

    query: int
    first: int
    last: int
    clock: int
    clocks: Mapping[int, int]
    arrival_days: Mapping[str, Sequence[Sequence[int]]]
    positions: Mapping[str, int]

    @property
    def name(self) -> str:
        """What it was called."""
        return span(self.query, self.first, self.last)

    def days_of(self, batch: int) -> tuple[str, ...]:
        """The arrival days of which a batch has, or had, rows."""
        found = self.arrival_days.items()
        return tuple(sorted(day for day, spans in found if any(first <= batch <= last for first, last in spans)))

    def clock_of(self, batch: int) -> int:
        """The clock of a batch; that of the block if it is not known."""
        return self.clocks.get(batch, self.clock)


def folder(storage: Storage, kind: str) -> Path:
    """A folder of a source; the previous version kept them on a disk."""
    return local(storage.folder(kind), "the previous version")


def exists(storage: Storage) -> bool:
    """Whether a source has a ledger of the previous version."""
    ledger = folder(storage, "ledger")
    return any(ledger.glob("query=*")) or (ledger / "blocks").exists()


def blocks(storage: Storage) -> list[Block]:
    """All batches whose rows are in the log, oldest first."""
    folded = [_block(file) for file in folder(storage, "ledger").glob("blocks/query=*/batches=*.json")]
    last: dict[int, int] = {}
    for each in folded:
        last[each.query] = max(each.last, last.get(each.query, -1))
    # A fold that was cut off has left entries of batches that are in a block.
    single = [_alone(each) for each in entries(storage) if each.logged and each.batch > last.get(each.query, -1)]
    return sorted([*folded, *single], key=lambda each: (each.query, each.first))


def entries(storage: Storage) -> list[Entry]:
    """The latest batches, oldest first, as far as each has come."""
    files = folder(storage, "ledger").glob("query=*/batch=*.json")
    return sorted(map(_entry, files), key=lambda each: each.fence)


def files(storage: Storage, block: Block, outcome: str) -> Iterator[tuple[Path, int | None, str | None]]:
    """The files with the block's rows of an outcome: the batch, if the rows do not say it, and the arrival day."""
    kind = folder(storage, KINDS[outcome]) / f"query={block.query}"
    compacted = kind / f"batch={block.first}-{block.last}"
    if compacted.exists():
        folders: list[tuple[Path, int | None]] = [(compacted, None)]
    else:
        folders = [(kind / f"batch={batch}", batch) for batch in range(block.first, block.last + 1)]
    for place, batch in folders:
        for file in sorted(place.rglob("*.parquet")):
            day = file.parent.name.removeprefix("epoch=") if outcome == ACCEPTED else None
            yield file, batch, day


def _entry(file: Path) -> Entry:
    plain = _present(json.loads(file.read_text()))
    return Entry(**{**plain, "arrival_days": tuple(plain["arrival_days"])})


def _alone(entry: Entry) -> Block:
    batch = entry.batch
    return Block(
        query=entry.query,
        first=batch,
        last=batch,
        clock=entry.clock,
        clocks={batch: entry.clock},
        arrival_days=dict.fromkeys(entry.arrival_days, ((batch, batch),)),
        positions=entry.positions,
        **{name: getattr(entry, name) for name in OUTCOMES},
    )


def _block(file: Path) -> Block:
    sums, positions, *more = map(json.loads, file.read_text().splitlines())
    clocks = {int(number): clock for number, clock in (more[0] if more else {}).items()}
    try:
        return Block(**_present(sums), positions=positions, clocks=clocks)
    except TypeError:
        raise StateError(f"{file} is not a block of a ledger; restore it, then migrate.") from None


def _present(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a file by their present names."""
    return {RENAMED.get(name, name): value for name, value in plain.items()}
