"""On the Open Bandit Dataset's sample, the evaluation says that so few clicks do not tell."""

import os
from pathlib import Path

import numpy as np
import pytest

from parity_tests.serving.open_bandit import CAMPAIGNS, thompson_sampling, what_thompson_sampling_would_earn


@pytest.mark.parametrize("campaign", CAMPAIGNS)
def test_a_few_clicks_do_not_tell_whether_thompson_sampling_earns_more(campaign: str) -> None:
    if "DUALPATH_DATA" not in os.environ:
        pytest.skip("DUALPATH_DATA is not set; point it at the folder that holds the dataset files")
    found = what_thompson_sampling_would_earn(Path(os.environ["DUALPATH_DATA"]), campaign)
    assert found.decisions == 5_000
    for each in found.estimates:
        assert each.interval[0] < found.logged.interval[1] and found.logged.interval[0] < each.interval[1]
    assert "the intervals overlap" in found.verdict
    assert found.verdict.endswith("do not tell which policy earns more.")
    [warning] = found.warnings
    assert warning.startswith("Only") and "rewards count" in warning


def test_thompson_sampling_prefers_what_was_clicked() -> None:
    item = np.repeat([0, 1, 2], 100)
    target = thompson_sampling(item, (np.arange(300) % 25 == 0) & (item == 1), 3)
    assert target.sum() == pytest.approx(1)
    assert target[1] > 0.7
