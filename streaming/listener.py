"""Spark's reports of a query, handed to its source's meter."""

import atexit
import json
from threading import Event
from typing import TYPE_CHECKING

from pyspark.sql import SparkSession
from pyspark.sql.streaming.listener import StreamingQueryListener

from streaming.metrics import Meter

if TYPE_CHECKING:
    from pyspark.sql.streaming.listener import (
        QueryIdleEvent,
        QueryProgressEvent,
        QueryStartedEvent,
        QueryTerminatedEvent,
    )


PATIENCE = 2.0
"""Seconds that the end of the process waits for the last report of a query that was stopped."""


class Listener(StreamingQueryListener):
    """Listens to the query of a name, from before it starts until it ends; Spark calls it beside the batches."""

    def __init__(self, spark: SparkSession, name: str, meter: Meter) -> None:
        self.streams, self.name, self.meter = spark.streams, name, meter
        self.run, self.ended = "", Event()
        self.streams.addListener(self)
        # Spark complains of each report that it cannot deliver to a Python that has gone.
        atexit.register(self.ended.wait, PATIENCE)

    def onQueryStarted(self, event: "QueryStartedEvent") -> None:  # noqa: N802 - Spark's name
        if event.name == self.name:
            self.run = str(event.runId)

    def onQueryProgress(self, event: "QueryProgressEvent") -> None:  # noqa: N802
        if str(event.progress.runId) == self.run:
            self.meter.progress(json.loads(event.progress.json))

    def onQueryIdle(self, event: "QueryIdleEvent") -> None:  # noqa: N802
        if str(event.runId) == self.run:
            self.meter.idle()

    def onQueryTerminated(self, event: "QueryTerminatedEvent") -> None:  # noqa: N802
        if str(event.runId) == self.run:
            self.meter.save()
            self.streams.removeListener(self)
            self.ended.set()
