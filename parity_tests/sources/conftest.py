"""Topics that the tests of Kafka share."""

import pytest

from dualpath.runtime.kafka import Broker, create_topic
from parity_tests.sources.topics import LOG_APPEND, NUMBERS


@pytest.fixture
def topic(broker: Broker) -> str:
    """A new topic of four partitions whose arrival times are the broker's."""
    name = f"events-{next(NUMBERS)}"
    create_topic(broker.address, name, partitions=4, config=LOG_APPEND)
    return name
