"""How state leaves Redis, besides the time to live that a value gets with its records (`dualpath.retention`).

A manifest that moves leaves parts behind that nobody reads any more. They need a removal of their own: those of a
lifetime window would otherwise stay for ever. A night that extends a snapshot takes in arrival days, whose keys follow
from the record files (`ArrivalDays`). After a snapshot that was written as a whole, and after a rebuild, they are found
by a scan of all keys, whatever left them behind: this publication, or one that died at any line before it, for any
declaration of the view.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dualpath.online import high_water_mark, keys
from dualpath.online.connection import connect
from dualpath.online.manifest import Manifest
from dualpath.parts import whole
from dualpath.steps import Step, step

GRACE = 3_600_000
"""Milliseconds for which a part outlives the last manifest that names it; a read under way needs far less."""
PIPELINED = 1_000
"""Commands in one round trip: Redis serves nobody else meanwhile."""


@step(Step.EXPIRE_SUPERSEDED)
def expire_superseded(redis: Any, project: str, manifests: Mapping[str, Manifest]) -> None:
    """Let the parts of views expire that their manifests do not name, `GRACE` from now.

    A namespace later than the manifest's is left alone, because a stream may be filling it.
    """
    _expire(redis, _superseded(redis, project, manifests))


@dataclass(frozen=True)
class ArrivalDays:
    """Parts of a Redis that snapshots have taken in, whose namespaces are given by view; it runs in Spark's workers."""

    connection_string: str
    project: str
    namespaces: Mapping[str, str]

    def expire(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Let parts expire, `GRACE` from now, which rows of (`view`, `arrival_day`, `entity`) name. Yields nothing."""
        redis = connect(self.connection_string)
        for batch in batches:
            _expire(redis, map(self._key, *(column.to_pylist() for column in batch.columns)))
        yield from ()

    def _key(self, view: str, arrival_day: str, entity: str) -> bytes:
        return keys.prefix(self.project, self.namespaces[view], view, "e" + arrival_day) + keys.tagged(entity)


def remove_superseded(redis: Any, project: str, manifests: Mapping[str, Manifest]) -> None:
    """Remove the same parts at once."""
    remove(redis, _superseded(redis, project, manifests))


def expire_high_water_marks(redis: Any, project: str, source: str, *, below: int) -> None:
    """Let a source's high-water marks of namespaces with a lower number expire, `GRACE` from now: of those that were
    served, and of rebuilds that died."""
    namespaces = (f"n{number}" for number in range(1, below))
    _expire(redis, (key for each in namespaces for key in high_water_mark.names(redis, project, each, source)))


def expire_other_forms(redis: Any, project: str, parts: Collection[str]) -> None:
    """Let the state expire, `GRACE` from now, of parts that views have no longer because they have other sources now.

    `parts` are those that they have. The others serve, for whoever still has the declaration of before, until all of a
    view's are there.
    """
    found = {*keys.views(redis, project)}
    incomplete = {whole(part) for part in parts if part not in found}
    complete = {whole(part) for part in parts} - incomplete
    _expire(redis, _names(redis, project, {each for each in found.difference(parts) if whole(each) in complete}))


def remove_views(redis: Any, project: str, views: Collection[str]) -> None:
    """Remove the state of views at once, whatever sources they had."""
    found = {each for each in keys.views(redis, project) if whole(each) in views}
    remove(redis, _names(redis, project, found.union(views)))


def _names(redis: Any, project: str, parts: Collection[str]) -> Iterator[bytes]:
    """The keys of parts. Their manifests come first: without them nobody reads the rest."""
    if parts:
        yield from (name(project, part) for part in parts for name in (keys.manifest, keys.large_entities))
        yield from (key for key, _ in keys.states(redis, project, views=parts))


def remove_project(redis: Any, project: str) -> None:
    """Remove everything of a project at once."""
    remove(redis, keys.everything(redis, project))


def _superseded(redis: Any, project: str, manifests: Mapping[str, Manifest]) -> Iterator[bytes]:
    found = keys.states(redis, project, views=manifests)
    return (key for key, named in found if _is_superseded(named, manifests[named.view]))


def _is_superseded(named: keys.StateKey, known: Manifest) -> bool:
    return named.number < known.number or (named.number == known.number and known.supersedes(named.part))


def _expire(redis: Any, names: Iterable[bytes]) -> None:
    _pipelined(redis, names, lambda pipe, name: pipe.pexpire(name, GRACE))


def remove(redis: Any, names: Iterable[bytes]) -> None:
    """Remove keys at once."""
    _pipelined(redis, names, lambda pipe, name: pipe.unlink(name))


def _pipelined(redis: Any, names: Iterable[bytes], command: Callable[[Any, bytes], Any]) -> None:
    """Send a command for each key, so many in a round trip."""
    with redis.pipeline(transaction=False) as pipe:
        for name in names:
            command(pipe, name)
            if len(pipe) >= PIPELINED:
                pipe.execute()
        pipe.execute()
