"""Publishes snapshots in the online store: they are written beside the served state, then the manifests move.

A night writes the records of the days that it publishes, and a snapshot as a whole only where it extends no other. Then
what the snapshots supersede may expire, and last the day is noted beside the record files. So a night that finds the
note behind the manifests does what one that died has left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from pyspark.sql import SparkSession

from dualpath.errors import StateError, UnavailableError
from dualpath.jobs.snapshot import Snapshot, expire_taken_in, fill
from dualpath.offline.history import History
from dualpath.online import manifest
from dualpath.online.connection import FAILED, connect, shown
from dualpath.online.health import check_health
from dualpath.online.manifest import Manifest
from dualpath.online.removal import expire_superseded
from dualpath.online.writer import WriteCounts
from dualpath.repo import Repo
from dualpath.view import View


@dataclass(frozen=True)
class Published:
    """What a publication did for a view; `changed` is False if the snapshot was served before.

    It wrote `records` of `entities`: those of the published days, or, of a snapshot that extends no other, of all.
    """

    view: str
    day: str
    records: int
    entities: int
    changed: bool


def publish(spark: SparkSession, repo: Repo, views: Sequence[View], day: date) -> list[Published]:
    """Serve snapshot(`day`) of views of one source: the records of every arrival day up to it, then later arrival days.

    The record files must be built. Readers see the old state until a view's manifest moves. Publishing what is
    served already, or an earlier day than is served, changes nothing. Raises `StateError` if the online store is
    not whole, which only the stream repairs, `RunningError` if another night publishes, and `UnavailableError` if
    Redis is away or was started again meanwhile.
    """
    with repo.storage(views[0].source.name).publishing():
        return _publish(spark, repo, views, day)


def _publish(spark: SparkSession, repo: Repo, views: Sequence[View], day: date) -> list[Published]:
    incarnation, manifests = _incarnation(repo), served(repo, views)
    snapshots = [Snapshot(repo, v, day.isoformat()) for v in views]
    due = [s for s in snapshots if not _serves(manifests[s.view.name], s)]
    whole = any(not s.extends(manifests[s.view.name]) for s in due)
    before = min(known.snapshot for known in manifests.values())
    written: dict[str, WriteCounts] = {}
    try:
        if due:
            written = fill(spark, repo, due, manifests, repo.storage(views[0].source.name).new_publication())
        redis = connect(repo.redis_address)
        for each in due:
            manifests[each.view.name] = _move(redis, repo, each, manifests[each.view.name].namespace, incarnation)
        _expire(spark, repo, snapshots, manifests, before, whole=whole)
    except FAILED as error:
        raise _unavailable(repo, error) from None
    found = ((s, written.get(s.view.name, WriteCounts(s.view.name))) for s in snapshots)
    return [Published(s.view.name, s.day, done.records, done.parts, s in due) for s, done in found]


def _expire(
    spark: SparkSession,
    repo: Repo,
    snapshots: Sequence[Snapshot],
    manifests: Mapping[str, Manifest],
    before: str,
    *,
    whole: bool,
) -> None:
    """Let what the snapshots supersede expire, since the day that was served `before` or that is noted; note theirs.
    What a `whole` one supersedes is found by a scan, as is what one or a rebuild has left that died."""
    history, source, day = History(repo.root), snapshots[0].view.source.name, snapshots[0].day
    noted, noted_namespace = history.noted(source)
    [namespace] = {known.namespace for known in manifests.values()}
    since_noted = any((known.base or known.snapshot) > noted for known in manifests.values())
    if whole or since_noted or noted_namespace != namespace:
        expire_superseded(connect(repo.redis_address), repo.project, manifests)
    elif day > (after := min(noted, before)):
        expire_taken_in(spark, repo, snapshots, manifests, after)
    history.note_published(source, day, namespace)


def is_published(repo: Repo, view: View, day: date) -> bool:
    """Whether a view's snapshot of a day, made from the record files of now, or of a later one is served."""
    return _serves(served(repo, [view])[view.name], Snapshot(repo, view, day.isoformat()))


def _serves(known: Manifest, snapshot: Snapshot) -> bool:
    return snapshot.published_in(known) == known


def served(repo: Repo, views: Sequence[View]) -> dict[str, Manifest]:
    """The manifest of each of a source's views, by its name. Raises `StateError` and `UnavailableError` as
    `publish`."""
    source = views[0].source.name
    try:
        return check_health(connect(repo.redis_address), repo.project, repo.storage(source), views).require(source)
    except FAILED as error:
        raise _unavailable(repo, error) from None


def _incarnation(repo: Repo) -> list[str]:
    try:
        return manifest.incarnation(connect(repo.redis_address))
    except FAILED as error:
        raise _unavailable(repo, error) from None


def _move(redis: object, repo: Repo, snapshot: Snapshot, namespace: str, incarnation: list[str]) -> Manifest:
    def change(known: Manifest) -> Manifest:
        if known.namespace != namespace:
            raise StateError(
                f"view '{snapshot.view.name}': the stream rebuilt the online store meanwhile; run the night again."
            )
        return snapshot.published_in(known)

    return manifest.move(redis, repo.project, snapshot.view.name, change, within=incarnation)


def _unavailable(repo: Repo, error: Exception) -> UnavailableError:
    return UnavailableError(f"cannot publish: Redis at {shown(repo.redis_address)} says: {error}.")
