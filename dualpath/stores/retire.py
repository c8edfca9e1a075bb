"""Parts of state that no pointer names any more: they go, a while after the last reader may have asked for them."""

from collections.abc import Mapping
from typing import Any

from dualpath.stores.pointer import Pointer

GRACE = 3_600_000
"""Milliseconds for which a part outlives the last pointer to it; a read that is under way needs far less."""
SCANNED = 10_000
"""Keys looked at in one round trip."""


def retire(redis: Any, project: str, pointers: Mapping[str, Pointer]) -> None:
    """Let parts of the given views go that are served no more.

    Those of a night or a rebuild that died before this are found by the next one. A namespace later than the
    pointer's is left alone: a stream may be filling it.
    """
    head = f"dp:{project}:n".encode()
    with redis.pipeline(transaction=False) as pipe:
        for key in redis.scan_iter(match=head + b"*", count=SCANNED):
            number, view, part, _ = key.removeprefix(head).decode(errors="replace").split(":", 3)
            known = pointers.get(view)
            if known is None or not number.isdigit():
                continue
            if int(number) < known.number or (int(number) == known.number and known.supersedes(part)):
                pipe.pexpire(key, GRACE)
            if len(pipe) >= SCANNED:
                pipe.execute()
        pipe.execute()
