"""Turns the Kafka options of a command into payload sources, or into the settings of a client."""

from collections.abc import Sequence
from datetime import UTC, datetime

from dualpath.errors import InputError
from dualpath.sources.kafka import Kafka


def payloads(
    bootstrap: str | None,
    sources: Sequence[str],
    *,
    topic: str | None,
    pattern: str | None,
    options: Sequence[str] | None,
    offsets_per_batch: int | None,
    starting_timestamp: datetime | None,
    accept_loss: bool,
) -> list[Kafka] | None:
    """The payloads of each event source: of the topic or pattern that is named, else of the topic of the source's name.

    None without an address, and then no other option of Kafka may be given.
    """
    if bootstrap is None:
        if topic or pattern or options or offsets_per_batch or starting_timestamp or accept_loss:
            raise InputError("a topic or another option of Kafka was given without its address; name it with --kafka.")
        return None
    return [
        Kafka(
            bootstrap,
            topic if topic or pattern else source,
            pattern,
            offsets_per_batch=offsets_per_batch,
            starting_timestamp=starting_timestamp and starting_timestamp.replace(tzinfo=UTC),
            accept_loss=accept_loss,
            client=settings(options),
        )
        for source in sources
    ]


def client(bootstrap: str, options: Sequence[str] | None) -> dict[str, str]:
    """The settings of a client of librdkafka."""
    return {**settings(options), "bootstrap.servers": bootstrap}


def settings(options: Sequence[str] | None) -> dict[str, str]:
    """Parse the settings in `NAME=VALUE` words.

    >>> settings(["security.protocol=SASL_SSL", "sasl.password=a=b"])
    {'security.protocol': 'SASL_SSL', 'sasl.password': 'a=b'}
    """
    found = {}
    for option in options or ():
        name, given, value = option.partition("=")
        if not (name and given):
            raise InputError(f"--kafka-option {option} is not of the form NAME=VALUE.")
        found[name] = value
    return found
