"""Writes a query's declaration as the files of a feature repo."""

import json
import re
import sys
from dataclasses import fields
from importlib.metadata import packages_distributions

from dualpath.errors import InputError
from dualpath.field import Field
from dualpath.sql.query import Aggregated, Levels, Query
from dualpath.windows import SECOND, Window

SETTINGS = """\
project: {name}
provider: local
registry: data/registry.db
online_store:
  type: dualpath.feast.online.DualpathRedisOnlineStore
  # Empty: DUALPATH_REDIS if set, else a Redis of its own under data/redis.
  connection_string: ""
offline_store:
  type: dualpath.feast.offline.DualpathOfflineStore
  path: data
batch_engine:
  type: dualpath.feast.engine.DualpathComputeEngine
entity_key_serialization_version: 3
"""
SERVICE = "service"
IMPORT = re.compile(r"(?:from \S+ )?import (?:\S+ as )?(.+)")
"""What a line imports."""
LEVELS = '''

@on_demand_feature_view(sources=[{view}], schema=[Field(name="{name}", dtype={dtype})])
def {function}(inputs: pd.DataFrame) -> pd.DataFrame:
    """The first condition that holds decides, so the last one is set first."""
    level = pd.Series({default}, index=inputs.index)
{cases}
    return pd.DataFrame({{"{name}": level}})
'''


def files(query: Query) -> dict[str, str]:
    """The text of each file by its name. Raises `InputError` if a name of the query would hide one that they need."""
    text = module(query)
    if query.name in {*sys.stdlib_module_names, *packages_distributions()}:
        raise InputError(f"a file {query.name}.py would hide the Python package {query.name}; rename the query.")
    defined = [*map(_entity_name, query.keys), query.source.name, query.name, SERVICE]
    defined += [_function(query.name, each) for each in query.levels]
    imported = {name for line in text.splitlines() if (found := IMPORT.match(line)) for name in found[1].split(", ")}
    for name in defined:
        if name in imported or defined.count(name) > 1:
            raise InputError(f"the name '{name}' is taken in what would be written; rename the query or its source.")
    return {"feature_store.yaml": SETTINGS.format(name=query.name), f"{query.name}.py": text}


def module(query: Query) -> str:
    """The declaration in Python: entity, source, view, levels and a service of what the query selects."""
    source, everything = query.source, {**query.features, **query.hidden}
    aggregates = sorted({type(each.aggregate).__name__ for each in everything.values()})
    spelled = " ".join(_over(each.over) for each in everything.values())
    windows = sorted({*re.findall(r"(?<!\.)\b[a-z]+(?=\()", spelled)} - {"timedelta"})
    kinds = sorted({each.kind for each in source.fields})
    chosen = [name for name in query.output if name in query.features]
    services = [f"{query.name}[[{', '.join(map(quoted, chosen))}]]"] if chosen else []
    services += [_function(query.name, each) for each in query.levels]
    types = sorted({_dtype(each) for each in query.levels})
    lines = [
        f'"""Features of {", ".join(query.keys)}, declared from the query `{query.name}`."""',
        "",
        *(["from datetime import timedelta", ""] if "timedelta(" in spelled else []),
        *(["import pandas as pd"] if query.levels else []),
        f"from feast import Entity, FeatureService,{' Field,' if query.levels else ''} ValueType",
        *(["from feast.on_demand_feature_view import on_demand_feature_view"] if query.levels else []),
        *([f"from feast.types import {', '.join(types)}"] if types else []),
        "",
        f"from dualpath.aggregates import {', '.join(aggregates)}",
        "from dualpath.declare import event_source, feature, feature_view",
        f"from dualpath.schema import {', '.join(kinds)}",
        f"from dualpath.windows import {', '.join(windows)}",
        "",
        *(_entity(key, source.by_name[key]) for key in query.keys),
        f"{source.name} = event_source(",
        f'    "{source.name}",',
        "    fields=[",
        *(f"        {_field(each)}," for each in source.fields),
        "    ],",
        f"    event_id={quoted(source.event_id) if source.event_id else None},",
        f'    event_time="{source.event_time}",',
        "    arrival_time=None,",
        ")",
        f"{query.name} = feature_view(",
        f'    "{query.name}",',
        f"    entity=[{', '.join(map(_entity_name, query.keys))}],",
        f"    source={source.name},",
        "    features=[",
        *(_feature(name, each) for name, each in everything.items()),
        "    ],",
        ")",
    ]
    text = "\n".join(lines) + "\n"
    text += "".join(_levels(query.name, each) for each in query.levels)
    spaced = "\n\n" if query.levels else ""
    return f'{text}{spaced}{SERVICE} = FeatureService(name="{query.name}_service", features=[{", ".join(services)}])\n'


