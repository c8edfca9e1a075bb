"""Rebuilds the online store of a source in a new namespace: the published snapshots, and the log's arrival days after
them.

Only the stream rebuilds, between two micro-batches. The old state is served until the manifests move, unless it has
lost writes: then readers are refused until they move. A rebuild that dies leaves a namespace that nobody reads.
"""

import logging

from pyspark.sql import SparkSession

from dualpath.errors import StateError
from dualpath.jobs.snapshot import Snapshot, fill
from dualpath.offline.history import DICTIONARY, History, dictionary_salt, record_salt, view_version
from dualpath.online import high_water_mark, manifest
from dualpath.online.connection import connect
from dualpath.online.health import Health, HealthReport
from dualpath.online.manifest import Manifest
from dualpath.online.removal import expire_high_water_marks, expire_other_forms, expire_superseded
from dualpath.online.spark_writer import record_rows, write
from dualpath.online.writer import FencedWrite
from dualpath.record import UNFENCED, Fence
from dualpath.repo import Repo
from dualpath.schema import EventSource
from dualpath.spark.log import read_log
from dualpath.steps import Step, step
from dualpath.view import View

log = logging.getLogger(__name__)


@step(Step.REBUILD)
def rebuild(spark: SparkSession, repo: Repo, source: EventSource, found: HealthReport) -> None:
    """Fill a new namespace with all finished batches of a source and move the manifests to it.

    Raises `StateError` if record files of a published snapshot are missing, and `LostError`, to be repeated, if Redis
    may have lost writes meanwhile.
    """
    redis, storage = connect(repo.redis_address), repo.storage(source.name)
    incarnation = manifest.incarnation(redis)
    views, (finished, _) = repo.views_of(source.name), storage.reached()
    before = [p for p in found.manifests.values() if p]
    namespace = storage.new_namespace(above=max((p.number for p in before), default=0))
    if found.health is Health.LOST:
        log.warning("source '%s': Redis has lost writes; rebuilding its state as %s", source.name, namespace)
        for view in views:
            manifest.place(redis, repo.project, view.name, Manifest(namespace, rebuilding=True))
    # Nobody reads this high-water mark yet. It shows later whether the namespace was emptied while it was filled.
    high_water_mark.place(redis, repo.project, namespace, source.name, UNFENCED)
    made = _fill(spark, repo, source, views, namespace, finished)
    high_water_mark.advance(
        redis,
        repo.project,
        namespace,
        source.name,
        since=UNFENCED,
        to=finished,
        arrived=storage.newest_arrival(),
        within=incarnation,
    )
    for view in views:
        manifest.place(redis, repo.project, view.name, made[view.name])
    expire_superseded(redis, repo.project, made)
    expire_other_forms(redis, repo.project, [part.name for part in repo.parts])
    expire_high_water_marks(redis, repo.project, source.name, below=Manifest(namespace).number)
    if day := next(iter(made.values())).snapshot:
        History(repo.root).note_published(source.name, day, namespace)


def _fill(
    spark: SparkSession, repo: Repo, source: EventSource, views: list[View], namespace: str, finished: Fence
) -> dict[str, Manifest]:
    """Write everything up to the batch `finished`; returns the manifests that name it."""
    storage, day = repo.storage(source.name), History(repo.root).published(source.name)
    made = {v.name: Manifest(namespace, view_version=view_version(v)) for v in views}
    if day:
        _check(repo, source, views, day)
        snapshots = [Snapshot(repo, v, day) for v in views]
        fill(spark, repo, snapshots, made, storage.new_publication())
        made = {s.view.name: s.published_in(made[s.view.name]) for s in snapshots}
    if later := [e for e in storage.arrival_days() if e > day]:
        destinations = {v.name: repo.destination(v, namespace) for v in views}
        # The fence is that of the last batch: the next one is newer than every key, and no earlier one is.
        to = FencedWrite(repo.redis_address, repo.project, destinations, finished)
        with step(Step.REBUILD_RECORDS):
            write(record_rows(read_log(spark, storage, source, later), views), to)
    return {name: each.with_arrival_days(later) for name, each in made.items()}


def _check(repo: Repo, source: EventSource, views: list[View], day: str) -> None:
    """Raise `StateError` if record files up to a day are not those of the log."""
    storage, history = repo.storage(source.name), History(repo.root)
    arrival_days = [e for e in storage.arrival_days() if e <= day]
    needed = {view_version(v): record_salt(source.name) for v in views}
    needed[f"{DICTIONARY}/{source.name}"] = dictionary_salt(source.name, views)
    if any(history.stale(name, arrival_days, storage.digests(salt)) for name, salt in needed.items()):
        raise StateError(
            f"source '{source.name}': record files up to {day}, which the snapshot is made from, are missing or not "
            "those of the present declarations; run `dualpath batch`, then start the stream again."
        )
