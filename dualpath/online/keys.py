"""Names of things in Redis.

Every key of a project starts with `dp:PROJECT:`. A part of an entity's state is
`dp:PROJECT:NAMESPACE:VIEW:PART:{TAG}ENTITY`; a part is `s` + day (a snapshot) or `e` + day (an arrival day).
The keys of manifests start with `pointer:`, those of high-water marks with `mark:`.

A Redis Cluster hashes only what stands in braces, and keeps keys of one hash together. So all parts of an entity are
on one node, and one script call can write many entities of one tag. Each tag has a high-water mark of its own, which
shows whatever the tag's node loses. A single Redis has the same keys.

No other module writes a pattern or parses a key. A pattern only narrows a scan, because an entity may look like the
rest of a key; parsing decides which project a key belongs to.
"""

import re
import zlib
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

TAGS = [f"{{{n:02x}}}".encode() for n in range(64)]
"""The hash tags. Of three nodes with even slots each has 20 to 23, of six 9 to 14; more than 64 cannot share them."""
TAG = len(TAGS[0])
"""Bytes of a tag."""
SCANNED = 1_000
"""Keys that a scan looks at in one round trip: Redis serves nobody else meanwhile."""
STATE = re.compile(rb"(n[0-9]+):([^:]+):([es][0-9]{4}-[0-9]{2}-[0-9]{2}):(.*)", re.DOTALL)
HIGH_WATER_MARK = re.compile(rb"mark:n[0-9]+:[^:{}]+(\{[0-9a-f]{2}\})?")


class StateKey(NamedTuple):
    """A parsed key of a part of an entity's state."""

    namespace: str
    view: str
    part: str
    entity: str

    @property
    def number(self) -> int:
        """The number of the namespace."""
        return int(self.namespace[1:])


def tagged(name: str) -> bytes:
    """A name with its hash tag in front.

    >>> tagged("ann"), tagged("bob")
    (b'{33}ann', b'{00}bob')
    """
    encoded = name.encode()
    return _tag(encoded) + encoded


def _tag(encoded: bytes) -> bytes:
    return TAGS[zlib.crc32(encoded) % len(TAGS)]


def prefix(project: str, namespace: str, view: str, part: str) -> bytes:
    """The key of a part up to its tagged entity."""
    return _head(project) + f"{namespace}:{view}:{part}:".encode()


def manifest(project: str, view: str) -> bytes:
    """The key of a view's manifest."""
    return _head(project) + b"pointer:" + tagged(view)


def large_entities(project: str, view: str) -> bytes:
    """The key of the sorted set of a view's largest entities."""
    return _head(project) + b"heavy:" + tagged(view)


def decision(project: str, name: str) -> bytes:
    """The key of an answer of the serving application, kept for retries."""
    return _head(project) + b"decision:" + tagged(name)


def learned(project: str, what: str) -> bytes:
    """The key of what the learner publishes: a `policy:VARIANT`, or its `report`."""
    return _head(project) + b"learned:" + tagged(what)


def dictionary(project: str) -> bytes:
    """The key of the hash of codes (decimal) to texts; one key, because there are few texts."""
    return _head(project) + tagged("dictionary")


def high_water_mark(project: str, namespace: str, source: str) -> bytes:
    """The key of a source's high-water mark in a namespace; in a cluster each tag has one, whose key ends with it."""
    return _head(project) + f"mark:{namespace}:{source}".encode()


def state(project: str, key: bytes) -> StateKey | None:
    """A key of a project's state, parsed; None for any other key.

    >>> state("shop", b"dp:shop:n1:user:e2026-03-01:" + tagged("urn:user:42"))
    StateKey(namespace='n1', view='user', part='e2026-03-01', entity='urn:user:42')
    >>> state("shop", b"dp:shop:x:n1:user:e2026-03-01:" + tagged("42"))
    """
    found = STATE.fullmatch(key.removeprefix(_head(project))) if key.startswith(_head(project)) else None
    if found is None:
        return None
    namespace, view, part, entity = found.groups()
    if entity[:TAG] != _tag(entity[TAG:]):
        return None
    return StateKey(namespace.decode(), view.decode(), part.decode(), entity[TAG:].decode())


def owns(project: str, key: bytes) -> bool:
    """Whether a key of any kind belongs to a project.

    >>> owns("shop", manifest("shop", "user")), owns("shop", high_water_mark("shop", "n1", "clicks"))
    (True, True)
    >>> owns("shop", b"dp:shop:x:y")
    False
    """
    rest = key.removeprefix(_head(project))
    if rest == key:
        return False
    kind, _, name = rest.partition(b":")
    if kind in (b"pointer", b"heavy"):
        return name[:TAG] == _tag(name[TAG:])
    return key == dictionary(project) or HIGH_WATER_MARK.fullmatch(rest) is not None or state(project, key) is not None


def states(
    redis: Any,
    project: str,
    *,
    namespace: str | None = None,
    views: Collection[str] | None = None,
    part: str | None = None,
) -> Iterator[tuple[bytes, StateKey]]:
    """Scan for the keys of a project's state: of a namespace, of some views, of a part, or all."""
    [view] = views if views is not None and len(views) == 1 else [None]
    pieces = [_literal(f"{piece}:".encode()) if piece else b"*:" for piece in (namespace, view, part)]
    for key in redis.scan_iter(match=_literal(_head(project)) + b"".join(pieces) + b"*", count=SCANNED):
        found = state(project, key)
        if (
            found
            and namespace in (None, found.namespace)
            and (views is None or found.view in views)
            and part in (None, found.part)
        ):
            yield key, found


def views(redis: Any, project: str) -> Iterator[str]:
    """Scan for the names of the views that have a manifest, parts of views among them."""
    head = _head(project) + b"pointer:"
    for key in redis.scan_iter(match=_literal(head) + b"*", count=SCANNED):
        if owns(project, key):
            yield key.removeprefix(head)[TAG:].decode()


def decisions(redis: Any, project: str) -> Iterator[bytes]:
    """Scan for the answers of the serving application that are kept for retries."""
    head = _head(project) + b"decision:"
    found = redis.scan_iter(match=_literal(head) + b"*", count=SCANNED)
    return (key for key in found if (name := key.removeprefix(head))[:TAG] == _tag(name[TAG:]))


def everything(redis: Any, project: str) -> Iterator[bytes]:
    """Scan for every key of a project."""
    found = redis.scan_iter(match=_literal(_head(project)) + b"*", count=SCANNED)
    return (key for key in found if owns(project, key))


def _head(project: str) -> bytes:
    return f"dp:{project}:".encode()


def _literal(text: bytes) -> bytes:
    r"""A pattern that only the text itself matches.

    >>> print(_literal(b"a[1]*").decode())
    a\[1\]\*
    """
    return re.sub(rb"([*?\[\]\\])", rb"\\\1", text)
