"""Record files without Spark: a few events, folded as `preview` does, published by the jobs' own writer."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dualpath import payloads, preview
from dualpath.log.accounts import Entry
from dualpath.offline.history import DICTIONARY, RECORDS, TEXTS, History, dictionary_salt, record_salt, view_version
from dualpath.repo import Repo
from dualpath.view import View
from parity_tests import logged

DAY = "2026-03-01"


def record(repo: Repo, view: View, events: Sequence[Mapping[str, Any]]) -> None:
    """Let the log have one batch, and the view's record files and the dictionary of texts all that the events say."""
    source = view.source.name
    storage, history = repo.storage(source), History(repo.storage(source).root)
    logged.commit(storage, Entry(1, 0, rows_read=1, accepted=1, arrival_days=(DAY,)))
    typed = [payloads.event(view, number, event) for number, event in enumerate(events)]
    owners, words = preview.records(view, typed)
    beside = [0] * len(owners)
    rows = pa.table({"entity": owners, "words": words.tolist(), "arrived": beside, "batch": beside}, RECORDS)
    _publish(history, view_version(view), rows, storage.digests(record_salt(source)))
    texts = sorted({value for event in typed for value in event.values() if isinstance(value, str)})
    known = pa.table({"code": [preview.code(text) for text in texts], "text": texts}, TEXTS)
    _publish(history, f"{DICTIONARY}/{source}", known, storage.digests(dictionary_salt(source, [view])))


def _publish(history: History, name: str, rows: pa.Table, parts: Mapping[str, str]) -> None:
    folder = history.root / "staged" / f"arrival_day={DAY}"
    folder.mkdir(parents=True)
    pq.write_table(rows, folder / "part.parquet")
    history.publish(name, folder.parent, parts, rows.num_rows)
