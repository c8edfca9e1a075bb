"""The Spark session of a repo's jobs, which write to its Redis from the workers."""

from collections.abc import Mapping

from pyspark.sql import SparkSession

from dualpath.errors import InputError
from dualpath.online.connection import VARIABLE, configured
from dualpath.repo import Repo
from dualpath.spark.session import known_master, session
from dualpath.spark.workers import are_elsewhere


def session_of(repo: Repo, app: str, conf: Mapping[str, str] | None = None) -> SparkSession:
    """The session of `dualpath.spark.session.session` for a repo.

    Raises `InputError` if its Redis is the embedded one, and workers may run on other machines.
    """
    _require_redis(repo, known_master(conf))
    started = session(app, conf=conf, data=repo.root)
    _require_redis(repo, str(started.sparkContext.master))
    return started


def _require_redis(repo: Repo, master: str) -> None:
    if are_elsewhere(master) and not configured(repo.store.config):
        raise InputError(
            f"Spark's master is {master}, and its workers cannot reach the embedded Redis, which is for one machine; "
            f"name a Redis that they reach with online_store.connection_string or {VARIABLE}."
        )
