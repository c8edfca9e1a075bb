"""Spark's reports of a query, handed to its source's meter."""

import json
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


class Listener(StreamingQueryListener):
    """Listens to the query of a name, from before it starts until it ends; Spark calls it beside the batches."""

    def __init__(self, spark: SparkSession, name: str, meter: Meter) -> None:
        self.streams, self.name, self.meter = spark.streams, name, meter
        self.run = ""
        self.streams.addListener(self)

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
