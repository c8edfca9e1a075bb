"""Several sources, lists of events, ordinary views and topics: nothing of the person stays in any of them."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from dualpath.console import status
from dualpath.jobs.build import build
from dualpath.jobs.stream import start
from dualpath.online.connection import connect, embedded_folder
from dualpath.parity.check import check
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.runtime.kafka import Broker, create_topic
from dualpath.sources.directory import Directory
from dualpath.sources.kafka import Kafka
from parity_tests import faults
from parity_tests.conftest import REPOS, SOURCE
from parity_tests.console.commands import run_json
from parity_tests.erasure.person import ASKED, LINES, PERSON, traces
from parity_tests.sources.topics import send, stream

USERS = (PERSON, "bob", "eve")
BEGIN = 1_772_323_200_000
DAY = 86_400_000


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[Callable[[str], Repo]]:
    """Applies a copy of one of the tests' repos."""
    made: list[Repo] = []

    def make(name: str) -> Repo:
        shutil.copytree(REPOS / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        made.append(Repo(tmp_path / name))
        made[-1].apply()
        return made[-1]

    yield make
    for repo in made:
        redis.stop(embedded_folder(repo.store.config))


def shop() -> Iterator[dict[str, object]]:
    """Clicks, orders of several lines, of one topic; and returns, which have no kind."""
    random = Random(2)
    for number in range(90):
        user, at = random.choice(USERS), BEGIN + random.randrange(3 * DAY)
        page, sku = f"page {number % 5}", f"sku {number % 7}"
        if number % 3 == 0:
            line = {
                "kind": "click",
                "id": f"c{number}",
                "ts": at,
                "user": user,
                "page": f"{page} of {user}",
                "weight": 1,
            }
        elif number % 3 == 1:
            items = [{"id": f"o{number}-{n}", "sku": sku, "price": f"{n}.50", "weight": n} for n in range(3)]
            line = {
                "kind": "order",
                "placed": {"by": user, "at": datetime.fromtimestamp(at / 1000, UTC).isoformat()},
                "items": items,
            }
        else:
            line = {"row": number, "user": user, "ref": sku, "amount": "1.50", "lsn": number, "op": "u", "ts": at}
        yield line | {"received": at + 1000}


@pytest.mark.slow
def test_every_source_that_has_the_key_forgets_them(spark: SparkSession, copied: Callable[[str], Repo]) -> None:
    repo = copied("several")
    lines = [*shop()]
    for name, source in repo.sources.items():
        landing = repo.storage(name).folder("landing")
        landing.mkdir(parents=True)
        mine = [line for line in lines if ("kind" in line) is (name != "returns")]
        (landing / "0.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in mine))
        start(spark, repo, source, Directory(landing)).awaitTermination()
        build(spark, repo, source)
    done = run_json("erase", "--repo", repo.folder, "--key", f"user={PERSON}")
    removed = {each["place"]: each for each in done["removed"]}
    assert traces(repo) == []
    for name in repo.sources:
        assert removed[f"{name}: event log"]["rows"] > 5 < removed[f"{name}: landed files"]["rows"]
    assert removed["clicks: landed files"]["by_text"] > 5  # the orders among them
    repo = Repo(repo.folder)
    assert status.report(repo).ok and check(repo, cells=2_000, oracle_cells=1_000, seed=0).passed
    users = {user for name in repo.sources for user in faults.log(repo, name)["user"].to_pylist()}
    assert users == {"bob", "eve"}


def test_values_of_ordinary_views_go_and_others_stay(copied: Callable[[str], Repo]) -> None:
    repo, at = copied("ordinary"), datetime(2026, 3, 1, tzinfo=UTC)
    people = {"user_id": [PERSON, "bob"], "at": [at, at], "created": [at, at]}
    repo.store.write_to_online_store("user_profile", pd.DataFrame(people | {"age": [30, 40], "rating": [0.5, 1.5]}))
    repo.store.write_to_online_store("user_visits", pd.DataFrame(people | {"shop_id": [1, 1], "seen": [7, 8]}))
    client = connect(repo.redis_address)
    keys = {*client.scan_iter()}
    assert len(keys) == 4
    done = run_json("erase", "--repo", repo.folder, "--key", ASKED)
    assert {each["place"]: each["keys"] for each in done["removed"]}["Redis: ordinary views"] == 2
    left = {*client.scan_iter()}
    assert len(left) == 2 and left < keys and all(PERSON.encode() not in key for key in left)
    assert "view 'user_profile': the table it is materialized from." in done["left"]
    assert not run_json("erase", "--repo", repo.folder, "--key", ASKED)["anything"]
    run_json("erase", "--repo", repo.folder, "--key", "shop_id=1")
    assert len([*client.scan_iter()]) == 1


@pytest.mark.slow
def test_the_report_says_how_long_kafka_keeps_what_it_has(
    spark: SparkSession, new_repo: Callable[[], Repo], broker: Broker
) -> None:
    repo = new_repo()
    for name, config in (("kept", {"retention.ms": str(3 * DAY)}), ("ever", {"retention.ms": "-1"})):
        create_topic(broker.address, name, partitions=1, config=config)
    send(broker, "kept", LINES)
    stream(spark, repo, Kafka(broker.address, "kept"))
    words = ("erase", "--repo", repo.folder, "--key", ASKED)
    asked = run_json(*words, "--kafka", broker.address, "--dry-run")["left"]
    [said] = [each for each in asked if "the topic kept" in each]
    assert said.startswith(f"{SOURCE}: messages of the topic kept in Kafka stay until 20")
    assert said.endswith("by a retention of 3 days.")
    done = run_json(*words)
    [said] = [each for each in done["left"] if "the topic kept" in each]
    assert "pass --kafka" in said and traces(repo) == []
    assert status.report(Repo(repo.folder)).ok
    # What is still there is read no second time; what is sent again is new.
    accepted = faults.counts(repo)["accepted"]
    send(broker, "kept", [line for line in LINES if PERSON.encode() in line][:5])
    stream(spark, repo, Kafka(broker.address, "kept"))
    assert faults.counts(repo)["accepted"] == accepted + 5
    assert status.report(Repo(repo.folder)).ok
