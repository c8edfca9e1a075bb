"""What an answer knows: which events count, besides those that a window holds.

| known | the events that count |
|---|---|
| final | all of the log |
| by arrival | those whose `arrival_time` is at or before an instant |
| served | those of the micro-batches up to one, as a read of the online store saw them; a *token* names that batch |

Each record of a training set has two numbers beside its words, its event's arrival and its micro-batch. So all three
are one filter before the fold: a record counts if its number is at most the row's limit. Each source numbers its own
batches, so a token of a view of several sources names a batch of each, and a row has as many limits.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from dualpath.errors import InputError
from dualpath.instants import absent
from dualpath.record import Fence

BATCH_BITS = 40
"""Bits of a batch's place that hold its number; those above hold its query."""
TOKEN = re.compile(r"q(\d{1,6})b(\d{1,12})", re.ASCII)
REMEDY = "pass the values of the feature that served it"


class Known(NamedTuple):
    """What each row of a training set knows.

    `by` says which number of a record is compared, `limits` int64[m] has the greatest that counts for each row:
    when it `arrived`, microseconds UTC, or the `place` of its `batch`. Of batches of p sources they are int64[m, p].
    """

    by: Literal["arrived", "batch"]
    limits: np.ndarray


def place(fence: Fence) -> int:
    """A micro-batch as one number, in the order in which batches became known.

    >>> place(Fence(1, 7)) < place(Fence(1, 8)) < place(Fence(2, 0))
    True
    """
    return (fence.query << BATCH_BITS) | fence.batch


def token(fence: Fence) -> str:
    """The token of a read that saw everything up to a micro-batch.

    It is a text that no spreadsheet takes for a number or a date.

    >>> token(Fence(1, 204))
    'q1b204'
    """
    return f"q{fence.query}b{fence.batch}"


def joint(sources: Sequence[str], fences: Sequence[Fence]) -> str:
    """The token of a view of some sources, of each of which the read saw everything up to a micro-batch.

    >>> joint(["clicks"], [Fence(1, 204)]), joint(["clicks", "orders"], [Fence(1, 204), Fence(2, 0)])
    ('q1b204', 'clicks:q1b204/orders:q2b0')
    """
    if len(sources) == 1:
        return token(fences[0])
    return "/".join(f"{source}:{token(fence)}" for source, fence in zip(sources, fences, strict=True))


def named(given: Any, sources: Sequence[str]) -> tuple[Fence, ...] | None:
    """The micro-batches that one token names, of each source; None if it is no token of these sources.

    >>> named("clicks:q1b204/orders:q2b0", ["clicks", "orders"])
    (Fence(query=1, batch=204), Fence(query=2, batch=0))
    >>> named("q1b204", ["clicks", "orders"])
    """
    heads = [f"{source}:" for source in sources] if len(sources) > 1 else [""]
    pieces = given.split("/") if isinstance(given, str) else []
    if len(pieces) != len(heads) or not all(map(str.startswith, pieces, heads)):
        return None
    found = [TOKEN.fullmatch(piece.removeprefix(head)) for piece, head in zip(pieces, heads, strict=True)]
    return tuple(Fence(int(each[1]), int(each[2])) for each in found if each) if all(found) else None


def split(tokens: Iterable[Any], name: str, sources: Sequence[str], first: int = 0) -> list[tuple[Fence, ...]]:
    """The micro-batches that the tokens of a column name, of each source: the inverse of `joint`.

    Raises `InputError` that names the row for a missing token, and for anything that is none of these sources; `first`
    is the number of the first row.

    >>> split(["q1b204"], "known_actions", ["clicks", "orders"])
    Traceback (most recent call last):
    dualpath.errors.InputError: known_actions, row 0: 'q1b204' is not a token; pass the values of the feature that \
served it, such as 'clicks:q1b204/orders:q1b204'.
    """
    seen: dict[Any, tuple[Fence, ...]] = {}
    found = []
    for row, given in enumerate(tokens, first):
        fences = seen.get(given) if isinstance(given, str) else None
        if fences is None:
            fences = named(given, sources)
            if fences is None:
                said = "the token is missing" if absent(given) else f"{given!r} is not a token"
                example = joint(sources, [Fence(1, 204)] * len(sources))
                raise InputError(f"{name}, row {row}: {said}; {REMEDY}, such as '{example}'.")
            seen[given] = fences
        found.append(fences)
    return found


def parse(tokens: Iterable[Any], name: str) -> list[Fence]:
    """The micro-batches that the tokens of a column name, of a view of one source.

    Raises as `split` does.

    >>> parse(["q1b204", "q2b0"], "known_user")
    [Fence(query=1, batch=204), Fence(query=2, batch=0)]
    >>> parse([204], "known_user")
    Traceback (most recent call last):
    dualpath.errors.InputError: known_user, row 0: 204 is not a token; pass the values of the feature that served it, \
such as 'q1b204'.
    """
    return [fence for (fence,) in split(tokens, name, [""])]
