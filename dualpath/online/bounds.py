"""Entities with more records than `max_records` of their view: the writer notes them, and a report measures them.

Nothing is refused or cut off, because an answer from part of the events would be wrong. A large entity costs more to
read, and its owner should know.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dualpath.online import extent, keys, manifest
from dualpath.record import HEADER, Layout, layout
from dualpath.view import View

SHARE = 4
"""An entity is noted when one part alone holds this share of the bound. So an entity is not missed whose records are
spread over a snapshot and three arrival days."""
NOTED = 1_000
"""How many entities of a view are kept in the notes: those with the largest parts."""


@dataclass(frozen=True)
class LargeEntity:
    """An entity with more `records` online than `bound`, its view's `max_records`."""

    view: str
    entity: str
    records: int
    bound: int


def length(view: View, kind: Layout) -> int:
    """Bytes of a part above which its entity is noted."""
    return HEADER.size + 8 * kind.width * (view.max_records // SHARE)


def note(redis: Any, project: str, view: str, sizes: Iterable[tuple[str, int]]) -> None:
    """Note entities with the bytes of a part; of several parts of an entity the largest counts."""
    name = keys.large_entities(project, view)
    with redis.pipeline(transaction=False) as pipe:
        for entity, size in sizes:
            pipe.zadd(name, {entity: size}, gt=True)
        pipe.zremrangebyrank(name, 0, -NOTED - 1)
        pipe.execute()


def large_entities(redis: Any, project: str, views: Iterable[View]) -> list[LargeEntity]:
    """The noted entities whose served parts together are over the bound now, the furthest over it first."""
    views = list(views)
    with redis.pipeline(transaction=False) as pipe:
        for view in views:
            pipe.get(keys.manifest(project, view.name))
            pipe.zrange(keys.large_entities(project, view.name), 0, -1)
        answers = pipe.execute()
    found = []
    for view, stored, noted in zip(views, answers[::2], answers[1::2], strict=True):
        if stored and noted:
            found += _measured(redis, project, view, manifest.Manifest.decode(stored), noted)
    return sorted(found, key=lambda each: -each.records / each.bound)


def _measured(redis: Any, project: str, view: View, known: manifest.Manifest, noted: list[bytes]) -> list[LargeEntity]:
    prefixes = [keys.prefix(project, known.namespace, view.name, part) for part in known.parts]
    snapshot = keys.prefix(project, known.namespace, view.name, known.snapshot_part)
    with redis.pipeline(transaction=False) as pipe:
        for entity in noted:
            for prefix in prefixes:
                pipe.strlen(prefix + keys.tagged(entity.decode()))
            pipe.getrange(snapshot + keys.tagged(entity.decode()), 0, HEADER.size - 1)
        answers = pipe.execute()
    size, width, found = 8 * layout(view).width, len(prefixes) + 1, []
    for i, entity in enumerate(noted):
        *sizes, header = answers[i * width : (i + 1) * width]
        if known.snapshot and header:
            # What a night under way has added is counted in its arrival days still.
            sizes[0] = extent.within(header, sizes[0], extent.day_number(known.snapshot)) or sizes[0]
        records = sum(max(0, each - HEADER.size) // size for each in sizes)
        if records > view.max_records:
            found.append(LargeEntity(view.name, entity.decode(), records, view.max_records))
    return found
