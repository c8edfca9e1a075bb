"""Erases a person from a repo: finds what there is, removes it, and makes everything that was computed of it anew.

Every step may run again after a crash at any line. Nobody else may write meanwhile: all streams stand still.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from dualpath.entities import split
from dualpath.erasure import keys as join_keys
from dualpath.erasure import left, online, served
from dualpath.erasure.keys import Keys
from dualpath.erasure.logged import Found
from dualpath.erasure.traces import PLACES, Traces, end, require_same
from dualpath.errors import StateError
from dualpath.files.parquet import dataset
from dualpath.files.places import matching
from dualpath.files.places import remove as remove_folder
from dualpath.jobs.build import build
from dualpath.jobs.rebuild import rebuild
from dualpath.log.table import DEAD_LETTER
from dualpath.offline.history import DICTIONARY, TEXTS, History, view_version
from dualpath.online import keys as names
from dualpath.online.connection import connect
from dualpath.online.health import Health, check_health
from dualpath.online.removal import remove
from dualpath.repo import Repo
from dualpath.schema import EventSource


@dataclass(frozen=True)
class Removed:
    """What was removed of a place: rows of files, or keys of Redis. Of the rows `by_text` were known by the key's text
    alone. `nameless` rows stay, of changes by which something moved, without the person's key."""

    place: str
    rows: int = 0
    files: int = 0
    keys: int = 0
    by_text: int = 0
    nameless: int = 0

    @classmethod
    def of(cls, place: str, found: Found) -> "Removed":
        """Rows of files."""
        return cls(place, found.total, len(found.rows), by_text=found.by_text, nameless=found.moved)


@dataclass
class Erased:
    """What was removed, place by place, and what could not be; `unreadable` dead letters may be the person's or not.

    `resumed`: an erasure that was cut off has gone on.
    """

    removed: list[Removed] = field(default_factory=list)
    unreadable: int = 0
    resumed: bool = False
    left: list[str] = field(default_factory=list)

    @property
    def anything(self) -> bool:
        """Whether there was something to remove."""
        return any(each.rows or each.keys or each.nameless for each in self.removed)


def erase(
    repo: Repo,
    keys: Keys,
    spark: Callable[[], SparkSession],
    *,
    retention: Callable[[list[str]], Mapping[str, timedelta | None]] | None = None,
    dry_run: bool = False,
) -> Erased:
    """Remove everything of the entities with one of some join keys; with `dry_run`, only find it.

    `spark` starts Spark, if records have to be made anew. `retention` asks Kafka how long topics keep messages.

    Raises `InputError` for a value that is none of its field, `RunningError` while a stream, a build or a night's
    compaction runs, and `StateError` if a batch was cut off, if landed files are not read yet, if the counts do not add
    up or the online store is not whole.
    """
    with ExitStack() as held:
        for source in repo.sources.values():
            held.enter_context(repo.storage(source.name).alone())
        traces = [
            Traces(repo.storage(source.name), source, keys)
            for source in repo.sources.values()
            if join_keys.fields(source, keys)
        ]
        asked = retention([topic for each in traces for topic in left.topics(each)]) if retention else None
        result = _erase(repo, keys, traces, spark, dry_run)
        result.left += left.sentences(repo, traces, asked)
        return result


