"""What it costs to know what serving knew: reads with tokens, record files, and training sets.

A million records of exact features, in batches of a thousand events as a stream makes them. Record files with the
arrival and the batch of each event are compared with files of the words alone; the three training sets have the same
rows, and the one that knows everything is the peer of the others.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks import shop
from benchmarks.measure import Figure, Sheet, take_turns
from benchmarks.serving import activity
from dualpath.declare import view_of
from dualpath.known import Known, place
from dualpath.offline import training
from dualpath.offline.history import RECORDS
from dualpath.record import Fence
from dualpath.values import Dictionary
from dualpath.windows import SECOND
from dualpath.words import code

USERS, PER_USER, BATCH, ROWS, CALLS = 20_000, (20, 80), 1_000, 100_000, 5


def run() -> Iterator[Figure | Sheet]:
    """The bytes of a record, and the seconds of a training set."""
    view = view_of(activity)
    assert view is not None, "it is windowed"
    events, random = shop.Events.draw(USERS, PER_USER, days=8), np.random.default_rng(3)
    arrived = events.time + random.exponential(60 * SECOND, len(events.time)).astype(np.int64)
    batch = np.empty(len(arrived), dtype=np.int64)
    batch[np.argsort(arrived)] = np.arange(len(arrived)) // BATCH
    columns = {
        "entity": pa.array([shop.name(user) for user in events.user.tolist()]),
        "words": shop.lists(events.words(view)),
        "arrived": arrived,
        "batch": np.array([place(Fence(1, int(number))) for number in range(int(batch.max()) + 1)])[batch],
    }
    table = pa.table(columns, RECORDS)
    texts = Dictionary.of(pa.array(map(code, shop.CATEGORIES), pa.int64()), pa.array(shop.CATEGORIES))
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder, name) for name in ("known", "words")}
        pq.write_table(table, files["known"])
        pq.write_table(table.select(["entity", "words"]), files["words"])
        sizes = {name: file.stat().st_size / len(table) for name, file in files.items()}
        yield Sheet(
            f"bytes of a record of {len(view.features)} features in record files",
            {
                "words alone": f"{sizes['words']:.1f}",
                "with arrival and batch": f"{sizes['known']:.1f}",
                "ratio": f"{sizes['known'] / sizes['words']:.2f}",
            },
            {"bytes": sizes, "ratio": sizes["known"] / sizes["words"]},
        )
        at = random.integers(0, len(table), ROWS)
        entity, as_of = table["entity"].take(pa.array(at)).combine_chunks(), events.time[at]
        names = [feature.name for feature in view.features]

        def trained(known: Known | None, _: int) -> dict[str, pa.Array]:
            wanted = ["entity", "words", *([known.by] if known else [])]
            records = ds.dataset(files["known"]).to_table(columns=wanted)
            return training.values(view, names, entity, as_of, records, lambda _: texts, known)

        yield take_turns(
            f"{ROWS:,} rows x {len(names)} features from {len(table):,} records, in process",
            {
                "all of the log": partial(trained, None),
                "known_at": partial(trained, Known("arrived", as_of)),
                "tokens": partial(trained, Known("batch", columns["batch"][at])),
            },
            range(CALLS + 1),
        )
