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
    """`epochs` has, for each epoch and query, spans (first, last) of finished batches with rows of it; `through` the
    last batch of each query that was looked at."""

    epochs: Mapping[str, Mapping[int, Joined]] = field(default_factory=dict)
    through: Mapping[int, int] = field(default_factory=dict)


def read(folder: Path) -> Spans:
    """Those of all batches that are finished now."""
    kept = _kept(folder / "spans.json")
    epochs = {epoch: dict(of_query) for epoch, of_query in kept.epochs.items()}
    through = dict(kept.through)
    for block in ledger.blocks(folder, after=kept.through):
        for epoch, spans in block.epochs.items():
            of_query = epochs.setdefault(epoch, {})
            before = kept.through.get(block.query, -1)
            # A block may have taken in batches that were kept already.
            later = [(max(first, before + 1), last) for first, last in spans if last > before]
            of_query[block.query] = ledger.joined((*of_query.get(block.query, ()), *later))
        through[block.query] = block.last
    return Spans({epoch: {q: s for q, s in found.items() if s} for epoch, found in epochs.items()}, through)


def keep(folder: Path) -> None:
    """Spare later readers the files of the batches that are finished now."""
    found = read(folder)
    plain = {"through": [*found.through.items()], "epochs": {e: [*each.items()] for e, each in found.epochs.items()}}
    write_atomically(folder / "spans.json", json.dumps(plain))


def _kept(file: Path) -> Spans:
    if not file.exists():
        return Spans()
    plain = json.loads(file.read_text())
    epochs = {
        epoch: {q: tuple((a, b) for a, b in spans) for q, spans in each} for epoch, each in plain["epochs"].items()
    }
    return Spans(epochs, dict(plain["through"]))
