"""Generated declarations over generated events, through every path; and the certificate that says so."""

import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from dualpath.aggregates import Aggregate
from dualpath.aggregates.base import Scalars
from parity_tests import certificate
from parity_tests.generated import drawn, payload
from parity_tests.strategies import CHANGED, at, histories, wide_views


def quiet(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_generated_features_have_the_same_bits_on_every_path(spark: SparkSession, tmp_path: Path) -> None:
    parts = certificate.engines(spark, tmp_path / "repo", seed=11, views=10, histories=150, rows=200, say=quiet)
    for part in parts:
        assert part.differing == 0, part.failures[0]
        assert (part.cases, part.cells) == (12 * 150, 12 * certificate.FEATURES * 200)
    assert [part.name for part in parts] == ["engines", "known"] and parts[0].digest != parts[1].digest


def test_the_same_seed_gives_the_same_certificate_and_another_one_another() -> None:
    once, again, other = (certificate.core(seed, 2, quiet) for seed in (5, 5, 6))
    assert once == again
    assert once.differing == other.differing == 0
    assert once.digest != other.digest


def test_a_wrong_aggregate_is_counted_and_printed_as_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Aggregate.registry["Count"].finalize
    monkeypatch.setattr(
        Aggregate.registry["Count"], "finalize", lambda *given, **named: Scalars(honest(*given, **named).data + 1)
    )
    part = certificate.core(8, 2, quiet)  # plans are cached: no other test has drawn these
    assert part.differing > 0
    assert "def test_spark_and_the_oracle_agree" in part.failures[0]


def test_the_same_seed_draws_the_same_declarations_and_histories() -> None:
    for strategy in (wide_views(5), histories()):
        assert drawn(strategy, 20, 1) == drawn(strategy, 20, 1) != drawn(strategy, 20, 2)
    assert len({view.resolution for view in drawn(wide_views(5), 20, 1)}) == 3


def test_a_payload_is_what_a_producer_sends() -> None:
    event = {"event_id": "e", "event_time": at(2024, 2, 29), "user": None, "score": 5e-324, "seen": -1}
    assert json.loads(payload(event)) == {
        "event_id": "e",
        "event_time": "2024-02-29T00:00:00.000000Z",
        "score": 5e-324,
        "seen": "1969-12-31T23:59:59.999999Z",
    }
    sent = [event.keys() for events, _ in drawn(histories(), 20, 1) for event in events]
    assert set().union(*sent) == {"event_id", "event_time", "arrival_time", *CHANGED.by_name}
    moved = {"event_id": "e", "event_time": at(2024, 2, 29), "user": "ann", "before_user": "bob", "before_shop": None}
    assert json.loads(payload(moved))["before"] == {"user": "bob"}
