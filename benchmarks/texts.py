"""What the dictionary of texts costs a training set, by the texts that its source has.

The peer loads every text of the source first, as dualpath did before it looked up the codes found alone. Both give the
same table.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks.measure import Figure, take_turns
from dualpath.aggregates import Count, Distinct
from dualpath.offline import training
from dualpath.offline.history import DICTIONARY, TEXTS, History
from dualpath.schema import EventSource, text
from dualpath.values import Dictionary
from dualpath.view import Feature, View
from dualpath.windows import hours

SOURCE = EventSource("visits", (text("user"), text("page")))
VIEW = View(
    "pages", ("user",), SOURCE, (Feature("visits", Count(), hours(1)), Feature("pages", Distinct("page"), hours(1)))
)
USERS, VISITS, CALLS = 100, 5, 5
SIZES = (10, 2_000_000)
ROW_GROUP = 20_000
"""Rows of a row group, about as many as `dualpath batch` puts into one."""


def run() -> Iterator[Figure]:
    """A feature without texts and one with texts, of a source with few texts and of one with many."""
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            history = History(Path(folder))
            codes = _place_texts(history, size)
            for name in ("visits", "pages"):
                yield _measured(f"{USERS} rows of '{name}', {size:,} texts", history, name, codes)


def _place_texts(history: History, size: int) -> np.ndarray:
    """Let the source's dictionary have so many texts; returns their codes, int64[n]."""
    codes = np.sort(np.random.default_rng(1).integers(-(2**63), 2**63 - 1, size, dtype=np.int64))
    table = pa.table({"code": codes, "text": pa.array([f"page number {n}" for n in range(size)])}, TEXTS)
    staged = history.root / "staged" / "arrival_day=2026-03-01"
    staged.mkdir(parents=True)
    pq.write_table(table, staged / "part-0.parquet", row_group_size=ROW_GROUP)
    history.publish(f"{DICTIONARY}/{SOURCE.name}", staged.parent, {"2026-03-01": "2026-03-01-x"}, size)
    return codes


def _measured(work: str, history: History, name: str, codes: np.ndarray) -> Figure:
    users = pa.array([f"user_{n}" for n in range(USERS)])
    draw = np.random.default_rng(2)
    words = np.ones((USERS * VISITS, 5), dtype=np.int64)
    words[:, 0] = words[:, 1] = np.arange(len(words))
    words[:, 3] = draw.choice(codes, len(words))
    records = pa.table({"entity": users.take(pa.array(np.arange(len(words)) % USERS)), "words": words.tolist()})
    as_of = np.full(USERS, len(words))

    def ours(_: int) -> pa.Table:
        return pa.table(training.values(VIEW, [name], users, as_of, records, lambda c: history.texts([SOURCE.name], c)))

    def every_text(_: int) -> pa.Table:
        paths = history.paths(f"{DICTIONARY}/{SOURCE.name}")
        table = ds.dataset(paths, schema=TEXTS, format="parquet").to_table()
        texts = Dictionary.of(table["code"], table["text"])
        return pa.table(training.values(VIEW, [name], users, as_of, records, lambda _: texts))

    def same(_: int, answers: dict[str, pa.Table]) -> None:
        assert answers["dualpath"].equals(answers["every text loaded"])

    return take_turns(work, {"dualpath": ours, "every text loaded": every_text}, range(CALLS + 1), same)
