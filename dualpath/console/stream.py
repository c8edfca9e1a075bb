"""`stream`: the streaming job in the foreground, until the input ends or a signal asks it to."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from dualpath.console.cause import explain
from dualpath.console.report import Report, busy
from dualpath.console.signals import asked_to_stop
from dualpath.errors import UnavailableError
from dualpath.jobs.handover import hand_over
from dualpath.jobs.metrics import Metrics
from dualpath.jobs.stream import start
from dualpath.log.accounts import Total
from dualpath.offline.history import History
from dualpath.online.connection import FAILED, shown
from dualpath.plural import plural
from dualpath.repo import Repo
from dualpath.runtime import jars
from dualpath.runtime.prometheus import exposed
from dualpath.schema import EventSource
from dualpath.sources.directory import Directory
from dualpath.sources.kafka import Kafka
from dualpath.sources.source import PayloadSource

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

STOP_TIMEOUT_SECONDS = 60.0
"""How long a batch may take to finish when asked to stop; the next start repeats one that was cut off."""

Inputs = Sequence[tuple[EventSource, PayloadSource]]
"""Each event source with its payload source."""


def landed(repo: Repo, sources: Sequence[EventSource], files_per_batch: int) -> Inputs:
    """Each source's landing folder."""
    return [(s, Directory(repo.storage(s.name).folder("landing"), files_per_batch)) for s in sources]


def run(
    repo: Repo,
    inputs: Inputs,
    *,
    interval: timedelta | None,
    from_snapshot: bool = False,
    metrics_port: int | None = None,
) -> Report:
    """Stream the sources: for ever with an `interval`, without one to the end of what is there.

    With `from_snapshot` the online store is filled from the log first, and a new generation begins.
    """
    from dualpath.jobs.session import session_of

    with ExitStack() as held, busy("Starting Spark") as say:
        for source, _ in inputs:
            held.enter_context(repo.storage(source.name).alone())
        metrics = Metrics()
        if metrics_port is not None:
            held.enter_context(exposed(metrics.registry, metrics_port))
        kafka = any(isinstance(payloads, Kafka) for _, payloads in inputs)
        spark = session_of(repo, "dualpath-stream", jars.settings(os.environ) if kafka else None)
        for source, _ in inputs if from_snapshot else ():
            say(f"Filling the online store from the log of {source.name}")
            new_generation(spark, repo, source)
        return drain(spark, repo, inputs, interval=interval, say=say, metrics=metrics)


def new_generation(spark: "SparkSession", repo: Repo, source: EventSource) -> None:
    """Build the record files of the published snapshot for the present declarations, then hand over."""
    from dualpath.jobs.build import build

    if published := History(repo.root).published(source.name):
        build(spark, repo, source, through=date.fromisoformat(published))
    try:
        hand_over(spark, repo, source)
    except FAILED as error:
        where = shown(repo.redis_address)
        raise UnavailableError(f"cannot fill the online store: Redis at {where} says: {error}.") from None


def drain(
    spark: "SparkSession",
    repo: Repo,
    inputs: Inputs,
    *,
    interval: timedelta | None = None,
    say: Callable[[str], None],
    metrics: Metrics | None = None,
) -> Report:
    """Stream the sources on a session that runs already; the report counts what this run alone has done."""
    before = {source.name: repo.storage(source.name).accounts().total() for source, _ in inputs}
    with asked_to_stop() as stop:
        queries = []
        try:
            for source, payloads in inputs:
                queries.append(start(spark, repo, source, payloads, interval=interval, metrics=metrics))
            follow(queries, stop, lambda: say(progress(repo, queries, before, interval)))
            say("Stopping after the batch under way")
        finally:
            for query in queries:
                end(query)
    done = {name: repo.storage(name).accounts().total().since(earlier) for name, earlier in before.items()}
    data = {"sources": {name: each.counts | {"batches": each.batches} for name, each in done.items()}}
    return Report(data, [f"{name}: {each}" for name, each in done.items()])


def follow(queries: "Sequence[StreamingQuery]", stop: threading.Event, say: Callable[[], None]) -> None:
    """Wait until every query has ended or `stop` is set; raises the error of one that fails, explained if it
    can be."""
    reported: list[Any] = []
    while any(query.isActive for query in queries) and not stop.wait(0.2):
        ended = [p["batchId"] for query in queries if (p := query.lastProgress)]
        if ended != reported:
            say()
            reported = ended
        if any(query.exception() for query in queries):
            break
    for query in queries:
        if error := query.exception():
            raise explain(error) or error


def end(query: "StreamingQuery") -> None:
    """Stop a query between two batches if it gets there in time."""
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while query.isActive and query.status["isTriggerActive"] and time.monotonic() < deadline:
        time.sleep(0.02)
    query.stop()


def progress(
    repo: Repo, queries: "Sequence[StreamingQuery]", before: dict[str, Total], interval: timedelta | None
) -> str:
    """One line: rows in so far, by the ledger, and the last batch."""
    done = [repo.storage(name).accounts().total().since(start) for name, start in before.items()]
    rows, batches = sum(d.rows_read for d in done), sum(d.batches for d in done)
    reports: list[Any] = [p for q in queries if (p := q.lastProgress) and p["numInputRows"]]
    took = f", the last in {reports[-1]['durationMs']['triggerExecution'] / 1000:.1f} s" if reports else ""
    hint = "" if interval is None else "; Ctrl-C stops"
    return f"Streaming: {plural(rows, 'row')} in, {plural(batches, 'batch')}{took}{hint}"
