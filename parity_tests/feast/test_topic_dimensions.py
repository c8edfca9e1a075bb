"""Dimensions in a Kafka topic and in a Delta table: through the stream to every answer, and what becomes of faults."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from confluent_kafka import Producer, TopicPartition
from deltalake import write_deltalake
from pyspark.sql import DataFrame, SparkSession

from dualpath.dimension import dimension, lookup
from dualpath.errors import InputError, UnavailableError
from dualpath.jobs.build import build
from dualpath.jobs.dimensions import Dimensions
from dualpath.jobs.metrics import Meter, Metrics
from dualpath.jobs.sink import Sink
from dualpath.jobs.stream import start
from dualpath.online.connection import embedded_folder
from dualpath.preview import preview
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.runtime.kafka import Broker, client, create_topic
from dualpath.schema import EventSource, text
from dualpath.sources.dimensions import load
from dualpath.sources.directory import Directory
from dualpath.sources.kafka import Kafka
from dualpath.sources.tables import State
from dualpath.sources.topic_tables import Topics
from dualpath.spark import lookups
from dualpath.versions import Versions
from parity_tests.both_ways import served_and_trained
from parity_tests.conftest import REPOS
from parity_tests.logged import rows

pytestmark = pytest.mark.slow
START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=1)
COMPACT = {"cleanup.policy": "compact,delete"}  # else nothing can be deleted on demand
SHOPS = {"chain": ["x", "x", "y"], "shop": [1, 1, 1], "batch": ["north", "south", "south"],
         "opened": [1772323200, 1772355600, 1772323200]}  # fmt: skip


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


@pytest.fixture
def repo(tmp_path: Path, broker: Broker) -> Iterator[Repo]:
    """Its products are the topic `products`, of two partitions, and its shops a Delta table."""
    folder = tmp_path / "repo"
    shutil.copytree(REPOS / "dimensions", folder, ignore=shutil.ignore_patterns("__pycache__"))
    declared, topic = (folder / "sales.py").read_text(), f"products-{tmp_path.name}"
    declared = declared.replace('path="tables/products"', f'topic="{topic}"').replace("shops.csv", "shops")
    (folder / "sales.py").write_text(declared)
    create_topic(broker.address, topic, partitions=2, config=COMPACT)
    write_deltalake(folder / "tables" / "shops", pa.table(SHOPS))
    made = Repo(folder)
    made.apply()
    yield made
    redis.stop(embedded_folder(made.store.config))


def topic_of(repo: Repo) -> str:
    return str(repo.sources["sales"].lookups[0].dimension.topic)


@dataclass(frozen=True)
class Version:
    """A message of the topic of products; a tombstone has no category."""

    product: str
    begin: datetime
    category: str | None
    price: str | None = None
    says_when: bool = True

    def send(self, producer: Producer, topic: str) -> None:
        value = {"category": self.category, "price": self.price}
        if self.says_when:
            value["valid_from"] = self.begin.isoformat()
        sent = self.begin if self.category is None or not self.says_when else at(0)
        producer.produce(
            topic,
            key=self.product,
            value=None if self.category is None else json.dumps(value),
            timestamp=int(sent.timestamp() * 1000),
        )


def send(broker: Broker, topic: str, versions: list[Version]) -> None:
    producer = Producer({"bootstrap.servers": broker.address})
    for version in versions:
        version.send(producer, topic)
    assert producer.flush(30) == 0


def sale(random: Random, number: int, since: int, until: int) -> dict[str, Any]:
    minute = random.randrange(since * 60, until * 60) / 60
    return {
        "user": random.choice(("ann", "bob", "eve")),
        "sku": f"p{random.randrange(22)}" if random.random() < 0.97 else None,
        "chain": random.choice("xy"),
        "at": {"shop": 1},
        "quantity": number,
        "event_time": at(minute).isoformat(),
        "arrival_time": at(minute).isoformat(),
    }


def by_producer(broker: Broker, topic: str, events: list[dict[str, Any]]) -> None:
    producer = Producer({"bootstrap.servers": broker.address})
    for event in events:
        producer.produce(topic, json.dumps(event))
    assert producer.flush(30) == 0


def logged(repo: Repo) -> dict[int, dict[str, Any]]:
    return {row["quantity"]: row for row in rows(repo.storage("sales")).to_pylist()}


def before_batches(monkeypatch: pytest.MonkeyPatch, steps: Mapping[int, Callable[[], object]]) -> None:
    """Do something before some of the micro-batches of a stream."""
    land = Sink.land

    def stepped(sink: Sink, frame: DataFrame, number: int) -> None:
        if number in steps:
            steps[number]()
        land(sink, frame, number)

    monkeypatch.setattr(Sink, "land", stepped)


def test_what_was_said_of_a_product_when_it_was_sold_is_on_every_path_whatever_kafka_has_forgotten(
    spark: SparkSession, repo: Repo, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, topic, sales = Random(5), topic_of(repo), f"sales-{topic_of(repo)}"
    create_topic(broker.address, sales, partitions=1)
    events = [sale(random, n, *((0, 300) if n < 200 else (300, 600) if n < 400 else (0, 900))) for n in range(600)]
    by_producer(broker, sales, events)
    said = [
        Version(f"p{n % 20}", at(random.randrange(-20, 280)), f"c{n % 3}.{n}", f"{n}.25", random.random() < 0.7)
        for n in range(30)
    ]
    said.sort(key=lambda version: version.begin)
    more = [Version(f"p{n}", at(300 + n), None if n % 3 == 0 else f"d{n % 2}", "7") for n in range(12)]
    last = [Version(f"p{n}", at(600 + n), f"e{n % 2}", None, n % 2 == 0) for n in range(3, 9)]
    send(broker, topic, said)

    def forgotten() -> None:
        """All of the topic goes, as if compacted to nothing, and something new comes."""
        ends = [TopicPartition(topic, partition, -1) for partition in range(2)]
        admin = client(broker.address)
        for done in admin.delete_records(ends).values():
            done.result()
        send(broker, topic, last)

    def changed() -> None:
        send(broker, topic, more)
        new = {**SHOPS, "batch": ["north", "south", "north"]}
        write_deltalake(repo.folder / "tables" / "shops", pa.table(new), mode="overwrite")

    before_batches(monkeypatch, {1: changed, 2: forgotten})
    kafka = Kafka(broker.address, sales, offsets_per_batch=200)
    start(spark, repo, repo.sources["sales"], kafka).awaitTermination()
    found = logged(repo)
    assert len(found) == 600
    assert {found[n]["field-batch"] for n in range(200) if events[n]["chain"] == "y"} == {"south"}
    assert {found[n]["field-batch"] for n in range(200, 600) if events[n]["chain"] == "y"} == {"north"}

    # By DuckDB's ASOF JOIN with all that was ever sent; where a tombstone holds, nothing does.
    versions = [*said, *more, *last]
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    engine.register("versions", pa.table({
        "id": [v.product for v in versions], "category": [v.category for v in versions],
        "begin": [v.begin for v in versions],
    }))  # fmt: skip
    times = [datetime.fromisoformat(event["event_time"]) for event in events]
    engine.register("sold", pa.table({"number": range(600), "sku": [e["sku"] for e in events], "sold_at": times}))
    joined = engine.execute(
        "SELECT category FROM sold ASOF LEFT JOIN versions ON sku = id AND sold_at >= begin ORDER BY number"
    ).fetchall()
    assert [(found[n]["product_category"],) for n in range(600)] == joined
    assert 100 < sum(each is None for (each,) in joined) < 500

    source = repo.sources["sales"]
    products, shops = (lookup.dimension for lookup in source.lookups)
    folder = repo.storage("sales").folder("dimensions")
    names = lookups.in_use(folder / "in-use.json")["tables"]
    kept = lookups.opened(folder / names["products"], products)
    of_now = load(products, topics=Topics(spark, kafka))
    assert of_now.rows.num_rows == len(last) < kept.rows.num_rows
    build(spark, repo, source)
    view = repo.views["of_category"]
    tables = {"products": kept, "shops": load(shops, repo.folder)}
    previewed = preview(view, events, END, dimensions=tables)
    served, trained = served_and_trained(repo, view, previewed, END)
    assert served == trained == previewed


@dataclass(frozen=True)
class Landed(Kafka):
    """Events of a folder, beside a Kafka with tables."""

    folder: Path = Path()

    def read(self, spark: SparkSession, after: Mapping[str, int] | None = None) -> DataFrame:
        return Directory(self.folder, 1).read(spark, after or {})


def test_a_broker_that_is_away_or_a_refused_message_leaves_the_last_good_table(
    spark: SparkSession,
    repo: Repo,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    landing, metrics, refused = repo.storage("sales").folder("landing"), Metrics(), []
    landing.mkdir(parents=True)
    for number in range(5):
        event = {**sale(Random(1), number, 500, 501), "sku": "p1"}
        (landing / f"{number}.jsonl").write_text(f"{json.dumps(event)}\n")
        os.utime(landing / f"{number}.jsonl", (1_772_000_000 + number,) * 2)  # the stream reads them in this order
    kafka = Landed(broker.address, "any", client={"default.api.timeout.ms": "1500", "request.timeout.ms": "1000"})
    topic, source = topic_of(repo), repo.sources["sales"]

    def run(payloads: Any) -> None:
        start(spark, repo, source, payloads, metrics=metrics).awaitTermination()

    bad = Version("p1", at(2), "c", "one")
    send(broker, topic, [Version("p1", at(0), "first"), bad])
    with pytest.raises(
        InputError, match=rf"^dimension 'products': the topic {topic}, partition \d, offset 1: price is"
    ):
        run(replace(kafka, folder=landing))
    send(broker, topic, [Version("p1", at(1), "second")])
    serve = Sink.serve

    def noted(sink: Sink, batch: Any) -> None:
        labels = {"source": "sales", "dimension": "products"}
        refused.append(metrics.registry.get_sample_value("dualpath_dimension_refused", labels))
        if batch.entry.batch == 4 and len(refused) == 5:
            raise ZeroDivisionError
        serve(sink, batch)

    monkeypatch.setattr(Sink, "serve", noted)
    before_batches(
        monkeypatch,
        {
            1: lambda: send(broker, topic, [bad]),
            2: broker.stop,
            3: lambda: (broker.start(), send(broker, topic, [Version("p1", at(3), "third")])),
        },
    )
    with pytest.raises(Exception, match="ZeroDivisionError"):
        run(replace(kafka, folder=landing))
    # A batch that is repeated has the table of its first attempt, also where Kafka has gone on.
    send(broker, topic, [Version("p1", at(4), "fourth")])
    run(replace(kafka, folder=landing))
    categories = {number: row["product_category"] for number, row in logged(repo).items()}
    assert categories == {0: "second", 1: "second", 2: "second", 3: "third", 4: "third"}
    assert refused == [0, 1, 1, 0, 0, 0]
    said = [record.getMessage() for record in caplog.records if "last good table" in record.getMessage()]
    assert len(said) == 2
    assert said[0].endswith("send that key again, or a tombstone. The last good table serves.")
    assert said[1].startswith(f"dimension 'products': Kafka at {broker.address} cannot be used (")


@pytest.mark.parametrize(("error", "attempts"), [(UnavailableError("away"), 3), (InputError("refused"), 1)])
def test_a_state_that_is_out_of_reach_is_read_again_and_one_that_is_refused_is_not(
    tmp_path: Path, error: Exception, attempts: int
) -> None:
    brands = dimension("brands", topic="t", keys=[text("sku")], fields=[text("brand")])
    source, seen = EventSource("s", (text("sku"),), lookups=(lookup(brands),)), []

    def read(known: Versions | None) -> Versions:
        seen.append(known)
        raise error

    topics: Any = SimpleNamespace(state=lambda _: State("of-now", read))
    tables = Dimensions(tmp_path, source, tmp_path, Meter(Metrics(), "s", tmp_path / "metrics"), topics)
    for _ in range(3):
        tables.refresh("brands")
    assert seen == [None] * attempts
