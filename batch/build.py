"""The batch path: event log in, record files out, through the same column expressions as the stream."""

import shutil
from collections.abc import Sequence
from datetime import date

import xxhash
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dualpath.repo import Repo
from dualpath.schema import EventSource
from dualpath.spark.log import read_log
from dualpath.spark.records import records, texts
from dualpath.storage import Storage
from dualpath.stores.history import DICTIONARY, History, shelf


def build(spark: SparkSession, repo: Repo, source: EventSource, through: date | None = None) -> list[str]:
    """Bring the record files of a source's views up to date, for epochs up to `through`; answers those built.

    An epoch is built again only if the log has other batches for it than its part was made from.
    """
    storage, history = repo.storage(source.name), History(repo.root)
    digests = digest(storage, source.name)
    wanted = [e for e in digests if through is None or e <= through.isoformat()]
    built: set[str] = set()
    for view in repo.views_of(source.name):
        stale = stale_epochs(history, shelf(view), wanted, digests)
        if stale:
            made = records(read_log(spark, storage, source, stale), view, fold=False)
            _publish(history, shelf(view), made, stale, "entity")
            built.update(stale)
    shelf_of_texts = f"{DICTIONARY}/{source.name}"
    stale = stale_epochs(history, shelf_of_texts, wanted, digests)
    if stale:
        made = texts(read_log(spark, storage, source, stale), repo.views_of(source.name))
        _publish(history, shelf_of_texts, made, stale, "code")
    return sorted(built)


def digest(storage: Storage, salt: str) -> dict[str, str]:
    """For each epoch, the name of the part made from the batches the log has for it now."""
    batches: dict[str, list[str]] = {}
    for entry in storage.entries():
        for epoch in entry.epochs if entry.done else ():
            batches.setdefault(epoch, []).append(entry.name)

    def part(epoch: str, names: list[str]) -> str:
        return f"{epoch}-{xxhash.xxh64_hexdigest(' '.join([salt, *names]).encode())}"

    return {epoch: part(epoch, names) for epoch, names in batches.items()}


def stale_epochs(history: History, name: str, wanted: Sequence[str], digests: dict[str, str]) -> dict[str, str]:
    """Epochs whose current part was made from other batches, with the names their new parts get."""
    made_from = history.index(name)
    return {e: digests[e] for e in wanted if made_from.get(e) != digests[e]}


def _publish(history: History, name: str, made: DataFrame, parts: dict[str, str], order: str) -> None:
    staged = history.folder(name) / ".staged"
    shutil.rmtree(staged, ignore_errors=True)
    spread = max(1, int(made.sparkSession.conf.get("spark.sql.shuffle.partitions") or 4) // len(parts))
    arranged = made.repartition("epoch", F.pmod(F.xxhash64(order), F.lit(spread))).sortWithinPartitions("epoch", order)
    arranged.write.mode("overwrite").partitionBy("epoch").parquet(str(staged))
    history.publish(name, staged, parts)
    shutil.rmtree(staged, ignore_errors=True)
