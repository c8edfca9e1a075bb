"""A made-up shop: events in columns, and the records a view makes of them, without Spark."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from feast import Entity, ValueType

from dualpath.cells import Cell, Count
from dualpath.declare import event_source
from dualpath.record import layout
from dualpath.schema import NULL, decimal, text
from dualpath.view import View
from dualpath.windows import DAY
from dualpath.words import code

AS_OF = 1_750_000_000_000_000
"""When all reads ask, microseconds UTC: a Sunday in June 2025, 15:06."""
ACTIONS = ("view_item", "add_to_cart", "purchase")
CATEGORIES = ("books", "garden", "kitchen", "music", "shoes", "sports", "tools", "toys")

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
events = event_source(
    "shop_events",
    fields=[text("user_id", required=True), text("action"), text("category"), decimal("amount", scale=2)],
)


@dataclass(frozen=True)
class Events:
    """`user` int64[n] ascending and within a user `time`, microseconds UTC; `amount` in cents, of purchases only."""

    user: np.ndarray
    time: np.ndarray
    id: np.ndarray
    action: np.ndarray
    category: np.ndarray
    amount: np.ndarray

    @classmethod
    def draw(cls, users: int, per_user: tuple[int, int], days: float, seed: int = 7) -> "Events":
        """Between the two numbers of `per_user` events for each user, over the days before `AS_OF`."""
        rng = np.random.default_rng(seed)
        user = np.repeat(np.arange(users), rng.integers(*per_user, users, endpoint=True))
        n = len(user)
        time = AS_OF - rng.integers(0, int(days * DAY), n)
        order = np.lexsort((time, user))
        return cls(
            user,
            time[order],
            rng.integers(NULL + 1, -NULL - 1, n),
            rng.choice(len(ACTIONS), n, p=(0.6, 0.25, 0.15)),
            rng.integers(0, len(CATEGORIES), n),
            rng.integers(100, 100_000, n),
        )

    @cached_property
    def bought(self) -> np.ndarray:
        """Which events are purchases."""
        return self.action == ACTIONS.index("purchase")

    def words(self, view: View) -> np.ndarray:
        """The records of an exact view, int64[n, width], as `dualpath.spark.records` makes them."""
        kind = layout(view)
        words = np.empty((len(self.user), kind.width), dtype=np.int64)
        words[:, 0], words[:, 1] = self.time, self.id
        for cell in kind.cells:
            words[:, kind.slot(cell)] = self._cell(cell)
        return words

    def _cell(self, cell: Cell) -> np.ndarray:
        conditions = {f"action = '{name}'": self.action == i for i, name in enumerate(ACTIONS)}
        passes = conditions[cell.where] if cell.where else np.ones(len(self.user), dtype=bool)
        if cell.of == "amount":
            passes = passes & self.bought
        columns = {
            "event_time": self.time,
            "amount": self.amount,
            "category": np.array([code(c) for c in CATEGORIES])[self.category],
        }
        return np.where(passes, 1 if isinstance(cell, Count) else columns[cell.of], cell.nothing[0])


def name(number: int) -> str:
    """A user's id."""
    return f"user_{number:06d}"


def rows(view: View, arrival_day: str, users: np.ndarray, words: np.ndarray) -> Iterator[pa.RecordBatch]:
    """Records of ascending users as the writer of state takes them: `dualpath.online.writer.INPUT`."""
    for at in range(0, len(words), 50_000):
        part = words[at : at + 50_000]
        yield _batch(view.name, arrival_day, [name(u) for u in users[at : at + 50_000].tolist()], part)


def texts(found: Iterable[str]) -> pa.RecordBatch:
    """Dictionary entries as the writer of state takes them."""
    listed = list(found)
    return _batch("", "", listed, np.array([[code(t)] for t in listed]))


def lists(words: np.ndarray) -> pa.ListArray:
    """Records int64[n, width] as the column `words` of record files."""
    n, width = words.shape
    return pa.ListArray.from_arrays(np.arange(0, n * width + 1, width, dtype=np.int32), words.ravel())


def _batch(view: str, arrival_day: str, entities: list[str], words: np.ndarray) -> pa.RecordBatch:
    n = len(words)
    columns = [pa.array([view] * n), pa.array([arrival_day] * n), pa.array(entities), lists(words)]
    return pa.RecordBatch.from_arrays(columns, names=["view", "arrival_day", "entity", "words"])
