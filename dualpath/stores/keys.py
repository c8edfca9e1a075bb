"""Names of things in Redis.

Every key of a project starts with `dp:{project}:`. A part of an entity's state is
`dp:{project}:{namespace}:{view}:{part}:{entity}`; a part is `s` + day (a snapshot) or `e` + day (an epoch).
"""

from collections.abc import Sequence


def entity(values: Sequence[str | int]) -> str:
    """An entity's join key values as one string, in the order of the view's keys.

    Composite keys are length-prefixed, so that no two of them can meet.

    >>> entity(["ann"]), entity([7]), entity(["a", "b:c"])
    ('ann', '7', '1:a3:b:c')
    """
    if len(values) == 1:
        return str(values[0])
    return "".join(f"{len(v)}:{v}" for v in map(str, values))


def prefix(project: str, namespace: str, view: str, part: str) -> bytes:
    """What stands before the entity in the key of a part."""
    return f"dp:{project}:{namespace}:{view}:{part}:".encode()


def pointer(project: str, view: str) -> bytes:
    """The key of a view's pointer."""
    return f"dp:{project}:pointer:{view}".encode()


def heavy(project: str, view: str) -> bytes:
    """The key of the sorted set of a view's largest entities."""
    return f"dp:{project}:heavy:{view}".encode()


def dictionary(project: str) -> bytes:
    """The key of the hash of codes (decimal) to texts."""
    return f"dp:{project}:dictionary".encode()


def marks(project: str, namespace: str, source: str) -> list[bytes]:
    """The keys of a source's marks in a namespace: one, because a server keeps a prefix of its writes."""
    return [f"dp:{project}:mark:{namespace}:{source}".encode()]
