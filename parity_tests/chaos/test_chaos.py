"""One short schedule of faults, the same in every run; `make chaos` plays longer ones."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from parity_tests.chaos.__main__ import applied
from parity_tests.chaos.schedule import drawn, search

SEED, STEPS = 8, 14


@pytest.mark.slow
@pytest.mark.timeout(3_000)  # a failure is cut down to its fewest actions
def test_after_a_random_schedule_of_faults_every_row_has_one_outcome_and_no_bit_differs(
    spark: SparkSession, tmp_path: Path
) -> None:
    outcome = search(spark, applied(tmp_path), drawn(SEED, STEPS, kafka=False), kafka=False, say=lambda *_: None)
    assert outcome.rows > outcome.accepted > 0


def test_a_seed_draws_one_schedule_and_broker_actions_are_for_kafka() -> None:
    assert drawn(1, 50, kafka=False) == drawn(1, 50, kafka=False) != drawn(2, 50, kafka=False)
    assert not {"grow_topic", "restart_broker"} & {a.kind for a in drawn(1, 500, kafka=False)}
    assert {"grow_topic", "restart_broker"} <= {a.kind for a in drawn(1, 500, kafka=True)}
