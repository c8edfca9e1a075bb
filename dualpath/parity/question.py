"""One feature of one entity at one instant, and what each knowledge answers, from the entity's events in the log.

The value is that of the kernel, over the records that `dualpath.preview` makes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

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
from dualpath.parts import parts
from dualpath.preview import counts, dictionary_of, records, values_of
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
    """Which events one answer knows: those that `arrived` by an instant, or those of the micro-batches of each source
    up to one, its last in `batches`. `name` is `final`, an instant or a token.
    """

    name: str
    arrived: int = EVER
    batches: Mapping[str, Fence] | None = None

    def has(self, row: Candidate) -> bool:
        """Whether an event had become known."""
        if self.batches is not None:
            return row.batch <= self.batches[row.view.source.name]
        arrived: int = row.event["arrival_time"]
        return arrived <= self.arrived


ALL = Knowledge(FINAL)


def served(sources: Sequence[str], fences: Sequence[Fence]) -> Knowledge:
    """What a read of the online store knew that had everything of each source up to a micro-batch."""
    return Knowledge(known.joint(sources, fences), batches=dict(zip(sources, fences, strict=True)))


def knowledge(given: Any, storages: Sequence[Storage], name: str) -> Knowledge:
    """The knowledge that a caller names: None or `final`, an instant, or a token of the sources with these folders.

    Raises `InputError` for anything else, and `StaleRecordsError` for a token of a batch that the log does not have.
    """
    if given is None or given == FINAL:
        return ALL
    sources = [storage.source for storage in storages]
    if fences := known.named(given, sources):
        for storage, fence in zip(storages, fences, strict=True):
            require_finished(fence, storage.through(), name, storage.source)
        return served(sources, fences)
    try:
        limit = int(instants.parse([given])[0])
    except InputError:
        raise InputError(
            f"{name}: {given!r} is neither '{FINAL}' nor an instant nor a token; pass ISO-8601 text such as "
            "2026-03-04T12:00:00Z, or what the feature that served it said, such as "
            f"{known.joint(sources, [Fence(1, 204)] * len(sources))}."
        ) from None
    return Knowledge(instants.iso(limit), limit)


class Question:
    """A feature of an entity at an instant.

    `keys` are the cast join keys, `as_of` is in microseconds UTC. `left` (open) and `right` (closed) are the window's
    edges. `events` are the entity's own in the log, ascending by time and id, with the value of each of the feature's
    `expressions`. `reached` are those that the window holds and the feature's condition lets pass.
    """

    def __init__(self, repo: Repo, view: View, feature: Feature, keys: Sequence[str | int], as_of: int) -> None:
        self.repo, self.declared, self.feature, self.keys, self.as_of = repo, view, feature, keys, as_of
        self.view = replace(view, features=(feature,))
        self.parts = parts(self.view)
        self.storages = [repo.storage(part.source.name) for part in self.parts]
        left, right = edges((feature.over,), np.array([as_of]), view.resolution)
        self.left, self.right = int(left[0, 0]), int(right[0, 0])
        self.expressions = sorted(expressions(feature.aggregate))
        self.reductions = feature.aggregate.reductions(view.input_type(feature))
        self.events = self.evaluated(self.found(candidates.accepted))
        self.reached = [row for row in self.events if not self.missed(row)]

    def found(self, look: Callable[[Storage, View, Sequence[str | int]], list[Candidate]]) -> list[Candidate]:
        """The rows of a kind that name the entity, of all sources."""
        places = zip(self.storages, self.parts, strict=True)
        return [row for storage, part in places for row in look(storage, part, self.keys)]

    def evaluated(self, rows: Sequence[Candidate]) -> list[Candidate]:
        """Rows in the order of time and id, with the values of the feature's expressions."""
        found = []
        for part in self.parts:
            own = [row for row in rows if row.view == part]
            events = evaluated(part, [dict(row.event) for row in own], self.expressions)
            found += [replace(row, event=event) for row, event in zip(own, events, strict=True)]
        return sorted(found, key=lambda row: (row.event["event_time"], row.event["event_id"], row.batch))

    def missed(self, row: Candidate) -> str:
        """Why an event can never count, whatever is known; empty if it can."""
        time = row.event["event_time"]
        if time <= self.left:
            return LEFT_EDGE
        if time > self.right:
            return AFTER_AS_OF
        if row.moved or deleted(row.view, row.event):
            return MOVED if row.moved else DELETED
        # It counts for a feature that computes several things if it counts for one of them.
        passed = any(all(counts(row.event, cell) for cell in each.cells) for each in self.reductions)
        return "" if passed else CONDITION

    def lacked(self, row: Candidate, by: Knowledge) -> str:
        """Why a knowledge lacks an event that could count; empty if it has it."""
        if not by.has(row):
            return NOT_YET_KNOWN
        if self.view.versions and any(by.has(other) for other in self._later(row)):
            return REPLACED
        return BEYOND_RETENTION if by.batches is not None and row in self.unwritten else ""

    def has(self, by: Knowledge) -> np.ndarray:
        """Which of the events in `reached` a knowledge has; bool[n]."""
        return np.array([not self.lacked(row, by) for row in self.reached], dtype=bool)

    def has_after(self, part: View, batches: Sequence[Fence]) -> np.ndarray:
        """Which of the events in `reached` are a part's, and a read has that knows the part up to a micro-batch, for
        each of these; bool[batches, n]."""
        own, replaced = self._batches
        limits = np.array([[known.place(batch)] for batch in batches], dtype=np.int64)
        mine = np.array([row.view == part and row not in self.unwritten for row in self.reached], dtype=bool)
        return mine & (own <= limits) & (limits < replaced)

    @cached_property
    def _batches(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each event in `reached` the place of its batch, and of the first that has a later version of its row;
        int64[n] twice."""
        own = [known.place(row.batch) for row in self.reached]
        later = [self._later(row) if self.view.versions else [] for row in self.reached]
        replaced = [min((known.place(other.batch) for other in others), default=EVER) for others in later]
        return np.array(own, dtype=np.int64), np.array(replaced, dtype=np.int64)

    def value(self, chosen: np.ndarray) -> Any:
        """The feature's value if of the events in `reached` only the chosen ones, bool[n], had come."""
        return self.values(chosen[None])[0]

    def values(self, choices: np.ndarray) -> list[Any]:
        """The feature's value for each choice of the events in `reached`, bool[choices, n]; one call of the kernel."""
        words, owners = self._records
        choice, record = np.nonzero(choices[:, owners])
        starts = np.zeros(len(choices) + 1, dtype=np.int64)
        np.cumsum(np.bincount(choice, minlength=len(choices)), out=starts[1:])
        return values_of(self.view, words[record], starts, [self.as_of] * len(choices), self._texts)[self.feature.name]

    def _later(self, row: Candidate) -> list[Candidate]:
        """The later versions of an event's row that have happened at `as_of`."""
        mine, places = self._places[id(row)], self._places
        happened = [other for other in self.events if other.event["event_time"] <= self.as_of]
        return [other for other in happened if mine[0] == places[id(other)][0] and mine < places[id(other)]]

    @cached_property
    def _places(self) -> dict[int, tuple[int, ...]]:
        """Of each event its row, and its place among the versions of that."""
        return {id(each): order(each.view, each.event) for each in self.events}

    @cached_property
    def unwritten(self) -> frozenset[Candidate]:
        """Events in `reached` that the stream logged and did not write to the online store.

        They were older than the longest retention of their source's views before the clock of their batch.
        """
        found = []
        for storage, part in zip(self.storages, self.parts, strict=True):
            retention = self.repo.retention(*self.repo.views_of(storage.source))
            if retention is not None:
                own = [row for row in self.reached if row.view == part]
                clocks = candidates.clocks(storage, [row.batch for row in own])
                found += [row for row in own if row.event["event_time"] <= clocks[row.batch] - retention]
        return frozenset(found)

    @cached_property
    def _records(self) -> tuple[np.ndarray, np.ndarray]:
        """The entity's records of the events in `reached`, int64[m, width], and whose each is, int64[m]."""
        name, found = entity(self.keys), []
        for row in self.reached:
            owners, words = records(row.view, [dict(row.event)])
            found.append(words[[owner == name for owner in owners]])
        empty = records(self.view, [])[1]
        return np.concatenate([empty, *found]), np.repeat(np.arange(len(found)), [len(each) for each in found])

    @cached_property
    def _texts(self) -> Any:
        return dictionary_of({p: [dict(row.event) for row in self.reached if row.view == p] for p in self.parts})
