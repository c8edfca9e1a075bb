"""What the tests share."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from dualpath.spark.session import session


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """One Spark session, in UTC, for the whole run: starting it costs more than most tests."""
    started = session("parity-tests", cores=2)
    yield started
    started.stop()
