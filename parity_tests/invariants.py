"""Invariants: whatever broke, the stream ends in the bits that the batch path computes, and the counts add up.

Each function returns what is wrong, in words; nothing if all holds.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from dualpath.console import status
from dualpath.files.parquet import dataset
from dualpath.jobs.build import build
from dualpath.log import audit
from dualpath.log.table import DEAD_LETTER
from dualpath.offline.history import RECORDS, History, view_version, words_of
from dualpath.parity.check import check
from dualpath.repo import Repo
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE
from parity_tests.events import records

FIELDS = ("user_id", "action", "product_id", "category", "quantity", "amount", "order_value", "event_time")
"""What makes two deliveries the same event."""
OF_CHANGES = ("order_id", "user_id", "before_user_id", "sku", "amount", "lsn", "op", "event_time")
"""The same of the orders in `parity_tests.chaos`."""
Bag = Counter[tuple[Any, ...]]


def violations(
    spark: SparkSession, repo: Repo, valid: Sequence[bytes], dead: Sequence[bytes | None] = (), *, cells: int = 1_000
) -> list[str]:
    """Everything that is wrong once a stream has read all that was delivered: good lines, and what is no event."""
    return [*stream_violations(repo, valid, dead), *parity_violations(spark, repo, cells)]


def stream_violations(
    repo: Repo, valid: Sequence[bytes], dead: Sequence[bytes | None], source: str = SOURCE
) -> list[str]:
    """Without Spark: the counts, the log against what was delivered, and the served records against the log."""
    found, expected = faults.counts(repo, source), distinct(valid, source)
    counts = {
        "rows_read": len(valid) + len(dead),
        "accepted": len(expected),
        "duplicate": len(valid) - len(expected),
        "dead_letter": len(dead),
    }
    wrong = [f"{name} is {found[name]:,}, not {n:,}" for name, n in counts.items() if found[name] != n]
    wrong += audit.faults(repo.storage(source), repo.storage(source).accounts(), opened=True)
    online = status.report(repo).data["online_store"]
    own = [view.name for view in repo.views_of(source)]
    wrong += [f"the online store is {state}" for view, state in online.items() if view in own and state != "whole"]
    known = faults.log(repo, source)
    doubled = [n for n in Counter(known["event_id"].to_pylist()).values() if n > 1]
    wrong += [f"{len(doubled)} ids are in the log more than once"] if doubled else []
    fields = FIELDS if source == SOURCE else OF_CHANGES
    logged = Counter(zip(*(known[name].to_pylist() for name in fields), strict=True))
    wrong += difference("the log", logged, "what was delivered", Counter(expected))
    kept = Counter(dead_letters(repo, source))
    sent = Counter(None if line is None else line.decode(errors="replace") for line in dead)
    wrong += difference("the dead letters", kept, "what is no event", sent)
    of_log = log_records(repo, known, source)
    return wrong + difference("the online store", faults.records(repo, source), "the log's records", of_log)


def parity_violations(spark: SparkSession, repo: Repo, cells: int) -> list[str]:
    """Record by record and value by value: the stream's state against the batch path's, both against the oracle."""
    wrong = []
    for name, source in repo.sources.items():
        build(spark, repo, source)
        wrong += difference(
            "the online store", faults.records(repo, name), "the record files", file_records(repo, name)
        )
    proof = check(Repo(repo.folder), cells=cells, oracle_cells=cells // 10)
    if proof.passed:
        return wrong
    differing = f"{proof.differing} of {proof.cells} cells differ, {proof.oracle_differing} from the oracle"
    return [*wrong, differing, *proof.examples]


def distinct(lines: Sequence[bytes], source: str = SOURCE) -> set[tuple[Any, ...]]:
    """The events that lines are about, as rows of `FIELDS`, or of `OF_CHANGES`."""
    return {(event if source == SOURCE else change)(json.loads(line)) for line in lines}


def change(members: Mapping[str, Any]) -> tuple[Any, ...]:
    """The same of a change of an order."""
    before, row = members["before"], members["after"] or members["before"]
    was = before["user_id"] if before and before["user_id"] != row["user_id"] else None
    there = members["after"] or {"sku": None, "amount": None}
    amount = None if there["amount"] is None else Decimal(there["amount"])
    found = (row["id"], row["user_id"], was, there["sku"], amount, members["lsn"], members["op"])
    return (*found, datetime.fromisoformat(members["event_time"]))


def event(members: Mapping[str, Any]) -> tuple[Any, ...]:
    """A payload's members with the values that the log has; the arrival is no part of an event."""

    def typed(name: str, value: Any) -> Any:
        if name == "event_time":
            return datetime.fromisoformat(value)
        if value is not None and name in ("amount", "order_value"):
            return Decimal(str(value))
        return int(value) if value is not None and name == "quantity" else value

    return tuple(typed(name, members.get(name)) for name in FIELDS)


def dead_letters(repo: Repo, source: str = SOURCE) -> list[str | None]:
    """The payload of every dead letter."""
    found = logged.rows(repo.storage(source), DEAD_LETTER)
    return found["payload"].to_pylist() if len(found) else []


def log_records(repo: Repo, known: pa.Table, source: str) -> Bag:
    """The records that the events of the log have by the declaration alone, without Spark."""
    instants = {name: known[name].cast(pa.int64()) for name in ("event_time", "arrival_time")}
    for name, column in instants.items():
        known = known.set_column(known.column_names.index(name), name, column)
    events, bag = known.to_pylist(), Bag()
    for view in repo.views_of(source):
        entities, words = records(view, events)
        bag.update((view.name, entity, *row) for entity, row in zip(entities, words.tolist(), strict=True))
    return bag


def file_records(repo: Repo, source: str) -> Bag:
    """The records that the batch path has written."""
    history, bag = History(repo.root), Bag()
    for view in repo.views_of(source):
        table = dataset(history.paths(view_version(view)), RECORDS).to_table()
        width = len(table["words"][0]) if len(table) else 1
        rows = words_of(table["words"], width) if len(table) else np.empty((0, width), dtype=np.int64)
        bag.update(
            (view.name, name, *row) for name, row in zip(table["entity"].to_pylist(), rows.tolist(), strict=True)
        )
    return bag


def difference(left: str, found: Counter[Any], right: str, expected: Counter[Any]) -> list[str]:
    """How two bags differ."""
    more, less = found - expected, expected - found
    if not (more or less):
        return []
    example = next(iter(more or less))
    return [f"{left}: {more.total():,} more and {less.total():,} less than {right}, as {example}"]
