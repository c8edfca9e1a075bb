"""Snapshots into the online store: written beside the served state, then the pointer moves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from typing import Any

import xxhash
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from redis import RedisError

from dualpath.errors import UnavailableError
from dualpath.record import Fence
from dualpath.repo import Repo
from dualpath.spark.arrange import arrange
from dualpath.stores import keys, pointer
from dualpath.stores.append import OUTPUT, TEXTS, Target, refusal
from dualpath.stores.connection import connect
from dualpath.stores.history import DICTIONARY, RECORDS, History, shelf
from dualpath.stores.history import TEXTS as TEXTS_SCHEMA
from dualpath.stores.pointer import Pointer
from dualpath.view import View

GRACE = 3_600_000
"""Milliseconds for which a part outlives the last pointer to it; a read that is under way needs far less."""
SCANNED = 10_000
"""Keys looked at in one round trip."""


@dataclass(frozen=True)
class Published:
    """What a publication did for a view; `changed` is False if this snapshot was served already."""

    view: str
    day: str
    records: int
    entities: int
    changed: bool


def publish(spark: SparkSession, repo: Repo, views: Sequence[View], day: date) -> list[Published]:
    """Serve snapshot(`day`) of the views: the records of every arrival day up to it, then later epochs.

    The record files must be built. Readers see the old state until a view's pointer moves. Publishing what is
    served already, or an earlier day than is served, changes nothing. Raises `UnavailableError` without Redis.
    """
    redis = connect(repo.redis_address)
    history, iso = History(repo.root), day.isoformat()
    pointers = served(repo, views)
    floor = 0 if repo.slack is None else _end_of(day) - repo.slack
    news = {v.name: (iso, floor, _digest(history, v, iso), shelf(v)) for v in views}
    due = [v for v in views if pointers[v.name].at(*news[v.name]) != pointers[v.name]]
    written: dict[str, tuple[int, int]] = {}
    if due:
        parts = {v.name: repo.part(v, pointers[v.name], floor) for v in due}
        target = Target(repo.redis_address, repo.project, parts, Fence(0, 0), kind="s")
        frames = [_records(spark, history, v, iso, floor) for v in due] + _texts(spark, history, due)
        try:
            done = arrange(reduce(DataFrame.unionByName, frames)).mapInArrow(target.write, OUTPUT)
            for row in done.groupBy("view").agg(F.sum("records").alias("r"), F.sum("parts").alias("p")).collect():
                written[row["view"]] = (row["r"], row["p"])
        except Exception as error:
            raise refusal(error) or error from None
        for view in due:
            new = news[view.name]
            pointers[view.name] = pointer.move(redis, repo.project, view.name, lambda p, new=new: p.at(*new))  # type: ignore[misc]
        retire(redis, repo.project, pointers)
    return [Published(v.name, iso, *written.get(v.name, (0, 0)), v in due) for v in views]


def served(repo: Repo, views: Sequence[View]) -> dict[str, Pointer]:
    """The pointer of each view, by its name. Raises `UnavailableError` without Redis."""
    redis = connect(repo.redis_address)
    try:
        return {v.name: pointer.read(redis, repo.project, v.name) for v in views}
    except RedisError as error:
        raise UnavailableError(f"cannot publish: Redis at {repo.redis_address} says: {error}.") from None


def retire(redis: Any, project: str, pointers: Mapping[str, Pointer]) -> None:
    """Let parts go that are served no more. Those of a night that died before this are found by the next one."""
    with redis.pipeline(transaction=False) as pipe:
        for view, known in pointers.items():
            head = keys.prefix(project, known.namespace, view, "").removesuffix(b":")
            for key in redis.scan_iter(match=head + b"*", count=SCANNED):
                if known.supersedes(key.removeprefix(head).partition(b":")[0].decode()):
                    pipe.pexpire(key, GRACE)
                if len(pipe) >= SCANNED:
                    pipe.execute()
        pipe.execute()


def _records(spark: SparkSession, history: History, view: View, day: str, floor: int) -> DataFrame:
    paths = history.paths(shelf(view), through=day)
    schema = from_arrow_schema(RECORDS)
    found = spark.read.schema(schema).parquet(*paths) if paths else spark.createDataFrame([], schema)
    if floor and not view.remembers and view.reach is not None:
        found = found.where(F.element_at("words", 1) > F.lit(floor - view.reach))
    return found.select(F.lit(view.name).alias("view"), F.lit(day).alias("epoch"), "entity", "words")


def _texts(spark: SparkSession, history: History, views: Sequence[View]) -> list[DataFrame]:
    """The dictionary again: a Redis that was lost has no texts either."""
    paths = [p for s in sorted({v.source.name for v in views}) for p in history.paths(f"{DICTIONARY}/{s}")]
    if not paths:
        return []
    texts = spark.read.schema(from_arrow_schema(TEXTS_SCHEMA)).parquet(*paths).distinct()
    named = F.lit(TEXTS).alias("view"), F.lit("").alias("epoch"), F.col("text").alias("entity")
    return [texts.select(*named, F.array("code").alias("words"))]


def _digest(history: History, view: View, day: str) -> str:
    """A name for the record files a snapshot is made from."""
    parts = [part for epoch, part in sorted(history.index(shelf(view)).items()) if epoch <= day]
    return xxhash.xxh64_hexdigest(" ".join([shelf(view), *parts]).encode())


def _end_of(day: date) -> int:
    """The first microsecond after a day, UTC."""
    return int(datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC).timestamp()) * 1_000_000
