"""Why rows were refused, from the dead letters.

The reasons of a block of the ledger are counted once, when it is made, and kept beside it: a stream that refuses a row
in every batch writes tens of thousands of files a day.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dualpath.log import ledger
from dualpath.log.files import write_atomically
from dualpath.log.ledger import Block, Entry
from dualpath.log.storage import Storage


def reasons(storage: Storage, blocks: Iterable[Block]) -> dict[str, int]:
    """Why rows of some batches were refused: the reason without the offending text, and how many rows, most frequent
    first. Files that cannot be read are left out; `dualpath status --files` names them."""
    counts: Counter[str] = Counter()
    for block in blocks:
        file = _kept(storage, block)
        counts.update(json.loads(file.read_text()) if file.exists() else _counted(storage, block)[0])
    return dict(counts.most_common())


def keep(storage: Storage, last: Entry) -> None:
    """Count the reasons of the block before a finished batch that begins another one; else do nothing."""
    if last.batch % ledger.BLOCK == 0:
        for block in storage.blocks():
            if (block.query, block.last + 1) == (last.query, last.batch) and block.first < block.last:
                counts, whole = _counted(storage, block)
                if whole:
                    write_atomically(_kept(storage, block), json.dumps(counts))


def recount(storage: Storage, block: Block) -> None:
    """Count the kept reasons of a block again, of whose dead letters an erasure has removed some."""
    if (file := _kept(storage, block)).exists():
        write_atomically(file, json.dumps(_counted(storage, block)[0]))


def _kept(storage: Storage, block: Block) -> Path:
    return storage.folder("ledger") / "reasons" / f"{block.name}.json"


def _counted(storage: Storage, block: Block) -> tuple[Counter[str], bool]:
    """The reasons in the files of a block, and whether all of them can be read."""
    counts, whole = Counter[str](), True
    for file in storage.files("dead", block) if block.dead_letter else ():
        try:
            column = pq.read_table(file, columns=["reason"])["reason"]
        except (pa.ArrowException, OSError):
            whole = False
            continue
        for each in pc.value_counts(pc.list_element(pc.split_pattern(column, ":"), 0)).to_pylist():
            counts[each["values"]] += each["counts"]
    return counts, whole
