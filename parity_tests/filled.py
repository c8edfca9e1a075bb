"""State in the online store without Spark: a few events, folded as `preview` does, written by the jobs' own writer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dualpath import payloads, preview
from dualpath.online import manifest
from dualpath.online.connection import connect
from dualpath.online.manifest import Manifest
from dualpath.online.writer import TEXTS, FencedWrite
from dualpath.record import Fence
from dualpath.repo import Repo

NAMESPACE, SNAPSHOT, EPOCH = "n1", "2026-02-28", "2026-03-01"


def fill(repo: Repo, events: Sequence[Mapping[str, Any]], source: str | None = None) -> None:
    """Write the state that the events make of every windowed view of the repo, or of those of a source."""
    client = connect(repo.redis_address)
    for view in repo.parts if source is None else repo.views_of(source):
        known = {each.place[0] for each in (*view.source.fields, *view.source.members.values())}
        mine = [{name: value for name, value in event.items() if name in known} for event in events]
        typed = [payloads.event(view, number, event) for number, event in enumerate(mine)]
        entities, words = preview.records(view, typed)
        texts = sorted({value for event in typed for value in event.values() if isinstance(value, str)})
        target = FencedWrite(
            repo.redis_address, repo.project, {view.name: repo.destination(view, NAMESPACE)}, Fence(1, 1)
        )
        order = np.argsort(np.array(entities), kind="stable")
        records = _batch(view.name, [entities[n] for n in order], words[order])
        list(target.write([records, _batch(TEXTS, texts, np.array([[preview.code(text)] for text in texts]))]))
        manifest.place(client, repo.project, view.name, Manifest(NAMESPACE, SNAPSHOT, (EPOCH,)))


def _batch(view: str, entities: Sequence[str], words: np.ndarray) -> pa.RecordBatch:
    columns = {
        "view": [view] * len(entities),
        "arrival_day": [EPOCH] * len(entities),
        "entity": pa.array(entities, "string"),
    }
    return pa.record_batch(columns | {"words": pa.array(words.tolist(), pa.list_(pa.int64()))})
