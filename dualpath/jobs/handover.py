"""A new generation of the stream: for new code, other declarations, a lost checkpoint or a lost Redis.

The log and the ledger are what the generations share. Redis is filled from the log for the present declarations,
the old state being served meanwhile, and the next query goes on behind the last positions that the ledger knows.
"""

from pyspark.sql import SparkSession

from dualpath.jobs.rebuild import rebuild
from dualpath.log.generation import begin_next
from dualpath.online.connection import connect
from dualpath.online.health import check_health
from dualpath.repo import Repo
from dualpath.schema import EventSource


def hand_over(spark: SparkSession, repo: Repo, source: EventSource) -> None:
    """Rebuild the online store of a source and begin a new generation; the caller holds `Storage.alone`.

    If it dies, the generation before can go on where its checkpoint is whole, and a handover can begin anew.
    Raises `StateError` if record files of the published snapshot are missing, and `RedisError` without Redis.
    """
    storage = repo.storage(source.name)
    found = check_health(connect(repo.redis_address), repo.project, storage, repo.views_of(source.name))
    storage.leave_off()
    rebuild(spark, repo, source, found)
    begin_next(storage)
