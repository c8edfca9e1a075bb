"""What the tests of the stream share."""

import itertools
import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import DataFrame

from dualpath.online.small_batch import SmallBatch
from dualpath.online.writer import FencedWrite
from dualpath.record import Fence
from dualpath.repo import Repo
from parity_tests import faults

EVENTS = faults.events()
LINES = faults.payloads(EVENTS)
POISON = [
    b"",
    b"hello",
    b"[1]",
    b'{"user_id": "ann"',
    LINES[0] + LINES[1],
    b'{"user_id":"\xff\xfe","action":"x","event_time":"2026-03-01T10:00:00Z","arrival_time":"2026-03-01T10:00:00Z"}',
    b'{"user_id":"ann","action":"x","event_time":"yesterday","arrival_time":"2026-03-01T10:00:00Z"}',
    b'{"user_id":"ann","action":"x","event_time":"2026-03-01T10:00:00Z"}',
    b'{"action":"x","event_time":"2026-03-01T10:00:00Z","arrival_time":"2026-03-01T10:00:00Z"}',
    b'{"user_id":"ann","action":"x","amount":"NaN","event_time":"2026-03-01T10:00:00Z",'
    b'"arrival_time":"2026-03-01T10:00:00Z"}',
]
LINES_CONTENT = [tuple((k, v) for k, v in json.loads(line).items() if k != "arrival_time") for line in LINES]


def half_of(small_batch: SmallBatch) -> SmallBatch:
    """The records of every second entity."""
    entities = small_batch.records["entity"].unique().to_pylist()
    return replace(
        small_batch,
        records=small_batch.records.filter(pc.is_in(small_batch.records["entity"], pa.array(entities[::2]))),
    )


def write(repo: Repo, fence: Fence, entity: str, *words: list[int]) -> int:
    """Append records of a product's views under a fence; answers how many keys were written."""
    view = repo.views["product_activity"]
    part = repo.destination(view, "n1")
    target = FencedWrite(repo.redis_address, repo.project, {view.name: part}, fence)
    rows = pa.record_batch([[view.name] * len(words), ["2026-03-01"] * len(words), [entity] * len(words), list(words)],
                           ["view", "arrival_day", "entity", "words"])  # fmt: skip
    [answer] = target.write([rows])
    return answer["parts"][0].as_py()


def leave_out_half(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, nth: int | None = None) -> None:
    """Let the rows that a function of `owner` makes for Redis lack half of the entities; with `nth`, of that call
    alone."""
    real, calls = getattr(owner, name), itertools.count(1)

    def half(*args: Any) -> DataFrame:
        rows, call = real(*args), next(calls)
        return rows.where("pmod(xxhash64(entity), 2) = 0") if nth in (None, call) else rows

    monkeypatch.setattr(owner, name, half)
