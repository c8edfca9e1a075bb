"""Names of things in Redis.

Every key of a project starts with `dp:PROJECT:`. A part of an entity's state is
`dp:PROJECT:NAMESPACE:VIEW:PART:{TAG}ENTITY`; a part is `s` + day (a snapshot) or `e` + day (an epoch).

A Redis Cluster hashes only what stands in braces, and keeps keys of one hash together. So all parts of an entity lie
on one node, a script can write many entities of one tag, and everything a project has lies in as few places as there
are tags: a mark in each of them sees whatever a node may lose. A single Redis has the same keys.
"""

import zlib
from collections.abc import Sequence

TAGS = [f"{{{n:02x}}}".encode() for n in range(64)]
"""The hash tags. Of three nodes with even slots each has 20 to 23, of six 9 to 14; more than 64 cannot share them."""
TAG = len(TAGS[0])
"""Bytes of a tag."""


def entity(values: Sequence[str | int]) -> str:
    """An entity's join key values as one string, in the order of the view's keys.

    Composite keys are length-prefixed, so that no two of them can meet.

    >>> entity(["ann"]), entity([7]), entity(["a", "b:c"])
    ('ann', '7', '1:a3:b:c')
    """
    if len(values) == 1:
        return str(values[0])
    return "".join(f"{len(v)}:{v}" for v in map(str, values))


def tagged(name: str) -> bytes:
    """A name behind its hash tag.

    >>> tagged("ann"), tagged("bob")
    (b'{33}ann', b'{00}bob')
    """
    encoded = name.encode()
    return TAGS[zlib.crc32(encoded) % len(TAGS)] + encoded


def prefix(project: str, namespace: str, view: str, part: str) -> bytes:
    """What stands before the tagged entity in the key of a part."""
    return f"dp:{project}:{namespace}:{view}:{part}:".encode()


def pointer(project: str, view: str) -> bytes:
    """The key of a view's pointer."""
    return f"dp:{project}:pointer:".encode() + tagged(view)


def heavy(project: str, view: str) -> bytes:
    """The key of the sorted set of a view's largest entities."""
    return f"dp:{project}:heavy:".encode() + tagged(view)


def dictionary(project: str) -> bytes:
    """The key of the hash of codes (decimal) to texts: on one node of a cluster, as there are few texts."""
    return f"dp:{project}:".encode() + tagged("dictionary")


def mark(project: str, namespace: str, source: str) -> bytes:
    """The key of a source's mark in a namespace; in a cluster each tag has one, whose key ends with it."""
    return f"dp:{project}:mark:{namespace}:{source}".encode()
