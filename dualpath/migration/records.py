"""Record files of the previous version become Delta tables: files get other names, none is written again.

`records/{view}-{fingerprint}/index.json` named the part of each arrival day, with its bytes; a part was a folder, of
which a file of a bucket was called `bucket-B-of-N-...`.
"""

import json
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pyarrow.parquet as pq

from dualpath.files.places import local
from dualpath.log.storage import Storage
from dualpath.offline import buckets, record_files
from dualpath.offline.history import History
from dualpath.steps import Step, step

NAME = re.compile(r"bucket-(\d+-of-\d+)-")


def migrate(root: Path, storages: Sequence[Storage]) -> int:
    """Bring all record files over; answers how many. No job may build any meanwhile."""
    with ExitStack() as held:
        for storage in storages:
            held.enter_context(storage.building())
        indexes = sorted((root / "records").glob("**/index.json"))
        return sum(_migrate(History(root), str(file.parent.relative_to(root / "records"))) for file in indexes)


@step(Step.MIGRATE_RECORDS)
def _migrate(history: History, name: str) -> int:
    """Bring the parts of a view version or of a dictionary over.

    A part that has lost files is left out: the next `dualpath batch` builds it again.
    """
    folder = local(history.folder(name), "the previous version")
    table, schema = history.table(name), history.schema(name)
    index = json.loads((folder / "index.json").read_text())
    # A still earlier version noted no bytes: what it built is built again.
    index = {day: part for day, part in index.items() if isinstance(part, list)}
    table.ensure(record_files.columns(schema))
    known, made = {file.arrival_day for file in table.snapshot().files()}, []
    for day, (part, size) in index.items():
        files = sorted((folder / part).glob("*.parquet"))
        if day in known or sum(file.stat().st_size for file in files) != size:
            continue
        for file in files or [record_files.empty(folder, schema)]:
            found = NAME.match(file.name)
            values = (day, part, found[1] if found else buckets.ALL)
            again = folder / uuid4().hex  # a second name: what is cut off leaves the first one
            os.link(file, again)
            made.append(record_files.placed(table, again, pq.read_metadata(again).num_rows, values))
    if made:
        table.commit("MIGRATE", made)
    table.remove_unused()
    for old in folder.glob("????-??-??-*"):
        shutil.rmtree(old)
    (folder / "index.json").unlink()
    return len(made)
