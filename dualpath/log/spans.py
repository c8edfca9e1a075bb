"""Which batches hold the rows of each arrival day: what record files are made from.

The ledger tells it batch by batch. A training set asks before each read of record files, so what is told up to some
batches is kept beside it, in `spans.json`, and only the files of later ones are opened.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dualpath.log import ledger
from dualpath.log.files import write_atomically

Joined = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Spans:
    """`arrival_days` has, for each arrival day and query, spans (first, last) of finished batches with rows of it;
    `through` the last batch of each query that was looked at."""

    arrival_days: Mapping[str, Mapping[int, Joined]] = field(default_factory=dict)
    through: Mapping[int, int] = field(default_factory=dict)


def read(folder: Path) -> Spans:
    """Those of all batches that are finished now."""
    kept = _kept(folder / "spans.json")
    arrival_days = {arrival_day: dict(of_query) for arrival_day, of_query in kept.arrival_days.items()}
    through = dict(kept.through)
    for block in ledger.blocks(folder, after=kept.through):
        for arrival_day, spans in block.arrival_days.items():
            of_query = arrival_days.setdefault(arrival_day, {})
            before = kept.through.get(block.query, -1)
            # A block may have taken in batches that were kept already.
            later = [(max(first, before + 1), last) for first, last in spans if last > before]
            of_query[block.query] = ledger.joined((*of_query.get(block.query, ()), *later))
        through[block.query] = block.last
    return Spans(
        {arrival_day: {q: s for q, s in found.items() if s} for arrival_day, found in arrival_days.items()}, through
    )


def keep(folder: Path) -> None:
    """Spare later readers the files of the batches that are finished now."""
    found = read(folder)
    plain = {
        "through": [*found.through.items()],
        "arrival_days": {e: [*each.items()] for e, each in found.arrival_days.items()},
    }
    write_atomically(folder / "spans.json", json.dumps(plain))


def _kept(file: Path) -> Spans:
    if not file.exists():
        return Spans()
    plain = ledger.members(file.read_text())
    arrival_days = {
        arrival_day: {q: tuple((a, b) for a, b in spans) for q, spans in each}
        for arrival_day, each in plain["arrival_days"].items()
    }
    return Spans(arrival_days, dict(plain["through"]))
