"""One declaration, one history, and the core's answers: what a law is tested on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from hypothesis import strategies as st

from dualpath.parity.oracle import oracle
from dualpath.record import Layout, layout
from dualpath.values import Dictionary
from dualpath.versions import looked_up
from dualpath.view import View
from parity_tests.events import dictionary, entity, evaluated, records, values
from parity_tests.joined import as_delivered, joined
from parity_tests.strategies import KINDS, histories, tables, views


@dataclass(frozen=True)
class Case:
    """One view of one entity: the events of all entities, its own records, and instants to ask at."""

    view: View
    events: list[dict[str, Any]]
    instants: list[int]
    who: tuple
    words: np.ndarray
    texts: Dictionary

    @cached_property
    def layout(self) -> Layout:
        return layout(self.view)

    def values(
        self, words: np.ndarray, instants: Sequence[int] | None = None, limits: np.ndarray | None = None
    ) -> dict[str, list[Any]]:
        """What a model sees of a bag of records; with `limits`, as `Plan.evaluate` takes them."""
        return values(self.view, words, self.instants if instants is None else instants, self.texts, limits=limits)

    def with_arrivals(self) -> np.ndarray:
        """Its records, each with a word more: when its event arrived."""
        found = []
        for event in self.events:
            owners, words = records(self.view, [event])
            mine = [row for owner, row in zip(owners, words, strict=True) if owner == entity(self.who)]
            found += [np.append(row, event["arrival_time"]) for row in mine]
        return np.array(found, dtype=np.int64).reshape(-1, self.layout.width + 1)

    def truth(self, known_at: Sequence[int] | None = None) -> dict[str, list[Any]]:
        """What the oracle says, at each instant; with `known_at`, of what had arrived by then."""
        limits = known_at or [None] * len(self.instants)
        rows = [
            oracle(self.view, self.events, self.who, as_of, limit)
            for as_of, limit in zip(self.instants, limits, strict=True)
        ]
        return {feature.name: [row[feature.name] for row in rows] for feature in self.view.features}


def admitted(event: dict[str, Any], view: View) -> bool:
    """Whether an event has all that its source requires."""
    return all(event[field.name] is not None for field in view.source.fields if field.required)


@st.composite
def cases(draw: st.DrawFn, aggregate: str, kind: str | None) -> Case:
    view, (events, instants) = draw(views(aggregate, kind)), draw(histories())
    view = View.from_dict(json.loads(json.dumps(view.to_dict())))  # as it comes out of Feast's registry
    events = [event for event in events if admitted(event, view)]
    table = draw(tables(instants[:1])) if view.source.lookups else []
    found = looked_up(view.source, events, {KINDS.name: as_delivered(table)})
    events = evaluated(view, joined(view.source, events, table))
    who = ("ann", 1)[: len(view.keys)]
    owners, words = records(view, found)
    mine = words[[owner == entity(who) for owner in owners]] if owners else words
    return Case(view, events, instants, who, mine, dictionary(view, events))
