"""What producers send to the repo of several sources, and what SQL over all of it answers."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
from pyspark.sql import SparkSession

from dualpath.decay import CONSTANTS, weight
from dualpath.jobs.stream import start
from dualpath.repo import Repo
from dualpath.sources.directory import Directory
from dualpath.view import mark
from dualpath.words import code

MILLIS = 1_772_323_200_000
USERS = ("ann", "bob", "eve")
ASKED = 400
SPREAD = (0, 0, 1, 60_000, 1_800_000, 3_600_000, 86_400_000)
"""Milliseconds between events, and until they arrive: often none, so that sources tie."""
SEEN = """
WITH questions AS (SELECT row, "user", epoch_us(as_of) AS as_of, epoch_us(known_at) AS known_at FROM asked),
events AS (
    SELECT "user", ref, page, NULL::DECIMAL(18, 2) AS amount, weight, time, arrived, place FROM clicks UNION ALL
    SELECT "user", ref, NULL, amount, weight, time, arrived, place FROM orders
),
seen AS (
    SELECT q.row, q.as_of, e.* FROM questions q JOIN events e
    ON e."user" = q."user" AND e.time <= q.as_of AND e.arrived <= q.known_at
),
halves AS (
    SELECT row, ref, count(*) AS n, time, any_value(as_of) AS as_of FROM seen
    WHERE time > as_of - $day AND ref IS NOT NULL GROUP BY row, ref, time
)
"""
TRUTH = f"""{SEEN}
SELECT q.row,
    count(s.time) FILTER (WHERE s.time > s.as_of - $half_hour::BIGINT) AS actions_30min,
    count(s.time) FILTER (WHERE s.time > s.as_of - 2 * $half_hour::BIGINT AND s.time <= s.as_of - $half_hour::BIGINT)
        AS actions_before,
    coalesce(sum(amount) FILTER (WHERE s.time > s.as_of - 7 * $day), 0)::DOUBLE AS spent_7d,
    coalesce(sum(amount * weight) FILTER (WHERE s.time > s.as_of - 7 * $day AND amount < 99), 0)::DOUBLE AS worth_7d,
    max_by(ref, (s.time, place)) FILTER (WHERE ref IS NOT NULL) AS last_ref,
    min_by(ref, (s.time, place)) FILTER (WHERE ref IS NOT NULL AND s.time > s.as_of - 7 * $day) AS first_ref,
    coalesce((list(ref ORDER BY s.time DESC, place DESC)
        FILTER (WHERE ref IS NOT NULL AND s.time > s.as_of - 7 * $day))[:5], []) AS last_refs,
    count(DISTINCT ref) FILTER (WHERE s.time > s.as_of - $day) AS refs,
    count(DISTINCT coalesce(page, ref)) FILTER (WHERE s.time > s.as_of - 7 * $day) AS named,
    quantile_disc(weight, 0.5) FILTER (WHERE s.time > s.as_of - 7 * $day)::BIGINT AS median