def _erase(repo: Repo, keys: Keys, traces: list[Traces], spark: Callable[[], SparkSession], dry_run: bool) -> Erased:
    redis, resumed = connect(repo.redis_address), any(each.under_way for each in traces)
    for name, source in repo.sources.items():
        require_same(repo.storage(name), keys)
        _require_served(redis, repo, source, resumed=resumed)
    for each in traces:
        each.require_ready()
    logs = [(log, log.found()) for log in served.logs(repo, keys)]
    state, others = [*_states(redis, repo, keys)], [*online.decisions(redis, repo.project, keys)]
    ordinary = [*online.ordinary(redis, repo, keys)] if _has_ordinary(repo) else []
    result = Erased(
        [
            *(
                Removed.of(f"{each.source.name}: {PLACES[kind]}", each.found[kind])
                for each in traces
                for kind in PLACES
            ),
            *(Removed.of(f"served log {_below(repo, log.folder)}", found) for log, found in logs),
            Removed("Redis: state of the entity", keys=len(state)),
            Removed("Redis: kept decisions", keys=len(others)),
            Removed("Redis: ordinary views", keys=len(ordinary)),
        ],
        sum(each.found[DEAD_LETTER].unreadable for each in traces),
        resumed,
    )
    due = [each for each in traces if each.due]
    if dry_run or not (due or result.anything):
        return result
    notes = [each.remove() for each in due]
    for log, found in logs:
        for file in found.rows:
            log.remove(file)
    remove(redis, [*others, *ordinary])
    if changed := [each for each, note in zip(due, notes, strict=True) if note.arrival_days]:
        texts = _remake(repo, redis, spark(), changed)
        result.removed.append(Removed("Redis: texts that nobody else has", keys=texts))
    if said := online.rewrite_files(redis):
        result.left.append(f"{said}; until it does, they have what was removed.")
    for each in due:
        end(each.storage)
    return result


def _remake(repo: Repo, redis: Any, spark: SparkSession, changed: list[Traces]) -> int:
    """Build record files and the online store anew of what the log has now; answers how many texts nobody has now."""
    for source in repo.sources.values():
        build(spark, repo, source)
    _remove_other_records(repo)
    for each in changed:
        views = repo.views_of(each.source.name)
        online.forget_large(redis, repo.project, views)
        rebuild(spark, repo, each.source, check_health(redis, repo.project, each.storage, views))
        online.forget_superseded(redis, repo.project, views)
    return online.forget_texts(redis, repo.project, _codes(repo))


def _require_served(redis: Any, repo: Repo, source: EventSource, *, resumed: bool) -> None:
    """Raise `StateError` unless the online store is of the present declarations and, but for what an erasure was cut
    off in, whole."""
    found = check_health(redis, repo.project, repo.storage(source.name), repo.views_of(source.name)).health
    fine = {Health.NEW, Health.WHOLE, *((Health.REBUILDING, Health.LOST) if resumed else ())}
    if found not in fine:
        raise StateError(f"source '{source.name}': the online store {found.value}; then erase.")


def _remove_other_records(repo: Repo) -> None:
    """Remove record files of declarations that are not those of now: nothing can make them anew."""
    present = {DICTIONARY, "published", *map(view_version, repo.parts)}
    for folder in matching(repo.root / "records", "*"):
        if folder.name not in present:
            remove_folder(folder)


def _codes(repo: Repo) -> np.ndarray:
    """The codes of all texts that records have, int64[n]."""
    history = History(repo.root)
    paths = [path for source in repo.sources for path in history.paths(f"{DICTIONARY}/{source}")]
    return dataset(paths, TEXTS).to_table(columns=["code"])["code"].to_numpy()


def _states(redis: Any, repo: Repo, keys: Keys) -> Iterator[bytes]:
    """The keys of the state of the entities themselves."""
    wanted = {}
    for view in repo.parts:
        places = [(at, keys[key]) for at, key in enumerate(view.keys) if key in keys]
        if places:
            wanted[view.name] = (len(view.keys), places)
    for key, found in names.states(redis, repo.project, views=wanted) if wanted else ():
        width, places = wanted[found.view]
        parts = split(found.entity, width)
        if any(parts[at] in values for at, values in places):
            yield key


def _has_ordinary(repo: Repo) -> bool:
    return len(repo.store.list_feature_views()) > len(repo.views)


def _below(repo: Repo, folder: Path) -> str:
    return str(folder.relative_to(repo.folder)) if folder.is_relative_to(repo.folder) else str(folder)
