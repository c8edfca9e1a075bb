"""The example events: nine producers, each ingested, streamed, built, served, trained and previewed."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from dualpath.jobs.build import build
from dualpath.jobs.stream import start
from dualpath.log.table import DEAD_LETTER
from dualpath.online.connection import embedded_folder
from dualpath.parity.check import check
from dualpath.paths import walk
from dualpath.preview import preview
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.schema import EventSource
from dualpath.sources import files
from dualpath.sources.delimited import PLAIN
from dualpath.sources.dimensions import load
from dualpath.sources.directory import Directory
from parity_tests import logged
from parity_tests.boundary import rows
from parity_tests.shapes import spoil, written

EXAMPLE = Path(__file__).parents[2] / "examples" / "events"
ANSWERS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "tracking": (
        "viewed",
        "2026-03-01T13:00:00Z",
        {
            "viewer_id": "ann",
            "views_1d": 2,
            "spent_1d": 20.0,
            "categories_1d": {"hats": 1, "sale": 1, "shoes": 1},
        },
        "sentAt is missing",
    ),
    "pages": (
        "browsing",
        "2026-03-01T12:10:00Z",
        {"client_id": "c.1", "pages_30min": 2, "engaged_ms_30min": 350, "last_page_30min": "/hats"},
        "action (events[*].name) is missing: events[1]",
    ),
    "orders": (
        "bought",
        "2026-03-02T00:00:00Z",
        {"buyer_id": 115310627314723954, "lines_7d": 3, "spent_7d": 129.79},
        "price (line_items[*].price) has more than 2 decimals: 9.999 (decimal(..., rounded=True) takes it): "
        "line_items[1]",
    ),
    "payments": (
        "paid",
        "2026-03-02T00:00:00Z",
        {"payer_id": "cus_a", "charges_30d": 1, "cents_30d": 1999, "refunded_cents_30d": 500},
        "created is not a number in s since 1970: yesterday",
    ),
    "accounts": (
        "owned",
        "2026-03-02T00:00:00Z",
        {"owner_id": 7, "accounts": 2, "largest": 35.5},
        "op is not one of the declared choices: x",
    ),
    "readings": (
        "heat",
        "2026-03-01T13:00:00Z",
        {"tank_id": "tank-1", "mean_1h": 22.0, "max_1h": 22.5, "alarms_1h": 1},
        'celsius (data["temperature °C"]) is not of kind decimal: hot',
    ),
    "invoices": (
        "invoiced",
        "2026-03-10T00:00:00Z",
        {"customer_id": "C-17", "amount_30d": 1249.5, "items_30d": 4, "gifts_30d": 1},
        'amount (["Amount (EUR)"]) is not of kind decimal: 1.234,50',
    ),
    "traffic": (
        "requested",
        "2026-03-01T12:01:00Z",
        {"client_ip": "192.0.2.1", "requests_5min": 3, "errors_5min": 1, "median_size_5min": 900},
        "EdgeStartTimestamp is before 2000: -5",
    ),
    "parcels": (
        "received",
        "2026-03-02T00:00:00Z",
        {"recipient_id": "cus-7", "parcels_7d": 2, "kilos_7d": 1.75},
        "recipient_id ($kafka.key) is missing",
    ),
}
"""Of each source: a view, an instant, the answer of an entity then, and why a row is refused."""


EIGHT = {"owner_id": 8, "accounts": 0, "largest": None}


@pytest.fixture(scope="module")
def gallery(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    """The example's repo with the payloads of every producer in the log and in both stores."""
    folder = tmp_path_factory.mktemp("events") / "feature_repo"
    shutil.copytree(EXAMPLE / "feature_repo", folder, ignore=shutil.ignore_patterns("data", "__pycache__"))
    repo = Repo(folder)
    repo.apply()
    for name, source in repo.sources.items():
        landing = repo.storage(name).folder("landing")
        landing.mkdir(parents=True)
        [file] = (EXAMPLE / "payloads").glob(f"{name}.*")
        (landing / "1.jsonl").write_bytes(b"".join(files.payloads(file, source, PLAIN)))
        start(spark, repo, source, Directory(landing, 1)).awaitTermination()
        build(spark, repo, source)
    yield repo
    redis.stop(embedded_folder(repo.store.config))


def payloads(repo: Repo, name: str) -> list[dict[str, Any]]:
    """What a source has landed, without the rows that are refused and those that come again."""
    lines = dict.fromkeys((repo.storage(name).folder("landing") / "1.jsonl").read_text().splitlines())
    dead = {line["payload"] for line in letters(repo, name)}
    return [json.loads(line) for line in lines if line not in dead]