FROM questions q LEFT JOIN seen s USING (row) GROUP BY q.row ORDER BY q.row
"""
INTEREST = f"""{SEEN}
SELECT row, ref, list(n ORDER BY time) AS counts, list(as_of - time ORDER BY time) AS ages FROM halves
GROUP BY row, ref
"""


class World:
    """What producers send, and the repo that gets it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.random = folder, Random(7)
        self.sent: dict[str, list[dict[str, Any]]] = {"clicks": [], "orders": [], "returns": []}
        self.landed = 0

    @property
    def repo(self) -> Repo:
        """The repo as its registry describes it now."""
        return Repo(self.folder)

    def land(self, spark: SparkSession, count: int, *streamed: str) -> None:
        """Land messages of all kinds, some twice, and stream some of the sources."""
        made = self._messages(count)
        for name, messages in made.items():
            landing = self.repo.storage(name).folder("landing") if name == "returns" else self.folder / "topic"
            landing.mkdir(parents=True, exist_ok=True)
            lines = [*messages, *self.random.sample(messages, len(messages) // 5)]
            self.random.shuffle(lines)
            (landing / f"{self.landed}.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in lines))
        self.landed += 1
        self.stream(spark, *streamed)

    def stream(self, spark: SparkSession, *sources: str) -> None:
        for name in sources:
            landing = self.repo.storage(name).folder("landing") if name == "returns" else self.folder / "topic"
            payloads = Directory(landing, 1)
            start(spark, self.repo, self.repo.sources[name], payloads).awaitTermination()

    def _messages(self, count: int) -> dict[str, list[dict[str, Any]]]:
        random = self.random
        topic, changed = [], []
        for number in range(count):
            at = MILLIS + self.landed * 86_400_000 + random.randrange(6) * 3_600_000 + random.choice(SPREAD)
            person, received = random.choice(USERS), at + random.choice(SPREAD)
            name = f"{self.landed}-{number % (count // 2)}"  # the ids of a click and an order may be the same
            if number < count // 2:
                event = {"kind": "click", "id": name, "ts": at, "received": received, "user": person}
                event |= {"ref": random.choice((*"abc", None)), "page": random.choice(("home", "cart", None))}
                event["weight"] = random.choice((1, 2, None))
                topic.append(event)
                self.sent["clicks"].append(event)
            else:
                item = {"id": name, "sku": random.choice((*"abc", None)), "price": f"{random.randrange(9999) / 100}"}
                items = [item | {"weight": "3.0"}, {"id": f"{name}+", "price": "0.10"}][: random.choice((1, 1, 2))]
                placed = {"at": datetime.fromtimestamp(at / 1000, UTC).isoformat(), "by": person}
                order = {"kind": "order", "received": received, "placed": placed, "items": items}
                topic.append(order)
                self.sent["orders"].append(order)
            if number % 3 == 0:
                row = {"row": random.randrange(5), "user": person, "lsn": number + self.landed * 1000, "ts": at}
                row |= {"received": received, "ref": random.choice("abc"), "amount": "1.25"}
                changed.append(row | {"op": random.choice("ud")})
        self.sent["returns"] += changed
        return {"topic": topic, "returns": changed}

    def sent_to(self, repo: Repo, view: str) -> dict[str, list[dict[str, Any]]]:
        """What the sources of a view read."""
        topic = [*self.sent["clicks"], *self.sent["orders"]]
        return {source.name: topic for source in repo.views[view].sources}

    def tables(self) -> dict[str, pa.Table]:
        """The events as SQL reads them; `place` orders events of one instant."""
        found: dict[str, list[dict[str, Any]]] = {"clicks": [], "orders": []}
        for each in self.sent["clicks"]:
            row = {name: each[name] for name in ("user", "ref", "page", "weight")}
            found["clicks"].append(row | {"time": each["ts"] * 1000, "id": each["id"], "arrived": each["received"]})
        for each in self.sent["orders"]:
            time = int(datetime.fromisoformat(each["placed"]["at"]).timestamp() * 1000) * 1000
            for item in each["items"]:
                row = {"user": each["placed"]["by"], "ref": item.get("sku"), "amount": item["price"], "time": time}
                row["weight"] = 3 if "weight" in item else None
                found["orders"].append(row | {"id": item["id"], "arrived": each["received"]})
        for name, rows in found.items():
            for row in rows:
                row |= {"arrived": row["arrived"] * 1000, "place": code(row.pop("id")) ^ mark(name)}
        return {name: pa.Table.from_pylist(rows) for name, rows in found.items()}

    def questions(self) -> pd.DataFrame:
        random = self.random
        times = [
            pd.Timestamp(t, unit="us", tz="UTC") for table in self.tables().values() for t in table["time"].to_pylist()
        ]
        ago = (0, 0, 30, 60, 24 * 60, 7 * 24 * 60)
        return pd.DataFrame(
            {
                "row": range(ASKED),
                "user": [random.choice((*USERS, "nobody")) for _ in range(ASKED)],
                "as_of": [
                    random.choice(times)
                    + timedelta(minutes=random.choice(ago))
                    + random.randint(-1, 1) * timedelta(microseconds=1)
                    for _ in range(ASKED)
                ],
                "known_at": [random.choice(times) + timedelta(microseconds=1) for _ in range(ASKED)],
            }
        )

    def truth(self, asked: pd.DataFrame) -> list[dict[str, Any]]:
        """What SQL over the union of the two logs answers."""
        day = 86_400_000_000
        with duckdb.connect() as engine:
            for name, table in self.tables().items():
                engine.register(f"{name}_sent", table)
            engine.execute("CREATE TABLE clicks AS SELECT * REPLACE (weight::BIGINT AS weight) FROM clicks_sent")
            engine.execute(
                "CREATE TABLE orders AS SELECT * REPLACE (amount::DECIMAL(18, 2) AS amount) FROM orders_sent"
            )
            engine.register("asked", asked)
            given = {"day": day, "half_hour": day // 48}
            rows = engine.execute(TRUTH, given).to_arrow_table().drop_columns("row").to_pylist()
            counted = engine.execute(INTEREST, {"day": day}).fetchall()
        half_life = 3_600_000_000
        for row in rows:
            row["interest"] = {}
        for number, ref, counts, ages in counted:
            score = 0.0
            for count, age in zip(counts, ages, strict=True):  # from the oldest on
                score += count * weight(age, half_life, CONSTANTS)
            rows[number]["interest"][ref] = score
        return rows
