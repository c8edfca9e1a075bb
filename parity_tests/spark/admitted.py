"""What the tests of admission share: a source, a good payload and its variants, and admission as one job."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dualpath.schema import EventSource, boolean, decimal, double, integer, text, timestamp
from dualpath.spark.admit import admit

FIELDS = (
    text("user", required=True),
    text("plan", choices=("free", "paid")),
    integer("quantity"),
    decimal("amount", scale=2),
    double("score"),
    boolean("flag"),
    timestamp("seen"),
)
CLICKS = EventSource("clicks", FIELDS)
GOOD: dict[str, Any] = {
    "event_id": "e1",
    "user": "ann",
    "event_time": "2026-03-01T10:00:00Z",
    "arrival_time": "2026-03-01T10:00:05Z",
}


class Bare(float):
    """A number as the payload spells it."""

    def __new__(cls, spelled: str) -> "Bare":
        made = super().__new__(cls, "nan")
        made.spelled = spelled
        return made


def payload(**changes: Any) -> str:
    """The good payload with members changed; `...` leaves one out, `Bare` is written as it is spelled."""
    members = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    spelled = (v.spelled if isinstance(v, Bare) else json.dumps(v, ensure_ascii=False) for v in members.values())
    return "{" + ",".join(f'"{name}":{value}' for name, value in zip(members, spelled, strict=True)) + "}"


NOW = datetime(2026, 3, 10, tzinfo=UTC)
ROW = "value string, event_id string, arrival_time timestamp, origin string, position bigint, refusal string"


def frame(
    spark: SparkSession, payloads: Iterable[str | None], event_id: str | None = None, arrival: datetime | None = None
) -> DataFrame:
    """Payloads as a source delivers them; the transport gives all of them the same id and arrival, or none."""
    rows = [(p, event_id, arrival, "a file", i, None) for i, p in enumerate(payloads)]
    return spark.createDataFrame(rows, ROW).coalesce(1).withColumn("admitted_at", F.lit(NOW))


def judged(spark: SparkSession, payloads: Iterable[str], source: EventSource = CLICKS) -> list[dict[str, Any]]:
    """What admission says about each payload, in their order, in one job."""
    return admit(frame(spark, payloads), source).toArrow().to_pylist()


def at(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)
