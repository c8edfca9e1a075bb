"""Spark's reports of a query, handed to its source's meter."""

import atexit
import json
from collections.abc import Callable
from threading import Event
from typing import TYPE_CHECKING, Any

from pyspark.sql import SparkSession
from pyspark.sql.streaming.listener import JStreamingQueryListener, StreamingQueryListener

from dualpath.jobs.metrics import Meter

if TYPE_CHECKING:
    from pyspark.sql.streaming.listener import QueryIdleEvent, QueryStartedEvent, QueryTerminatedEvent


LAST_REPORT_TIMEOUT_SECONDS = 2.0
"""How long the end of the process waits for the last report of a query that was stopped."""


class Listener(StreamingQueryListener):
    """Listens to the query of a name, from before it starts until it ends; Spark calls it beside the batches.

    `idle` is called when a trigger has found nothing to read.
    """

    def __init__(self, spark: SparkSession, name: str, meter: Meter, idle: Callable[[], None]) -> None:
        self.streams, self.name, self.meter, self.idle = spark.streams, name, meter, idle
        self.run, self.ended = "", Event()
        wrapper = spark._jvm.org.apache.spark.sql.streaming.PythonStreamingQueryListenerWrapper  # type: ignore[union-attr]
        self._jlistenerobj = wrapper(_AsWritten(self))
        self.streams.addListener(self)
        # Spark complains of each report that it cannot deliver to a Python that has gone.
        atexit.register(self.ended.wait, LAST_REPORT_TIMEOUT_SECONDS)

    def onQueryStarted(self, event: "QueryStartedEvent") -> None:  # noqa: N802 - Spark's name
        if event.name == self.name:
            self.run = str(event.runId)

    def onQueryProgress(self, event: str) -> None:  # type: ignore[override]  # noqa: N802
        report = json.loads(event)
        if report["runId"] == self.run:
            self.meter.progress(report)

    def onQueryIdle(self, event: "QueryIdleEvent") -> None:  # noqa: N802
        if str(event.runId) == self.run:
            self.meter.idle()
            self.idle()

    def onQueryTerminated(self, event: "QueryTerminatedEvent") -> None:  # noqa: N802
        if str(event.runId) == self.run:
            self.meter.save()
            self.streams.removeListener(self)
            self.ended.set()


class _AsWritten(JStreamingQueryListener):
    """Hands over a report as the JSON that it is. PySpark would take it apart through Py4J, where the end of each of
    its maps is an exception about which it asks the JVM fourteen questions: a tenth of a second of CPU a batch."""

    def onQueryProgress(self, jevent: Any) -> None:  # noqa: N802
        self.pylistener.onQueryProgress(jevent.progress().json())
