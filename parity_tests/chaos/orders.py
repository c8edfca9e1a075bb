"""The shop's orders: what its database sends of them, and the table in which their brands are looked up."""

import json
import random
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from parity_tests.conftest import REPOS

ORDERS = "orders"
START = datetime(2026, 3, 1, tzinfo=UTC)
USERS = [f"user_{number:06d}" for number in range(12)]
VERSIONS = (("a1", -1), ("b1", 1), ("c1", 2))
"""The articles, and the day from which each is known."""


def declare(repo: Path) -> None:
    """Put the source, its view and a table into a feature repo that is not yet applied."""
    shutil.copy(REPOS / "chaos" / "orders.py", repo)
    replace_table(repo, 0)


def replace_table(repo: Path, number: int) -> None:
    """Another table of articles, in which every brand is another one; as a producer of files does it."""
    rows = [f"{sku},{sku}.{number},{(START + timedelta(days=day)).isoformat()}" for sku, day in VERSIONS]
    hidden = repo / ".articles"
    hidden.write_text("\n".join(["sku,brand,valid_from", *rows]))
    hidden.replace(repo / "articles.csv")


SKUS = (*(sku for sku, _ in VERSIONS), None)


class Database:
    """A table of orders, and its change stream."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}
        self.lsn, self.time = 0, START

    def changes(self, count: int, draw: random.Random) -> list[bytes]:
        """So many changes, each minutes or hours after the one before or at the same instant; some arrive days late."""
        return [json.dumps(self.change(draw)).encode() for _ in range(count)]

    def change(self, draw: random.Random) -> dict[str, Any]:
        self.lsn, self.time = self.lsn + 1, self.time + draw.choice((0, 1, 30, 300)) * timedelta(minutes=1)
        order = draw.randrange(15)
        before = self.rows.pop(order, None)
        if before is None or draw.random() < 0.8:
            # Every second change gives the order to somebody.
            user = draw.choice(USERS) if before is None or draw.random() < 0.5 else before["user_id"]
            amount = f"{draw.randrange(9_999) / 100:.2f}"
            self.rows[order] = {"id": order, "user_id": user, "sku": draw.choice(SKUS), "amount": amount}
        after = self.rows.get(order)
        late = draw.choice((0, 0, 0, 2, 3)) * timedelta(days=1)
        return {
            "event_time": self.time.isoformat(),
            "arrival_time": (self.time + late).isoformat(),
            "lsn": self.lsn,
            "op": "d" if after is None else "u" if before else "c",
            "before": before,
            "after": after,
        }


def strange_brands(log: pa.Table, tables: int) -> list[str]:
    """What the log has looked up that none of so many tables had as of the event's time."""
    begins = {sku: START + timedelta(days=day) for sku, day in VERSIONS}
    wrong = []
    for time, sku, brand in zip(*(log[name].to_pylist() for name in ("event_time", "sku", "brand")), strict=True):
        known = sku is not None and time >= begins[sku]
        if brand not in ([f"{sku}.{number}" for number in range(tables)] if known else [None]):
            wrong.append(f"{sku} at {time} has the brand {brand}")
    return wrong
