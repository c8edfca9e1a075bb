"""Clients of Kafka, and a real broker on this machine, one node in KRaft mode, for the demo and the tests.

The broker lives as long as the `Broker` that started it; its data stays in its folder.
"""

import os
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import tenacity
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from dualpath.errors import InputError, UnavailableError
from dualpath.runtime import jars, java
from dualpath.runtime.service import Service, ended

HOST = "127.0.0.1"
TIMEOUT_SECONDS = 60.0
"""How long the broker may take to start, to end and to answer: a start takes several seconds on a busy machine."""
ANSWER_TIMEOUT_SECONDS = 15.0
"""How long another broker may take to answer."""
MEMORY = "-Xmx512m"
QUICKLY = "-XX:TieredStopAtLevel=1"
WARNINGS = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=BROKER://{host}:{broker},CONTROLLER://{host}:{controller}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
# Whatever the age of the events, a topic keeps them; by default a replayed month would be deleted at once.
log.retention.ms=-1
"""


class Broker(Service):
    """The broker whose data is in `folder`; `with Broker(folder) as broker` starts and stops it.

    It listens on 127.0.0.1 only, without encryption or passwords, and at the same port each time: the one it found
    free when the folder was new.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str] = os.environ) -> None:
        self.folder, self.environ = folder.resolve(), environ
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The bootstrap server, "127.0.0.1:PORT"; known once the broker has been started."""
        listeners = next(line for line in self._properties.read_text().splitlines() if line.startswith("listeners="))
        return listeners.partition("://")[2].partition(",")[0]

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _log(self) -> Path:
        return self.folder / "broker.log"

    @property
    def _cluster(self) -> str:
        """The name of the cluster, which only this broker belongs to."""
        lines = (self.folder / "data" / "meta.properties").read_text().splitlines()
        return next(line for line in lines if line.startswith("cluster.id=")).partition("=")[2]

    def start(self) -> str:
        """Start it, wait until it answers, and return its address; fetches the jars if they are not there.

        Raises:
            UnavailableError: it does not start; carries the end of its log.
        """
        classes = f"{jars.folder('broker', self.environ)}/*"
        jars.fetch("broker", self.environ)
        command = [str(java.find(self.environ).executable), MEMORY, QUICKLY, WARNINGS, "-cp", classes]
        if not self._properties.exists():
            self._format(command)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "kafka.Kafka", str(self._properties)],
                env=dict(self.environ),
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the program that reads from the broker; the broker is stopped after it.
                start_new_session=True,
            )
        if not self._comes_up():
            self.stop()
            lines = self._log.read_text(errors="replace").splitlines()
            tail = [line for line in lines if not line.startswith("\tat ")][-8:]
            raise UnavailableError(
                f"The Kafka broker for {self.folder} did not start at {self.address}. Its log ends with:\n  "
                + "\n  ".join(tail)
            )
        return self.address

    def stop(self) -> None:
        """End it and wait until it has written everything; nothing happens if it does not run."""
        if self.process is None:
            return
        self.process.terminate()
        ended(self.process, TIMEOUT_SECONDS)
        self.process = None

    def _format(self, command: list[str]) -> None:
        """Give a new folder its configuration and its empty storage."""
        self.folder.mkdir(parents=True, exist_ok=True)
        broker, controller = _free_ports(2)
        # The final name comes last: a folder that has it is formatted.
        draft = self._properties.with_suffix(".draft")
        draft.write_text(PROPERTIES.format(host=HOST, broker=broker, controller=controller, folder=self.folder))
        name = uuid4().hex[:22]  # as base64, sixteen bytes
        tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", name, "-c", str(draft)]
        done = subprocess.run([*command, *tool], env=dict(self.environ), capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["it does not say why"]
            raise UnavailableError(f"Kafka cannot prepare its storage in {self.folder}: {said[-1]}")
        draft.replace(self._properties)

    def _comes_up(self) -> bool:
        """Wait until it answers; False if it has ended instead, or takes too long."""
        process, admin = self.process, client(self.address)
        assert process is not None, "it has been started"

        def answers() -> bool:
            with suppress(KafkaException):
                # Another broker may have taken the port meanwhile.
                return admin.list_topics(timeout=1).cluster_id == self._cluster
            return False

        return _until(lambda: process.poll() is not None or answers()) and process.poll() is None


def client(address: str) -> AdminClient:
    """An administrator's client that comes back quickly to a broker that was away, and keeps quiet meanwhile."""
    return AdminClient({"bootstrap.servers": address, "reconnect.backoff.max.ms": 200, "log_level": 0})


def producer(settings: Mapping[str, Any]) -> Producer:
    """A producer; unless librdkafka's `settings` say otherwise, it sends each message once and keeps quiet.

    Raises:
        InputError: the client refuses its settings.
    """
    try:
        return Producer({"log_level": 0, "enable.idempotence": True, **settings})
    except KafkaException as error:
        raise InputError(f"Kafka's client refuses its settings: {error.args[0].str()}.") from None


def create_topic(address: str, name: str, *, partitions: int, config: Mapping[str, str] | None = None) -> None:
    """Make a topic and wait until clients see it; `config` holds topic settings, as `message.timestamp.type`.

    Raises:
        UnavailableError: the broker does not answer, or refuses, as it does if the topic is there already.
    """
    admin, topic = client(address), NewTopic(name, num_partitions=partitions, config=dict(config or {}))
    [made] = admin.create_topics([topic]).values()
    try:
        made.result()
        visible = _until(lambda: name in admin.list_topics(timeout=TIMEOUT_SECONDS).topics)
    except KafkaException as error:
        raise UnavailableError(f"The topic {name} cannot be made at {address}: {error.args[0].str()}") from None
    if not visible:
        raise UnavailableError(
            f"The topic {name} was made at {address} but is not there after {TIMEOUT_SECONDS:.0f} s."
        )


def retention(settings: Mapping[str, Any], topics: Iterable[str]) -> dict[str, timedelta | None]:
    """How long topics keep messages; None: for ever, as a compacted one keeps the last of a key.

    One that is not there is left out. `settings` are librdkafka's.

    Raises:
        UnavailableError: the broker does not answer, or the client refuses its settings.
    """
    try:
        admin = AdminClient({"log_level": 0, **settings})
        there = admin.list_topics(timeout=ANSWER_TIMEOUT_SECONDS).topics
        asked = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics if topic in there]
        answers = admin.describe_configs(asked, request_timeout=ANSWER_TIMEOUT_SECONDS) if asked else {}
        told = {each.name: {n: entry.value for n, entry in answer.result().items()} for each, answer in answers.items()}
    except KafkaException as error:
        raise UnavailableError(f"Kafka cannot be asked for the retention of topics: {error.args[0].str()}.") from None
    return {
        name: timedelta(milliseconds=int(config["retention.ms"]))
        if "delete" in config["cleanup.policy"] and int(config["retention.ms"]) >= 0
        else None
        for name, config in told.items()
    }


def _until(condition: Callable[[], bool]) -> bool:
    """Wait for something to become true; False if it takes too long."""
    patiently = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda met: not met),
        stop=tenacity.stop_after_delay(TIMEOUT_SECONDS),
        wait=tenacity.wait_fixed(0.05),
        retry_error_callback=lambda state: False,
    )
    return patiently(condition)


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on, all different."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