def letters(repo: Repo, name: str) -> list[dict[str, Any]]:
    return logged.rows(repo.storage(name), DEAD_LETTER).select(["payload", "reason"]).to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
def test_a_producer_has_the_right_answer_served_and_trained_and_one_dead_letter(gallery: Repo, name: str) -> None:
    view, at, answer, reason = ANSWERS[name]
    keys = {key: answer[key] for key in gallery.views[view].keys}
    refs = [f"{view}:{feature.name}" for feature in gallery.views[view].features]
    served = gallery.store.get_online_features(refs, [{**keys, "event_timestamp": at}]).to_arrow()
    rows = pd.DataFrame([keys]).assign(event_timestamp=pd.Timestamp(at))
    trained = gallery.store.get_historical_features(rows, refs).to_arrow()
    for found in (served, trained):
        assert found.select(list(answer)).to_pylist(maps_as_pydicts="strict") == [answer]
    assert [letter["reason"] for letter in letters(gallery, name)] == [reason]
    assert gallery.storage(name).accounts().total().adds_up


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ANSWERS if name not in ("pages", "orders", "tracking")])
def test_a_preview_of_the_same_payloads_says_the_same(gallery: Repo, name: str) -> None:
    view, at, answer, _ = ANSWERS[name]
    found = preview(gallery.views[view], payloads(gallery, name), at)
    assert [row for row in found if all(row[key] == answer[key] for key in gallery.views[view].keys)] == [answer]
    # The owner whose account became another's has none left.
    assert [row for row in found if row != answer] == ([EIGHT] if name == "accounts" else [])


@pytest.mark.slow
def test_a_preview_looks_up_the_same_table(gallery: Repo) -> None:
    view, at, answer, _ = ANSWERS["tracking"]
    source = gallery.sources["tracking"]
    tables = {each.dimension.name: load(each.dimension, gallery.folder) for each in source.lookups}
    once = {each["messageId"]: each for each in payloads(gallery, "tracking")}
    assert preview(gallery.views[view], list(once.values()), at, dimensions=tables) == [answer]


@pytest.mark.slow
def test_no_bit_differs_between_the_stores_and_the_oracle(gallery: Repo) -> None:
    proof = check(gallery, cells=1_000, oracle_cells=400, seed=0)
    assert proof.passed and proof.cells > 0 and proof.oracle_cells > 0, proof.examples


@pytest.mark.slow
def test_no_payload_stops_a_stream_and_each_is_an_event_or_says_what_is_wrong(
    gallery: Repo, spark: SparkSession
) -> None:
    """Real payloads with something replaced, removed or broken; what each must be says a naive reading."""
    random, now = Random(1), int(datetime.now(UTC).timestamp()) * 1_000_000
    for name, source in gallery.sources.items():
        storage = gallery.storage(name)
        before, known = storage.accounts().total(), Counter(letter["reason"] for letter in letters(gallery, name))
        lines = [broken(random, source, number, line) for number, line in enumerate(landed(gallery, name) * 20)]
        expected = [row for line in lines for row in rows(source, line, now)]
        (storage.folder("landing") / "2.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
        start(spark, gallery, source, Directory(storage.folder("landing"), 1)).awaitTermination()
        found, outcomes = storage.accounts().total().since(before), Counter(row.outcome for row in expected)
        assert found.adds_up and found.rows_read == len(expected)
        assert found.accepted + found.duplicate == outcomes["accepted"] > 0
        assert (found.dead_letter, found.skipped) == (outcomes["dead"], outcomes["skipped"])
        reasons = Counter(letter["reason"] for letter in letters(gallery, name)) - known
        assert reasons == Counter(row.reason for row in expected if row.reason)


def landed(repo: Repo, name: str) -> list[str]:
    return (repo.storage(name).folder("landing") / "1.jsonl").read_text().splitlines()


def broken(random: Random, source: EventSource, number: int, line: str) -> bytes:
    """A payload with something wrong, if all goes well, and an id of its own."""
    payload = json.loads(line)
    for _ in range(random.randrange(3)):
        spoil(random, payload)
    member = source.members.get("event_id")
    if member and not source.each and (above := walk(payload, member.place[:-1])) and member.place[-1] in above:
        above[member.place[-1]] = f"{number}"
    return written(random, payload).replace(b"\n", b" ")
