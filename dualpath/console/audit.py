"""`dualpath audit`: what was compared, and every difference with its cause."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from dualpath import instants
from dualpath.console.report import Report, busy, table
from dualpath.errors import DualpathError
from dualpath.instants import iso
from dualpath.parity.audit import Audit, Cell, audit
from dualpath.parity.explain import explain
from dualpath.repo import Repo

EVENTS = 5
"""Events of a cause that are named."""


def run(repo: Repo, since: str, service: str | None) -> Report:
    """Derive the answers again that were logged since an instant, as ISO-8601 text.

    Raises `InputError` if nothing was logged.
    """
    first = int(instants.parse([since], "--since")[0])
    with busy("Deriving"):
        found = audit(repo, first, service)
    figures = {name: getattr(found, name) for name in ("rows", "waiting", "untold", "compared", "differing")}
    causes = [cause(repo, cell) for cell in found.cells]
    cells = [asdict(c) | {"as_of": iso(c.as_of), "cause": why} for c, why in zip(found.cells, causes, strict=True)]
    data = {"passed": found.passed, **figures, "features": [asdict(each) for each in found.features], "cells": cells}
    return Report(data, [_shown(found)], found.passed, _errors(found, causes))


def cause(repo: Repo, cell: Cell) -> str:
    """Why a cell differs: another declaration, or the events by which the answer was another one."""
    if not cell.same_declaration:
        return "the view was declared otherwise when it was served"
    view, _ = cell.feature.split(":")
    if view not in repo.views:
        return "no windowed view has this name: the feature is derived, or the service renames its view"
    keys = {key: cell.keys[key] for key in repo.views[view].keys if key in cell.keys}
    if len(keys) < len(repo.views[view].keys):
        return "its join keys have other names in the service"
    if None in keys.values():
        return "a join key is null, so no event counts"
    asked = (repo, cell.feature, keys, iso(cell.as_of), cell.known, f"value:{json.dumps(cell.served)}")
    try:
        found = explain(*asked).against
    except DualpathError as error:  # the counts of the audit are worth more than one cause
        return f"it cannot be explained: {error.message}"
    if found is None or not found.known:
        return "neither the whole log nor what was known after any micro-batch gives it, so the log has changed since"
    events = ", ".join(f"{each.row.event['event_id']} ({each.cause} for {each.by})" for each in found.events[:EVENTS])
    more = f" and {len(found.events) - EVENTS:,} more" if len(found.events) > EVENTS else ""
    return f"it is the value of {found.known}, by {events}{more}"


def _shown(found: Audit) -> Table:
    shown = table("service", "feature", "cells", "differing", numbers=("cells", "differing"))
    for each in found.features:
        shown.add_row(each.service, each.feature, f"{each.cells:,}", f"{each.differing:,}")
    return shown


def _errors(found: Audit, causes: Sequence[str]) -> list[str]:
    errors = []
    if found.untold:
        errors.append(
            f"{found.untold:,} of {found.rows:,} rows do not say what they knew; put `with_known(view)` in the service."
        )
    if not found.compared and not found.untold:
        errors.append(f"all {found.waiting:,} rows wait for record files of their batches; run `dualpath batch`.")
    if found.differing:
        errors.append(f"{found.differing:,} of {found.compared:,} values are not derived again with the same bits.")
        errors += [
            f"{cell.feature} of {cell.keys} at {iso(cell.as_of)}: served {cell.served!r}, derived {cell.derived!r}; "
            f"{why}."
            for cell, why in zip(found.cells, causes, strict=True)
        ]
    return errors
