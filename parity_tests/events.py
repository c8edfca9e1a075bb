"""Events with what the core and the oracle need of them; records and values are `dualpath.preview`'s."""

from collections.abc import Sequence
from typing import Any

from dualpath import evaluation
from dualpath.entities import name as entity
from dualpath.parity.oracle import expressions
from dualpath.preview import dictionary, records, values
from dualpath.view import View

__all__ = ["dictionary", "entity", "evaluated", "records", "values"]


def evaluated(view: View, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events with, under its text, the value of every expression that the view's cells or the oracle read."""
    return evaluation.evaluated(view, events, set().union(*(expressions(f.aggregate) for f in view.features)))
