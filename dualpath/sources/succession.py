"""What messages say, one after the other, of the versions of a dimension. No engine.

A message says what holds of its keys from its time on, and takes back what was said before of that time and later. So
the last message of some keys decides alone what holds from its time on, whether or not a topic still has those before.
"""

import numpy as np
import pandas as pd
import pyarrow as pa

from dualpath.dimension import Dimension

NEVER = np.iinfo(np.int64).max


def succession(dimension: Dimension, known: pa.Table, said: pa.Table, deleted: np.ndarray) -> pa.Table:
    """The versions after some messages; the tables have the columns of the dimension, in order.

    `known` are the versions before them, as this function gave them; `said` has a row for each message, in the order in
    which they were sent; those that are `deleted`, bool[n], are tombstones, which begin when nothing holds any more.

    >>> from dualpath.dimension import dimension
    >>> from dualpath.schema import text
    >>> brands = dimension("brands", topic="brands", keys=[text("sku")], fields=[text("brand")])
    >>> columns = pa.schema([(each.name, each.stored) for each in brands.columns])
    >>> rows = [("a1", "Acme", 10), ("a1", "Ajax", 30), ("a1", "Apex", 20), ("a1", None, 40)]
    >>> said = pa.Table.from_pylist([dict(zip(columns.names, row)) for row in rows], columns)
    >>> found = succession(brands, columns.empty_table(), said, np.array([False, False, False, True]))
    >>> found["brand"].to_pylist(), found["valid_to"].cast(pa.int64()).to_pylist()
    (['Acme', 'Apex'], [None, 40])
    """
    assert dimension.valid_to is not None, "a dimension of a topic has one"
    rows = pa.concat_tables([known, said])
    ends = rows[dimension.valid_to.name]
    keys = rows.select([key.name for key in dimension.keys]).to_pandas()
    frame = pd.DataFrame(
        {
            "key": keys.groupby(list(keys), sort=False).ngroup(),
            "begin": rows[dimension.valid_from.name].cast(pa.int64()).to_numpy(),
            "end": ends.cast(pa.int64()).fill_null(NEVER).to_numpy(),
            "deleted": np.concatenate([np.zeros(known.num_rows, dtype=bool), deleted]),
        }
    )
    backwards = frame[::-1]
    earliest = backwards.groupby("key")["begin"].cummin()
    later = earliest.groupby(backwards["key"]).shift(1, fill_value=NEVER)[::-1]
    kept = frame[frame["begin"] < later]
    following = kept.groupby("key")[["begin", "deleted"]].shift(-1, fill_value=0)
    ended = np.where(following["deleted"].astype(bool), np.minimum(kept["end"], following["begin"]), kept["end"])
    versions = ~kept["deleted"].to_numpy()
    ended = ended[versions]
    table = rows.take(kept.index.to_numpy()[versions])
    column = pa.array(ended, pa.int64(), mask=ended == NEVER).cast(ends.type)
    return table.set_column(table.schema.get_field_index(dimension.valid_to.name), dimension.valid_to.name, column)
