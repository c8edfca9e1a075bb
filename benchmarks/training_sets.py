"""Training sets of a hundred rows and of a million over ten million events: seconds, and memory at its highest.

Each is computed by a process of its own, in turns. In process the peer reads all records at once, from files without
buckets. On Spark the peer lets the rows travel from the driver and back, as a pandas DataFrame of
more than `spark_above_rows` rows does; the other reads them from Parquet and writes the features there, from the
executors.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import shop
from benchmarks.measure import Sheet, spell
from benchmarks.place import CHECKOUT
from benchmarks.serving import activity
from dualpath.declare import view_of
from dualpath.offline import buckets, local, training
from dualpath.offline.history import DICTIONARY, RECORDS, TEXTS, History, view_version
from dualpath.offline.training import NO_TEXTS
from dualpath.view import View
from dualpath.windows import DAY
from dualpath.words import code

USERS, PER_USER, DAYS = 400_000, (10, 40), 30
ROWS = (100, 1_000_000)
HEAP = "2g"
TURNS = 2
ROW_GROUP = 20_000
"""Rows of a row group, about as many as `dualpath batch` puts into one."""


def run() -> Iterator[Sheet]:
    """A sheet for each number of rows."""
    with tempfile.TemporaryDirectory(prefix="training_sets-") as folder:
        root = Path(folder)
        events = _fill(root)
        for rows in ROWS:
            yield _sheet(root, rows, events)


def _fill(root: Path) -> int:
    """Record files with buckets and without, and rows; returns how many events there are."""
    view, drawn = _view(), shop.Events.draw(USERS, PER_USER, DAYS)
    entity = pa.array([shop.name(user) for user in range(USERS)])
    words, day = drawn.words(view), (shop.AS_OF - drawn.time) // DAY
    bucket = buckets.of(entity)[drawn.user]
    for name, split in (("buckets", True), ("whole", False)):
        staged = root / "staged"
        parts = {}
        for number in range(DAYS):
            arrival_day = f"2025-05-{number + 1:02d}"
            parts[arrival_day] = f"{arrival_day}-x"
            for each in range(buckets.BUCKETS) if split else [buckets.ALL]:
                at = np.flatnonzero((day == number) & (bucket == each if split else True))
                columns = [entity.take(pa.array(drawn.user[at])), shop.lists(words[at]), drawn.time[at], at // 1_000]
                file = staged / f"arrival_day={arrival_day}" / f"bucket={each}" / "part-0.parquet"
                file.parent.mkdir(parents=True)
                pq.write_table(pa.table(columns, schema=RECORDS), file, row_group_size=ROW_GROUP)
        history = History(root / name)
        history.publish(view_version(view), staged, parts, len(words))
        texts = pa.table([pa.array(map(code, shop.CATEGORIES), pa.int64()), pa.array(shop.CATEGORIES)], schema=TEXTS)
        (staged / "arrival_day=2025-05-01").mkdir(parents=True)
        pq.write_table(texts.sort_by("code"), staged / "arrival_day=2025-05-01" / "part-0.parquet")
        history.publish(f"{DICTIONARY}/{shop.events.name}", staged, {"2025-05-01": "2025-05-01-x"}, len(texts))
    draw = np.random.default_rng(3)
    for rows in ROWS:
        at = draw.integers(0, len(words), rows)
        asked = {"row": np.arange(rows), "entity": entity.take(pa.array(drawn.user[at])), "as_of": drawn.time[at]}
        pq.write_table(pa.table(asked), root / f"{rows}.parquet")
    return len(words)


def _sheet(root: Path, rows: int, events: int) -> Sheet:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
    answer: pa.Table | None = None
    for _ in range(TURNS):
        for name, measured in found.items():
            words = [sys.executable, "-m", "benchmarks.training_sets", name, str(root), str(rows)]
            env = {**os.environ, "DUALPATH_DRIVER_MEMORY": HEAP}
            done = subprocess.run(words, cwd=CHECKOUT, env=env, check=True, capture_output=True, text=True)
            measured.append(json.loads(done.stdout.splitlines()[-1]))
            table = pq.read_table(root / "answer.parquet")
            assert answer is None or table.cast(answer.schema).equals(answer), "every way has the same bits"
            answer = table
    best = {name: min(measured, key=lambda each: each["seconds"]) for name, measured in found.items()}
    cells = {}
    for name, peer in (("bucket after bucket", "all at once"), ("Spark to Spark", "Spark by the driver")):
        for each in (name, peer):
            own = best[each]
            cells[each] = f"{spell(own['seconds'])}, {own['mebibytes']:,.0f} MiB above {own['before']:,.0f}"
            if own["others"]:
                cells[each] += f", JVM and workers {own['others']:,.0f} MiB (heap {HEAP})"
        times = best[peer]["seconds"] / best[name]["seconds"]
        cells[f"{peer} / {name}"] = f"{times:.2f} times the time"
        if best[name]["mebibytes"] >= 1:  # on Spark this process only waits
            more = best[peer]["mebibytes"] / best[name]["mebibytes"]
            cells[f"{peer} / {name}"] += f", {more:.1f} times the memory"
    work = f"{rows:,} rows x {len(_view().features)} features over {events:,} events of {DAYS} days"
    return Sheet(work, cells, {"rows": rows, "events": events, **best})


def _view() -> View:
    view = view_of(activity)
    assert view is not None, "it is windowed"
    return view


def _in_process(root: Path, rows: int, together: bool) -> Iterator[None]:
    """Read the rows; from the first step on, compute them."""
    view, asked = _view(), pq.read_table(root / f"{rows}.parquet")
    entity, as_of = asked["entity"].combine_chunks(), asked["as_of"].to_numpy()
    names = [feature.name for feature in view.features]
    yield
    if together:
        history = History(root / "whole")
        records = history.records(view, pc.unique(entity))
        texts = partial(history.texts, [shop.events.name])
        found = training.values(view, names, entity, as_of, records, texts)
    else:
        found = local.features(view, names, entity, as_of, History(root / "buckets"))
    yield
    pq.write_table(pa.table({"row": asked["row"], **found}), root / "answer.parquet")


def _on_spark(root: Path, rows: int, by_driver: bool) -> Iterator[None]:
    from dualpath.offline import distributed
    from dualpath.offline.distributed import Asked
    from dualpath.spark.session import session

    view, names = _view(), {feature.name: feature.name for feature in _view().features}
    spark, asked = session("benchmark", cores=2), Asked(view, names, "entity")
    spark.range(10).mapInArrow(lambda batches: batches, "id long").collect()  # the workers start
    history = History(root / "buckets")
    yield
    if by_driver:
        given = pq.read_table(root / f"{rows}.parquet")
        few = {"entity": pc.unique(given["entity"])}
        table = distributed.features(spark.createDataFrame(given), [asked], history, few).toArrow().sort_by("row")
        yield
        pq.write_table(table.select(["row", *names]), root / "answer.parquet")
        return
    frame = distributed.features(spark.read.parquet(str(root / f"{rows}.parquet")), [asked], history)
    frame.write.mode("overwrite").parquet(str(root / "answer"))
    yield
    pq.write_table(pq.read_table(root / "answer").sort_by("row").select(["row", *names]), root / "answer.parquet")


CASES: dict[str, Callable[[Path, int], Iterator[None]]] = {
    "bucket after bucket": partial(_in_process, together=False),
    "all at once": partial(_in_process, together=True),
    "Spark to Spark": partial(_on_spark, by_driver=False),
    "Spark by the driver": partial(_on_spark, by_driver=True),
}


def _measure(name: str, root: Path, rows: int) -> dict[str, float]:
    """Compute a case; returns its seconds, how far the memory of this process rose above that of `before`, and the
    highest of each of its children, in MiB."""
    _compile()
    steps = CASES[name](root, rows)
    next(steps)
    before, began = _highest(os.getpid()), time.perf_counter()
    next(steps)
    seconds, after = time.perf_counter() - began, _highest(os.getpid())
    others = sum(_highest(child.pid) for child in psutil.Process().children(recursive=True))
    assert next(steps, None) is None
    return {"seconds": seconds, "before": before, "mebibytes": after - before, "others": others}


def _compile() -> None:
    """Let numba load the kernel."""
    view = _view()
    names = [feature.name for feature in view.features]
    training.values(view, names, pa.array(["nobody"]), np.zeros(1, np.int64), RECORDS.empty_table(), lambda _: NO_TEXTS)


def _highest(pid: int) -> float:
    """The most memory that a process has had, MiB, as Linux tells; what its parent had does not count."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
