"""Training sets in this process: all records at once if they are few, else bucket after bucket."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dualpath.known import Known
from dualpath.offline import buckets, training
from dualpath.offline.history import FILTERED_BELOW, History
from dualpath.view import View

TOGETHER = 64 * 2**20
"""Bytes of a view's record files up to which they are read at once: two million records, some 300 MB in memory."""


def features(
    view: View, names: Sequence[str], entity: pa.Array, as_of: np.ndarray, history: History, known: Known | None = None
) -> dict[str, pa.Array | pa.ChunkedArray]:
    """Features at each row's instant, as `dualpath.offline.training.values` has them, from the record files.

    In memory are the rows, and of large record files the records of a bucket at a time.
    """
    distinct, beside = pc.unique(entity), [known.by] if known else []

    def of_rows(at: np.ndarray | None, entities: pa.Array, bucket: int | None) -> dict[str, pa.Array]:
        records = history.records(view, entities, beside, bucket)
        texts = partial(history.texts, [source.name for source in view.sources])
        if at is None:
            return training.values(view, names, entity, as_of, records, texts, known)
        knows = Known(known.by, known.limits[at]) if known else None
        return training.values(view, names, entity.take(pa.array(at)), as_of[at], records, texts, knows)

    if len(distinct) <= FILTERED_BELOW or history.size(view) <= TOGETHER:
        return of_rows(None, distinct, None)
    present = distinct.drop_null()
    of_present = buckets.of(present)
    where = pc.index_in(entity, value_set=present).fill_null(0).to_numpy()
    of_row = of_present[where]  # a row without an entity is in any bucket
    at = [np.flatnonzero(of_row == bucket) for bucket in range(buckets.BUCKETS)]
    found = [of_rows(rows, present.filter(pa.array(of_present == b)), b) for b, rows in enumerate(at)]
    back = np.empty(len(entity), dtype=np.int64)
    back[np.concatenate(at)] = np.arange(len(entity))
    return {name: pa.chunked_array([each[name] for each in found]).take(pa.array(back)) for name in names}
