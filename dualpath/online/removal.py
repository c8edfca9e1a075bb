"""State that goes: parts that no manifest names any more, removed views, whole projects."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dualpath.online import keys
from dualpath.online.manifest import Manifest
from dualpath.steps import Step, step

GRACE = 3_600_000
"""Milliseconds for which a part outlives the last manifest to it; a read that is under way needs far less."""


@step(Step.EXPIRE_SUPERSEDED)
def expire_superseded(redis: Any, project: str, manifests: Mapping[str, Manifest]) -> None:
    """Let parts of the given views go that are served no more, a while after the last reader may have asked for them.

    Those of a night or a rebuild that died before this are found by the next one. A namespace later than the
    manifest's is left alone: a stream may be filling it.
    """
    with redis.pipeline(transaction=False) as pipe:
        for key, found in keys.states(redis, project, views=manifests):
            known = manifests[found.view]
            if found.number < known.number or (found.number == known.number and known.supersedes(found.part)):
                pipe.pexpire(key, GRACE)
            if len(pipe) >= keys.SCANNED:
                pipe.execute()
        pipe.execute()


def remove_views(redis: Any, project: str, views: Collection[str]) -> None:
    """Remove the state of views at once, their manifests first: from then on nobody reads the rest."""
    names = [name(project, view) for view in views for name in (keys.manifest, keys.large_entities)]
    _unlink(redis, names)
    _unlink(redis, (key for key, _ in keys.states(redis, project, views=views)))


def remove_project(redis: Any, project: str) -> None:
    """Remove everything of a project at once."""
    _unlink(redis, keys.everything(redis, project))


def _unlink(redis: Any, names: Iterable[bytes]) -> None:
    with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.unlink(name)
            if len(pipe) >= keys.SCANNED:
                pipe.execute()
        pipe.execute()
