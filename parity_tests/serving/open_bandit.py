"""The Open Bandit Dataset's sample: what Thompson sampling would have earned where a uniform policy chose.

Impressions of a fashion shop, with a click or none; Saito, Aihara, Matsutani and Narita, Open Bandit Dataset and
Pipeline, 2021. The first half of the log, by time, is what Thompson sampling has learned from when the second half
begins; the second half evaluates it. As in the shop it knows no context: every item has one rate of clicks.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from dualpath.serving.evaluation import Evaluation, evaluate
from dualpath.serving.logged_decisions import LoggedDecisions
from dualpath.serving.reward_model import cross_fitted

CAMPAIGNS = ("men", "women")
PRIOR = (1.0, 199.0)
"""Clicks and misses that Thompson sampling has seen of every item before the first: a click in 200 impressions."""
DRAWS, SEED = 10_000, 5
RIDGE = 1_000.0
"""The variance of a click, 0.005, by that of the items' rates, were they apart by 0.002."""


def what_thompson_sampling_would_earn(folder: Path, campaign: str) -> Evaluation:
    """The evaluation on the second half of a campaign's log."""
    columns = ["item_id", "click", "propensity_score", "timestamp"]
    log = pq.read_table(folder / f"open_bandit_random_{campaign}.parquet", columns=columns).sort_by("timestamp")
    item, click = log["item_id"].to_numpy(), log["click"].to_numpy()
    items, half = int(item.max()) + 1, len(log) // 2
    target = thompson_sampling(item[:half], click[:half], items)
    item, click, n = item[half:], click[half:], len(log) - half
    logging = np.repeat(log["propensity_score"].to_numpy()[half:, np.newaxis], items, axis=1)  # uniform
    decisions = LoggedDecisions(item, click, logging, np.broadcast_to(target, (n, items)))
    ids = [f"{campaign} {number}" for number in range(n)]
    return evaluate(decisions, cross_fitted(decisions, np.broadcast_to(np.eye(items), (n, items, items)), ids, RIDGE))


def thompson_sampling(item: np.ndarray, click: np.ndarray, items: int) -> np.ndarray:
    """With which probability each item has the best rate, float64[items]; Thompson, 1933."""
    clicks, seen = np.bincount(item, click, items), np.bincount(item, minlength=items)
    rates = np.random.default_rng(SEED).beta(PRIOR[0] + clicks, PRIOR[1] + seen - clicks, (DRAWS, items))
    return np.bincount(rates.argmax(axis=1), minlength=items) / DRAWS
