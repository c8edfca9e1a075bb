"""`catalogue`: every feature of a repo on one page, as its declaration reads."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markdown import Markdown

from dualpath.aggregates.base import Output
from dualpath.cells import Sketch
from dualpath.console.report import Report
from dualpath.console.repos import shown
from dualpath.dimension import Lookup
from dualpath.errors import InputError
from dualpath.plural import plural
from dualpath.record import layout
from dualpath.repo import Repo
from dualpath.view import Feature, View
from dualpath.windows import spell

HEAD = """
# Features of {project}

Written by `dualpath catalogue` from the declarations; change those. *Words* are what a feature adds to a record, eight
bytes each; features that need the same word share it. *Reach* is how far back its window can look.
"""
COLUMNS = ("feature", "what it is", "as declared", "type", "empty", "words", "lookback")
KINDS = {"timestamp": "integer, microseconds since 1970 UTC", "decimal": "double"}


def run(repo: Repo, output: Path | None, check: bool) -> Report:
    """Show the catalogue; with `output` write it there, or with `check` say whether it is what the file holds."""
    page = text(repo)
    features = sum(len(view.features) for view in repo.views.values())
    data: dict[str, Any] = {"views": len(repo.views), "features": features}
    said = f"{plural(len(repo.views), 'view')}, {plural(features, 'feature')}"
    if output is None:
        if check:
            raise InputError("name the file to check with --output.")
        return Report(data | {"markdown": page}, [Markdown(page)])
    same = output.exists() and output.read_text() == page
    data |= {"file": str(output), "current": same or not check}
    if check and not same:
        remedy = f"run `dualpath catalogue --output {shown(output)}`"
        return Report(data, ok=False, errors=[f"{shown(output)} is not what the declarations say; {remedy}."])
    if not check:
        output.write_text(page)
    return Report(data, [f"{said}: {shown(output)} {'is current' if check else 'written'}."])


def text(repo: Repo) -> str:
    """The page, in Markdown."""
    entities = {e.join_key: (e.name, e.description) for e in repo.store.list_entities()}
    parts = [HEAD.strip().format(project=repo.project)]
    for view in repo.views.values():
        parts += [f"## {view.name}", view.description, facts(view, entities, repo.retention(view)), features(view)]
    derived = sorted(repo.store.list_on_demand_feature_views(), key=lambda each: each.name)
    for each in derived:
        inputs = ", ".join(sorted(p.name for p in each.source_feature_view_projections.values()))
        # Feast takes no description of a single derived feature, only of their view.
        names = [(f"`{f.name}`", str(f.dtype)) for f in each.features]
        said = f"Computed from {inputs} at each read."
        parts += [f"## {each.name}", each.description, said, table(("feature", "type"), names)]
    services = sorted(repo.store.list_feature_services(), key=lambda each: each.name)
    if services:
        rows = [(f"`{s.name}`", s.description, ", ".join(p.name for p in s.feature_view_projections)) for s in services]
        parts += ["## Services", table(("service", "what it is for", "views"), rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def facts(view: View, entities: dict[str, tuple[str, str]], retention: int | None) -> str:
    """What holds for all features of a view; `entities` are names and descriptions by join key."""
    kind = layout(view)
    of = [f"{name}, by `{key}`. {said}" for key in view.keys for name, said in [entities.get(key, (key, ""))]]
    rows = [
        ("entity", "; ".join(each.strip() for each in of)),
        *(("source", f"{source.name}. {source.description}".strip()) for source in view.sources),
        *(("looks up", looked_up(each)) for source in view.sources for each in source.lookups),
        ("resolution", resolution(view)),
        ("record", f"{record(view)}; {kind.width} words, {8 * kind.width} bytes"),
        ("kept online", kept(view, retention)),
        ("bound", f"{view.max_records:,} records of an entity; `dualpath status` names those with more"),
    ]
    return table(("", ""), rows)


def looked_up(lookup: Lookup) -> str:
    """What the events of a source get from a dimension, and where that is."""
    names, by = (" and ".join(f"`{each}`" for each in names) for names in ([f.name for f in lookup.fields], lookup.on))
    without = "; an event without a version is refused" if lookup.required else ""
    return f"{names}, by {by} in {lookup.dimension.name} ({lookup.dimension.where}) as of the event's time{without}"


def resolution(view: View) -> str:
    """The bucket width, and what it moves."""
    if view.resolution == 1:
        return "exact: every window begins on its microsecond"
    width = spell(view.resolution)
    return f"{width}: the left edge of every window moves, down to the start of its {width.removeprefix('1 ')}"


def record(view: View) -> str:
    """What one record is."""
    if view.resolution == 1:
        return "one event that a feature looks at"
    split = [cell for cell in layout(view).cells if cell.splits]
    dimensions = [f"hash of `{cell.of}`" if isinstance(cell, Sketch) else f"`{cell.of}`" for cell in split]
    each = f", for each {' and '.join(dimensions)}" if dimensions else ""
    return f"the events of {spell(view.resolution)}{each}"


def kept(view: View, retention: int | None) -> str:
    """How long a record stays in the online store."""
    if retention is not None:
        return f"{spell(retention)} from when it happened"
    return (
        "for ever: a feature looks at all time"
        if view.lookback is None
        else "for ever: `online_lookback_seconds` is null"
    )


def features(view: View) -> str:
    """A line for each feature."""
    return table(COLUMNS, [line(view, feature) for feature in view.features])


def line(view: View, feature: Feature) -> tuple[str, ...]:
    """Name, description, declaration, type, empty value, words and lookback."""
    output, reductions = view.output(feature), feature.aggregate.reductions(view.input_type(feature))
    words = sum(cell.words for cell in dict.fromkeys(cell for each in reductions for cell in each.cells))
    lookback = "all time" if feature.over.lookback is None else spell(feature.over.lookback)
    empty = f"`{json.dumps(output.empty)}`"
    return f"`{feature.name}`", feature.description, f"{feature}", type_of(output), empty, str(words), lookback


def type_of(output: Output) -> str:
    """A feature's type in words."""
    kind = KINDS.get(output.type.kind, output.type.kind)
    if output.items is not None:
        return f"map from {kind} to {KINDS.get(output.items.kind, output.items.kind)}"
    return f"list of {kind}" if output.many else kind


def table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
