"""Why rows were refused, from the dead letters."""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dualpath.log.ledger import clock_day
from dualpath.log.storage import Storage


def reasons(storage: Storage, day: str = "") -> dict[str, int]:
    """Why rows were refused: the reason without the offending text, and how many rows, most frequent first.

    With a `day`, of the batches that hold rows of that arrival day, or accepted none and have their clock on it;
    batches that are folded into a block count as one.
    """
    counts: Counter[str] = Counter()
    for block in storage.blocks():
        if day and day not in (block.arrival_days or (clock_day(block.clock),)):
            continue
        for file in storage.files("dead", block) if block.dead_letter else ():
            try:
                column = pq.read_table(file, columns=["reason"])["reason"]
            except (pa.ArrowException, OSError):
                continue  # `dualpath status` names the file
            for each in pc.value_counts(pc.list_element(pc.split_pattern(column, ":"), 0)).to_pylist():
                counts[each["values"]] += each["counts"]
    return dict(counts.most_common())
