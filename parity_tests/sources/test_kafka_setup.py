"""What Kafka needs around it: topics, connectors, jars, a broker that starts."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from dualpath.console import demo
from dualpath.errors import InputError, UnavailableError
from dualpath.repo import Repo
from dualpath.runtime import jars
from dualpath.runtime.kafka import Broker
from dualpath.sources import kafka
from dualpath.sources.kafka import Kafka
from parity_tests.console.commands import run_json


def test_a_topic_that_is_not_there_and_a_broker_that_does_not_answer_are_one_sentence(
    spark: SparkSession, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="has not all of the topics; make them"):
        Kafka(broker.address, "nowhere").read(spark)
    monkeypatch.setattr(kafka, "ANSWER_TIMEOUT_MS", 1_000)
    with pytest.raises(UnavailableError, match=r"Kafka at 127\.0\.0\.1:1 cannot be used"):
        Kafka("127.0.0.1:1", "nowhere").read(spark)
    with pytest.raises(InputError, match="either a topic or a pattern"):
        Kafka(broker.address)


def test_a_connector_of_another_version_than_sparks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "version", lambda: "4.1.0")
    with pytest.raises(UnavailableError, match=r"version 4\.1\.0 but Spark is 4\.2\.0"):
        jars.settings(os.environ)


def test_a_session_without_a_connector_or_with_a_wrong_one_is_refused(
    spark: SparkSession, broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = Kafka(broker.address, topic)
    monkeypatch.setattr(kafka, "PROVIDER", "org.apache.spark.sql.nothing.Provider")
    with pytest.raises(UnavailableError, match="has no Kafka connector"):
        payloads.read(spark)
    monkeypatch.setattr(kafka, "PROVIDER", "org.apache.kafka.clients.consumer.KafkaConsumer")
    with pytest.raises(UnavailableError, match=r"but Spark is 4\.2\.0"):
        payloads.read(spark)


def test_jars_come_from_where_the_ivy_settings_say_and_a_failure_names_the_remedy(tmp_path: Path) -> None:
    settings = tmp_path / "ivysettings.xml"
    settings.write_text(
        f"""<ivysettings><settings defaultResolver="here"/><caches defaultCacheDir="{tmp_path}/ivy"/><resolvers>
        <filesystem name="here"><artifact pattern="{tmp_path}/[artifact]-[revision].[ext]"/></filesystem>
        </resolvers></ivysettings>"""
    )
    environ = {**os.environ, jars.SETTINGS: str(settings), "DUALPATH_CACHE": str(tmp_path / "cache")}
    with pytest.raises(UnavailableError, match=f"not found.*{jars.SETTINGS}.*{tmp_path}"):
        jars.fetch("spark", environ)
    assert jars.found("spark", environ) == []


@pytest.mark.slow
def test_the_demo_proves_itself_with_a_broker_before_the_stream(
    spark: SparkSession, new_repo: Callable[[], Repo], broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_repo().folder
    shutil.rmtree(folder / "data")
    monkeypatch.setattr(demo, "GENERATED", 2_000)
    monkeypatch.delenv("DUALPATH_DATA", raising=False)
    said = run_json("demo", "--kafka", "--repo", folder, "--cells", "2000")
    assert said["passed"] is True
    assert len(said["steps"]) == 9
    assert said["status"]["dead_letter"] == said["status"]["rows_read"] - 2_000 > 0


def test_a_broker_that_does_not_start_shows_the_end_of_its_log(broker: Broker, tmp_path: Path) -> None:
    """One of another cluster, with the address of one that runs."""
    (tmp_path / "data").mkdir()
    meta = (broker.folder / "data" / "meta.properties").read_text()
    (tmp_path / "data" / "meta.properties").write_text(
        re.sub("^cluster.id=.", "cluster.id=_", meta, flags=re.MULTILINE)
    )
    properties = (broker.folder / "server.properties").read_text().replace(str(broker.folder), str(tmp_path))
    (tmp_path / "server.properties").write_text(properties)
    with pytest.raises(UnavailableError, match="in use"):
        Broker(tmp_path).start()
