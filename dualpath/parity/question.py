"""One feature of one entity at one instant, and what each knowledge answers, from the entity's events in the log.

The value is that of the kernel, over the records that `dualpath.preview` makes.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from dualpath import instants, known
from dualpath.entities import name as entity
from dualpath.errors import InputError
from dualpath.evaluation import evaluated
from dualpath.feast.training_known import require_finished
from dualpath.log.storage import Storage
from dualpath.parity import candidates
from dualpath.parity.candidates import Candidate
from dualpath.parity.oracle import expressions
from dualpath.preview import counts, dictionary, records, values
from dualpath.record import Fence
from dualpath.repo import Repo
from dualpath.row_versions import deleted, order
from dualpath.view import Feature, View
from dualpath.windows import edges

FINAL = "final"
LEFT_EDGE, AFTER_AS_OF, CONDITION = "left edge", "after as_of", "condition"
NOT_YET_KNOWN, BEYOND_RETENTION = "not yet known", "beyond retention"
REPLACED, DELETED, MOVED = "replaced", "deleted", "moved"
EVER = 2**63 - 1


class Knowledge(NamedTuple):
    """Which events one answer knows: those whose number `by` is at most `limit`.

    The numbers are those of `dualpath.known.Known`; `name` is `final`, an instant or a token.
    """

    name: str
    by: Literal["arrived", "batch"]
    limit: int

    def has(self, row: Candidate) -> bool:
        """Whether an event had become known."""
        number: int = row.event["arrival_time"] if self.by == "arrived" else known.place(row.batch)
        return number <= self.limit


ALL = Knowledge(FINAL, "arrived", EVER)


def served(fence: Fence) -> Knowledge:
    """What a read of the online store knew that had everything up to a micro-batch."""
    return Knowledge(known.token(fence), "batch", known.place(fence))


def knowledge(given: Any, storage: Storage, name: str) -> Knowledge:
    """The knowledge that a caller names: None or `final`, an instant, or a token.

    Raises `InputError` for anything else, and `StaleRecordsError` for a token of a batch that the log does not have.
    """
    if given is None or given == FINAL:
        return ALL
    if isinstance(given, str) and known.TOKEN.fullmatch(given):
        [fence] = known.parse([given], name)
        require_finished(fence, storage.through(), name, storage.source)
        return served(fence)
    try:
        limit = int(instants.parse([given])[0])
    except InputError:
        raise InputError(
            f"{name}: {given!r} is neither '{FINAL}' nor an instant nor a token; pass ISO-8601 text such as "
            "2026-03-04T12:00:00Z, or what the feature that served it said, such as q1b204."
        ) from None
    return Knowledge(instants.iso(limit), "arrived", limit)


class Question:
    """A feature of an entity at an instant.

    `keys` are the cast join keys, `as_of` is in microseconds UTC. `left` (open) and `right` (closed) are the window's
    edges. `events` are the entity's own in the log, ascending by time and id, with the value of each of the feature's
    `expressions`. `reached` are those that the window holds and the feature's condition lets pass.
    """

    def __init__(self, repo: Repo, view: View, feature: Feature, keys: Sequence[str | int], as_of: int) -> None:
        self.repo, self.declared, self.feature, self.keys, self.as_of = repo, view, feature, keys, as_of
        self.view = replace(view, features=(feature,))
        self.changes = view.source.changes
        self.storage = repo.storage(view.source.name)
        left, right = edges((feature.over,), np.array([as_of]), view.resolution)
        self.left, self.right = int(left[0, 0]), int(right[0, 0])
        self.expressions = sorted(expressions(feature.aggregate))
        self.reductions = feature.aggregate.reductions(view.input_type(feature))
        self.events = self.evaluated(candidates.accepted(self.storage, view, keys))
        self.reached = [row for row in self.events if not self.missed(row)]

    def evaluated(self, rows: Sequence[Candidate]) -> list[Candidate]:
        """Rows in the order of time and id, with the values of the feature's expressions."""
        ordered = sorted(rows, key=lambda row: (row.event["event_time"], row.event["event_id"], row.batch))
        found = evaluated(self.view, [dict(row.event) for row in ordered], self.expressions)
        return [replace(row, event=event) for row, event in zip(ordered, found, strict=True)]

    def missed(self, row: Candidate) -> str:
        """Why an event can never count, whatever is known; empty if it can."""
        time = row.event["event_time"]
        if time <= self.left:
            return LEFT_EDGE
        if time > self.right:
            return AFTER_AS_OF
        if row.moved or deleted(self.view, row.event):
            return MOVED if row.moved else DELETED
        # It counts for a feature that computes several things if it counts for one of them.
        passed = any(all(counts(row.event, cell) for cell in each.cells) for each in self.reductions)
        return "" if passed else CONDITION

    def lacked(self, row: Candidate, by: Knowledge) -> str:
        """Why a knowledge lacks an event that could count; empty if it has it."""
        if not by.has(row):
            return NOT_YET_KNOWN
        if self.changes and any(by.has(other) for other in self._later(row)):
            return REPLACED
        return BEYOND_RETENTION if by.by == "batch" and row in self.unwritten else ""

    def has(self, by: Knowledge) -> np.ndarray:
        """Which of the events in `reached` a knowledge has; bool[n]."""
        return np.array([not self.lacked(row, by) for row in self.reached], dtype=bool)

    def value(self, chosen: np.ndarray) -> Any:
        """The feature's value if of the events in `reached` only the chosen ones, bool[n], had come."""
        words, owners = self._records
        [found] = values(self.view, words[chosen[owners]], [self.as_of], self._texts).values()
        return found[0]

    def _later(self, row: Candidate) -> list[Candidate]:
        """The later versions of an event's row that have happened at `as_of`."""
        mine, places = self._places[id(row)], self._places
        happened = [other for other in self.events if other.event["event_time"] <= self.as_of]
        return [other for other in happened if mine[0] == places[id(other)][0] and mine < places[id(other)]]

    @cached_property
    def _places(self) -> dict[int, tuple[int, ...]]:
        """Of each event its row, and its place among the versions of that."""
        return {id(each): order(self.view, each.event) for each in self.events}

    @cached_property
    def unwritten(self) -> frozenset[Candidate]:
        """Events in `reached` that the stream logged and did not write to the online store.

        They were older than the longest retention of the source's views before the clock of their batch.
        """
        retention = self.repo.retention(*self.repo.views_of(self.view.source.name))
        if retention is None:
            return frozenset()
        clocks = candidates.clocks(self.storage, [row.batch for row in self.reached])
        return frozenset(r for r in self.reached if r.event["event_time"] <= clocks[r.batch] - retention)

    @cached_property
    def _records(self) -> tuple[np.ndarray, np.ndarray]:
        """The entity's records of the events in `reached`, int64[m, width], and whose each is, int64[m]."""
        name, found = entity(self.keys), []
        for row in self.reached:
            owners, words = records(self.view, [dict(row.event)])
            found.append(words[[owner == name for owner in owners]])
        empty = records(self.view, [])[1]
        return np.concatenate([empty, *found]), np.repeat(np.arange(len(found)), [len(each) for each in found])

    @cached_property
    def _texts(self) -> Any:
        return dictionary(self.view, [dict(row.event) for row in self.reached])
