"""Values for rows of (entity, as_of) from records: one call of the kernel for a whole training set."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dualpath.errors import InputError, StaleRecordsError
from dualpath.known import Known
from dualpath.offline.history import PART, words_of
from dualpath.plan import FoldError, grouped, plan
from dualpath.values import Dictionary, arrow, text_codes
from dualpath.view import View

NO_TEXTS = Dictionary.of(pa.array([], pa.int64()), pa.array([], pa.string()))


def values(
    view: View,
    features: Sequence[str],
    entity: pa.Array,
    as_of: np.ndarray,
    records: pa.Table,
    texts: Callable[[np.ndarray], Dictionary],
    known: Known | None = None,
) -> dict[str, pa.Array]:
    """Features at each row's instant.

    entity: string[m]; as_of: int64[m] microseconds UTC; records: (`entity`, `words`) in any order, of any
    entities; texts: looks up the texts of the codes found, if there are any; known: what each row knows, by a column of
    the records (with limits of several parts, by their column `part` too); None: everything. A row whose entity is null
    or unknown gets the empty values.
    """
    chosen = plan(view, tuple(features))
    owners = pc.unique(records["entity"])
    owner = pc.index_in(records["entity"], value_set=owners).combine_chunks().to_numpy(zero_copy_only=False)
    words = words_of(records["words"], chosen.layout.width)
    if known:
        if records[known.by].null_count:
            raise StaleRecordsError(
                f"view '{view.name}': its record files are of an earlier version and do not say when events became "
                "known; run `dualpath batch`."
            )
        beside = [known.by] if known.limits.ndim == 1 else [known.by, PART]
        words = np.column_stack([words, *(records[name].to_numpy() for name in beside)])
    words, starts = grouped(words, owner.astype(np.int64), len(owners))
    who = pc.fill_null(pc.index_in(entity, value_set=owners, skip_nulls=True), -1).to_numpy(zero_copy_only=False)
    # An unknown entity gets the empty span after the last record.
    spans = np.where(
        who[:, None] >= 0,
        np.stack([starts[who], starts[np.minimum(who + 1, len(owners))]], axis=1),
        len(words),
    )
    # Consecutive rows of one entity find its records in the processor's cache.
    order = np.argsort(who)
    try:
        limits = known.limits[order] if known else None
        found = chosen.evaluate(words, spans[order].astype(np.int64), as_of[order], limits)
    except FoldError as error:
        raise InputError(f"{error.message} (entity '{entity[order[error.row]]}')") from None
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    wanted = np.unique(np.concatenate([text_codes(v, chosen.outputs[name]) for name, v in found.items()]))
    dictionary = texts(wanted) if len(wanted) else NO_TEXTS
    return {name: arrow(v, chosen.outputs[name], dictionary).take(pa.array(back)) for name, v in found.items()}
