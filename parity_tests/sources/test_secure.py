"""Encrypted and behind a password: a Kafka that wants SASL over TLS and a Redis that wants TLS, and nothing else given
to the product than the clients' own settings and the connection string."""

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pyspark.sql import SparkSession

from dualpath.errors import UnavailableError
from dualpath.jobs.build import build
from dualpath.jobs.stream import start
from dualpath.parity.check import check
from dualpath.runtime.kafka import Broker, create_topic
from dualpath.runtime.redis import HOST
from dualpath.sources import kafka
from dualpath.sources.kafka import Kafka
from parity_tests import faults
from parity_tests.conftest import SOURCE
from parity_tests.console.commands import run_json
from parity_tests.online.test_cluster import ASKED, PASSWORD, free_port, repo_on, server

LINES = faults.payloads(faults.events())
TOPIC = "events"
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
LISTENER = """
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={identity}
listener.name.secure.sasl.enabled.mechanisms=PLAIN
listener.name.secure.plain.sasl.jaas.config={login} user_ann="{password}";
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of this machine that nobody else has signed."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now, day = datetime.now(UTC), timedelta(days=1)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder, form = tmp_path_factory.mktemp("certificate"), serialization.PrivateFormat.PKCS8
    public = signed.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (folder / "identity.pem").write_bytes(private + public)
    (folder / "public.pem").write_bytes(public)
    return folder


@pytest.fixture(scope="module")
def secured(broker: Broker, certificate: Path) -> str:
    """The address at which the broker, started anew, wants TLS and a password."""
    create_topic(broker.address, TOPIC, partitions=2)
    settings, port = broker.folder / "server.properties", free_port()
    text = settings.read_text().replace(",CONTROLLER://", f",SECURE://{HOST}:{port},CONTROLLER://")
    text = text.replace("CONTROLLER:PLAINTEXT", "CONTROLLER:PLAINTEXT,SECURE:SASL_SSL")
    listener = LISTENER.format(identity=certificate / "identity.pem", login=LOGIN, password=PASSWORD)
    settings.write_text(text + listener)
    broker.stop()
    broker.start()
    return f"{HOST}:{port}"


def consumer(certificate: Path, password: str = PASSWORD) -> dict[str, str]:
    """The settings of Kafka's own client, which Spark has."""
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": f'{LOGIN} username="ann" password="{password}";',
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificate / "public.pem"),
    }


class Tunnel(ThreadingTCPServer):
    """TLS in front of a server that has none, as a load balancer of a cloud puts it there."""

    daemon_threads = True

    def __init__(self, certificate: Path, port: int) -> None:
        super().__init__((HOST, 0), _Connection)
        self.port = port
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "identity.pem")
        self.context = context


class _Connection(BaseRequestHandler):
    server: Tunnel

    def handle(self) -> None:
        try:
            inside = self.server.context.wrap_socket(self.request, server_side=True)
        except OSError:  # one that speaks no TLS, or does not trust the certificate
            return
        with closing(inside), socket.create_connection((HOST, self.server.port)) as outside, suppress(OSError):
            while True:  # one thread: a TLS socket is not for two
                ready = [inside] if inside.pending() else select.select([inside, outside], [], [])[0]
                for source in ready:
                    data = source.recv(65_536)
                    if not data:
                        return
                    (outside if source is inside else inside).sendall(data)


@pytest.fixture
def redis_address(certificate: Path, tmp_path: Path) -> Iterator[str]:
    """A Redis with a password behind TLS."""
    with server(tmp_path / "redis", free_port()) as behind, Tunnel(certificate, behind.port) as tunnel:
        threading.Thread(target=tunnel.serve_forever, daemon=True).start()
        yield f"{HOST}:{tunnel.server_address[1]}"
        tunnel.shutdown()


@pytest.mark.slow
def test_what_is_produced_streamed_and_served_over_tls_is_what_is_trained(
    spark: SparkSession, applied: Path, tmp_path: Path, certificate: Path, secured: str, redis_address: str
) -> None:
    trusted = f"ssl=true,ssl_ca_certs={certificate / 'public.pem'}"
    repo = repo_on(applied, tmp_path / "feature_repo", f"{redis_address},{trusted},password={PASSWORD}")
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(LINES))
    options = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "ann",
        "sasl.password": PASSWORD,
        "ssl.ca.location": certificate / "public.pem",
    }
    words = [word for name, value in options.items() for word in ("--kafka-option", f"{name}={value}")]
    run_json("produce", file, "--repo", repo.folder, "--kafka", secured, "--topic", TOPIC, "--rate", "100000", *words)
    start(spark, repo, repo.sources[SOURCE], Kafka(secured, TOPIC, client=consumer(certificate))).awaitTermination()
    found = faults.counts(repo)
    assert (found["rows_read"], found["dead_letter"]) == (len(LINES), 0)
    build(spark, repo, repo.sources[SOURCE])
    proof = check(repo, cells=1_000, oracle_cells=200, seed=0)
    assert proof.cells >= 1_000
    assert (proof.differing, proof.oracle_differing) == (0, 0)


def test_a_redis_whose_certificate_is_not_trusted_is_one_sentence(
    applied: Path, tmp_path: Path, redis_address: str
) -> None:
    repo = repo_on(applied, tmp_path / "feature_repo", f"{redis_address},ssl=true,password={PASSWORD}")
    repo.store.config.online_store.read_deadline_ms = 10_000  # a busy machine may not say hello in 250
    with pytest.raises(UnavailableError, match=rf"Redis at {redis_address} .*certificate") as raised:
        repo.store.get_online_features(*ASKED)
    assert PASSWORD not in raised.value.message


def test_a_kafka_that_refuses_the_password_is_one_sentence(
    spark: SparkSession, certificate: Path, secured: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "ANSWER_TIMEOUT_MS", 5_000)
    with pytest.raises(UnavailableError, match=rf"Kafka at {secured} cannot be used .*Authentication failed") as raised:
        Kafka(secured, TOPIC, client=consumer(certificate, "guessed")).read(spark)
    assert "guessed" not in raised.value.message
