"""Begins a new generation of the stream: after new code, changed declarations, a lost checkpoint or a lost Redis.

Generations share the log and the ledger. Redis is filled from the log for the present declarations, while the old state
is served, and the next query continues after the last positions in the ledger.
"""

from pyspark.sql import SparkSession

from dualpath.files import checkpoint_place
from dualpath.jobs.rebuild import rebuild
from dualpath.log.generation import begin_next
from dualpath.online.connection import connect
from dualpath.online.health import check_health
from dualpath.repo import Repo
from dualpath.schema import EventSource


def hand_over(spark: SparkSession, repo: Repo, source: EventSource) -> None:
    """Rebuild the online store of a source and begin a new generation; the caller holds `Storage.alone`.

    If it dies, the generation before can continue if its checkpoint is whole, and a handover can be repeated.
    Raises `StateError` if record files of the published snapshot are missing, `InputError` if there can be no
    checkpoint, and `RedisError` without Redis.
    """
    storage = repo.storage(source.name)
    checkpoint_place.require(storage.checkpoints)
    found = check_health(connect(repo.redis_address), repo.project, storage, repo.views_of(source.name))
    storage.leave_off()
    rebuild(spark, repo, source, found)
    begin_next(storage)
