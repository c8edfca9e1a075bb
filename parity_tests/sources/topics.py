"""What the tests of Kafka share."""

import itertools

from pyspark.sql import SparkSession

from dualpath.jobs.stream import start
from dualpath.repo import Repo
from dualpath.sources.kafka import Kafka
from parity_tests import faults
from parity_tests.conftest import SOURCE

LINES = faults.payloads(faults.events())
NUMBERS = itertools.count()
LOG_APPEND = {"message.timestamp.type": "LogAppendTime"}


def stream(spark: SparkSession, repo: Repo, payloads: Kafka) -> None:
    """Run the stream to the end of what is there."""
    start(spark, repo, repo.sources[SOURCE], payloads).awaitTermination()