def quoted(value: object) -> str:
    """A text in double quotes, or a number, as Python has it.

    >>> print(quoted("action = 'purchase'"), quoted(5))
    "action = 'purchase'" 5
    """
    return json.dumps(value, ensure_ascii=False)


def _entity_name(key: str) -> str:
    return f"{key}_entity"


def _function(view: str, levels: Levels) -> str:
    return f"{levels.name}_of_{view}"


def _entity(key: str, field: Field) -> str:
    value = "STRING" if field.kind == "text" else "INT64"
    return f'{_entity_name(key)} = Entity(name="{key}", join_keys=["{key}"], value_type=ValueType.{value})'


def _field(field: Field) -> str:
    scale = f", scale={field.scale}" if field.kind == "decimal" else ""
    return f'{field.kind}("{field.name}"{scale}{", required=True" if field.required else ""})'


def _feature(name: str, of: Aggregated) -> str:
    given = {each.name: getattr(of.aggregate, each.name) for each in fields(of.aggregate)}
    options = [quoted(value)] if (value := given.pop("of")) else []
    options += [f"{option}={quoted(value)}" for option, value in given.items() if value is not None]
    parts = [quoted(name), f"{type(of.aggregate).__name__}({', '.join(options)})", f"over={_over(of.over)}"]
    parts += [f"description={quoted(f'For no event it is {of.of_nothing}.')}"] if of.of_nothing else []
    if len(parts) == 3:
        return f"        feature({', '.join(parts)}),"
    return "\n".join(["        feature(", *(f"            {part}," for part in parts), "        ),"])


def _over(window: Window) -> str:
    """A window as Python has it."""
    if window.kind == "lifetime":
        return "lifetime()"
    zone = [] if window.zone == "UTC" else [quoted(window.zone)]
    if window.kind == "calendar":
        called, given = ("today", zone) if window.unit == "day" else ("calendar", [quoted(window.unit), *zone])
        return f"{called}({', '.join(given)})"
    width = _width(window.width)
    return f"{width}.before({_width(window.offset)})" if window.offset else width


def _width(micros: int) -> str:
    """A width in the largest unit of which it is a whole number.

    >>> _width(7_200_000_000), _width(86_400_000_001), _width(1)
    ('hours(2)', 'sliding(timedelta(days=1, microseconds=1))', 'sliding(timedelta(microseconds=1))')
    """
    count, rest = divmod(micros, SECOND)
    unit = "seconds"
    for size, larger in ((60, "minutes"), (60, "hours"), (24, "days")):
        if count % size or not count:
            break
        count, unit = count // size, larger
    if not rest:
        return f"{unit}({count})"
    return f"sliding(timedelta({f'{unit}={count}, ' if count else ''}microseconds={rest}))"


def _dtype(levels: Levels) -> str:
    return "String" if isinstance(levels.default, str) else "Int64"


def _levels(view: str, levels: Levels) -> str:
    cases = "\n".join(f"    level[{condition}] = {quoted(value)}" for condition, value in reversed(levels.cases))
    function = _function(view, levels)
    return LEVELS.format(
        view=view,
        name=levels.name,
        function=function,
        dtype=_dtype(levels),
        default=quoted(levels.default),
        cases=cases,
    )
