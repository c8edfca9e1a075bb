"""Counts the rows of a source's files again after an erasure, so that the ledger says what is there."""

import json
from collections import Counter
from dataclasses import asdict, replace

import pyarrow.parquet as pq

from dualpath.log import dead_letters, ledger
from dualpath.log.files import write_atomically
from dualpath.log.ledger import Block
from dualpath.log.storage import Storage

OUTCOMES = {"log": "accepted", "duplicate": "duplicate", "dead": "dead_letter"}
"""The folders with rows, and the count in the ledger of each."""


def lacking(storage: Storage) -> list[tuple[Block, Counter[str]]]:
    """The blocks whose files hold fewer rows than the ledger says, and how many fewer of each outcome."""
    found = []
    for block in storage.blocks():
        less: Counter[str] = Counter()
        for kind, outcome in OUTCOMES.items():
            files = storage.files(kind, block) if getattr(block, outcome) else []
            # An earlier version kept no duplicates.
            if files or kind != "duplicate":
                less[outcome] = getattr(block, outcome) - sum(pq.read_metadata(file).num_rows for file in files)
        if +less:
            found.append((block, +less))
    return found


def note(storage: Storage, block: Block, less: Counter[str]) -> None:
    """Let the ledger count rows of a block as erased, at once or not at all."""
    folder = storage.folder("ledger")
    if less["dead_letter"]:
        dead_letters.recount(storage, block)
    counts = {outcome: getattr(block, outcome) - rows for outcome, rows in less.items()}
    counts["erased"] = block.erased + less.total()
    file = folder / f"{block.name}.json"
    if file.exists():
        ledger.write(folder, replace(ledger.read(file), **counts))
        return
    file = folder / "blocks" / f"{block.name}.json"
    _, *rest = file.read_text().splitlines()
    write_atomically(file, "\n".join([json.dumps(asdict(replace(block, **counts))), *rest]))
