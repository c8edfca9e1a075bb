"""Why an answer is not another one: the events that make the difference, and what gives a value that was seen."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from dualpath.errors import InputError
from dualpath.parity.candidates import Candidate
from dualpath.parity.compare import same
from dualpath.parity.question import ALL, Knowledge, Question, served
from dualpath.record import UNFENCED
from dualpath.values import arrow_type

MOST = 10_000_000
"""Combinations of micro-batches of several sources that are tried for a value; a minute or a few."""
CELLS = 1_000_000
"""Events of combinations that are computed at once."""


@dataclass(frozen=True)
class Lacking:
    """An event that makes a difference: the knowledge that lacks it, and the cause."""

    row: Candidate
    by: str
    cause: str


@dataclass(frozen=True)
class Contrast:
    """Another answer, its `value`, and the events that make the difference, ascending by time and id.

    `known` is what gives that value, empty if nothing does. The events are the fewest in this sense: with them all, one
    answer becomes the other, and none of them can be left out.
    """

    known: str
    value: Any
    events: tuple[Lacking, ...] = ()


def contrast(question: Question, mine: Knowledge, other: Knowledge) -> Contrast:
    """What makes the answer of `other` differ from `mine`; no events if the two are the same bits."""
    has, others = question.has(mine), question.has(other)
    value = question.value(others)

    apart = np.flatnonzero(has != others)

    def makes_the_difference(some: np.ndarray) -> bool:
        """Whether these of the events that only one of the two has turn the one answer into the other."""
        chosen = has.copy()
        chosen[apart[some]] = others[apart[some]]
        return same(question.value(chosen), value)

    found = apart[fewest(len(apart), makes_the_difference)]
    rows = [(question.reached[number], other if has[number] else mine) for number in found]
    lacking = tuple(Lacking(row, by.name, question.lacked(row, by)) for row, by in rows)
    return Contrast(other.name, value, lacking)


def fewest(count: int, suffice: Callable[[np.ndarray], bool]) -> np.ndarray:
    """Some of so many things that suffice, bool[count], so that none of them can be left out. All of them suffice.

    Halves are tried before single ones: few of many are found in a few steps.

    >>> fewest(100, lambda some: some[7] and some[90]).nonzero()[0].tolist()
    [7, 90]
    """
    found = np.ones(count, dtype=bool)
    while True:
        before, parts = found, [(0, count)]
        while parts:
            start, end = parts.pop()
            if not found[start:end].any():
                continue
            rest = found.copy()
            rest[start:end] = False
            if suffice(rest):
                found = rest
            elif end - start > 1:
                middle = (start + end) // 2
                parts += [(middle, end), (start, middle)]
        # What was needed once may not be, now that others are gone.
        if (found == before).all():
            return found


def giving(question: Question, value: Any, mine: Knowledge) -> Knowledge | None:
    """The knowledge that gives a value, bit by bit: `mine`, or the whole log, or the latest micro-batch that does.

    Of several sources it is the first combination of micro-batches that does, the latest ones of the first source
    first. Raises `InputError` if there are more than `MOST` of them and neither `mine` nor the whole log gives it.
    """
    for each in (mine, ALL):
        if same(question.value(question.has(each)), value):
            return each
    batches = [
        [*sorted({row.batch for row in question.reached if row.view == part}, reverse=True), UNFENCED]
        for part in question.parts
    ]
    shape = [len(each) for each in batches]
    if prod(shape) > MOST:
        raise InputError(
            f"against: {prod(shape):,} combinations of micro-batches may have given the value, and at most {MOST:,} "
            "are tried; pass the token that came with it, or an instant."
        )
    has = [question.has_after(part, each) for part, each in zip(question.parts, batches, strict=True)]
    at_once = max(CELLS // max(len(question.reached), 1), 1)
    for start in range(0, prod(shape), at_once):
        places = np.unravel_index(np.arange(start, min(start + at_once, prod(shape))), shape)
        choices = reduce(np.logical_or, (each[at] for each, at in zip(has, places, strict=True)))
        for number, found in enumerate(question.values(choices)):
            if same(found, value):
                fences = [each[at[number]] for each, at in zip(batches, places, strict=True)]
                return served([storage.source for storage in question.storages], fences)
    return None


def seen(question: Question, plain: Any, name: str) -> Any:
    """A value that was seen, parsed from JSON, as the feature holds it; raises `InputError` if it cannot hold it."""
    holds = arrow_type(question.view.output(question.feature))
    pairs = [*plain.items()] if isinstance(plain, dict) else plain
    try:
        found = pa.array([pairs], holds).to_pylist(maps_as_pydicts="strict")[0]
    except (pa.ArrowException, TypeError, ValueError):
        found = None
    if found != plain:  # Arrow would cut 1.5 to a whole number
        raise InputError(
            f"{name}: {plain!r} is no value of '{question.feature.name}', which holds {holds}; pass the value that was "
            "seen, as JSON."
        )
    return found
