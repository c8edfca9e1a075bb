"""What an answer knows: which events count, besides those that a window holds.

| known | the events that count |
|---|---|
| final | all of the log |
| by arrival | those whose `arrival_time` is at or before an instant |
| served | those of the micro-batches up to one, as a read of the online store saw them; a *token* names that batch |

Each record of a training set has two numbers beside its words, its event's arrival and its micro-batch. So all three
are one filter before the fold: a record counts if its number is at most the row's limit.
"""

import re
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np

from dualpath.errors import InputError
from dualpath.instants import absent
from dualpath.record import Fence

BATCH_BITS = 40
"""Bits of a batch's place that hold its number; those above hold its query."""
TOKEN = re.compile(r"q(\d{1,6})b(\d{1,12})", re.ASCII)
REMEDY = "pass the values of the feature that served it, such as 'q1b204'"


class Known(NamedTuple):
    """What each row of a training set knows.

    `by` says which number of a record is compared, `limits` int64[m] has the greatest that counts for each row:
    when it `arrived`, microseconds UTC, or the `place` of its `batch`.
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


def parse(tokens: Iterable[Any], name: str) -> list[Fence]:
    """The micro-batches that the tokens of a column name.

    Raises `InputError` that names the row for a missing token, and for anything that is none.

    >>> parse(["q1b204", "q2b0"], "known_user")
    [Fence(query=1, batch=204), Fence(query=2, batch=0)]
    >>> parse([204], "known_user")
    Traceback (most recent call last):
    dualpath.errors.InputError: known_user, row 0: 204 is not a token; pass the values of the feature that served it, \
such as 'q1b204'.
    """
    seen: dict[Any, Fence] = {}
    found = []
    for row, given in enumerate(tokens):
        fence = seen.get(given) if isinstance(given, str) else None
        if fence is None:
            match = TOKEN.fullmatch(given) if isinstance(given, str) else None
            if match is None:
                said = "the token is missing" if absent(given) else f"{given!r} is not a token"
                raise InputError(f"{name}, row {row}: {said}; {REMEDY}.")
            fence = seen[given] = Fence(int(match[1]), int(match[2]))
        found.append(fence)
    return found
