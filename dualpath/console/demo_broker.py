"""`demo --kafka`: a Kafka broker, and the landed events in a topic of it."""

import fileinput
from contextlib import ExitStack

from dualpath.console.produce import entity
from dualpath.console.report import busy
from dualpath.demo.replay import replay
from dualpath.files.places import local
from dualpath.plural import plural
from dualpath.repo import Repo
from dualpath.runtime.kafka import Broker, client, create_topic
from dualpath.schema import EventSource
from dualpath.sources.kafka import Kafka

PARTITIONS = 4
MESSAGES_PER_BATCH = 40_000


def send(repo: Repo, source: EventSource, held: ExitStack) -> tuple[Kafka, list[str]]:
    """Start a broker, which runs until `held` is closed, and send the landing files of a source to a topic of it.

    A topic that is there already, as after `--keep`, is left as it is. Returns the topic and what there is to say.
    """
    broker, topic = Broker(local(repo.root, "a broker of the demo's own") / "kafka"), source.name
    with busy("Starting a Kafka broker"):
        held.callback(broker.stop)
        address = broker.start()
    payloads = Kafka(address, topic, offsets_per_batch=MESSAGES_PER_BATCH)
    said = f"A broker of the demo's own listens at {address}."
    if topic in client(address).list_topics(timeout=10).topics:
        return payloads, [said, f"The topic {topic} is there already; no more messages are sent."]
    create_topic(address, topic, partitions=PARTITIONS, config={"message.timestamp.type": "LogAppendTime"})
    files = sorted((local(repo.root, "the demo") / source.name / "landing").glob("*.jsonl"))
    with busy(f"Sending messages to {topic}"), fileinput.input(files, mode="rb") as lines:
        sent = replay(lines, topic, source, key=entity(repo, source), client={"bootstrap.servers": address})
    return payloads, [said, f"{plural(sent, 'message')} sent to {PARTITIONS} partitions of the topic {topic}."]
