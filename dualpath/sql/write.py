"""Writes a query's declaration as the files of a feature repo."""

import json

from dualpath.sql.query import Aggregated, Column, Levels, Query

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
EVENT_ID = "event_id"
"""The column by which duplicates are recognised, if the source has it."""
LEVELS = '''

@on_demand_feature_view(sources=[{view}], schema=[Field(name="{name}", dtype={dtype})])
def {name}_of_{view}(inputs: pd.DataFrame) -> pd.DataFrame:
    """The first condition that holds decides, so the last one is set first."""
    level = pd.Series({default}, index=inputs.index)
{cases}
    return pd.DataFrame({{"{name}": level}})
'''


def files(query: Query) -> dict[str, str]:
    """The text of each file by its name."""
    return {"feature_store.yaml": SETTINGS.format(name=query.name), f"{query.name}.py": module(query)}


def module(query: Query) -> str:
    """The declaration in Python: entity, source, view, levels and a service of what the query selects."""
    everything = {**query.features, **query.hidden}
    aggregates = sorted({each.aggregate for each in everything.values()})
    windows = sorted({each.window.partition("(")[0] for each in everything.values()} - {"timedelta"})
    kinds = sorted({each.kind for each in query.columns})
    chosen = [name for name in query.output if name in query.features]
    services = [f"{query.name}[[{', '.join(map(quoted, chosen))}]]"] if chosen else []
    services += [f"{each.name}_of_{query.name}" for each in query.levels]
    types = sorted({_dtype(each) for each in query.levels})
    name_of_id = quoted(EVENT_ID) if EVENT_ID in {each.name for each in query.columns} else None
    lines = [
        f'"""Features of {", ".join(query.keys)}, declared from the query `{query.name}`."""',
        "",
        *(["from datetime import timedelta", ""] if _uses(everything, "timedelta") else []),
        *(["import pandas as pd"] if query.levels else []),
        f"from feast import Entity, FeatureService,{' Field,' if query.levels else ''} ValueType",
        *(["from feast.on_demand_feature_view import on_demand_feature_view"] if query.levels else []),
        *([f"from feast.types import {', '.join(types)}"] if types else []),
        "",
        f"from dualpath.aggregates import {', '.join(aggregates)}",
        "from dualpath.declare import event_source, feature, feature_view",
        f"from dualpath.schema import {', '.join(kinds)}",
        *([f"from dualpath.windows import {', '.join(windows)}"] if windows else []),
        "",
        *(_entity(query, key) for key in query.keys),
        f"{query.source} = event_source(",
        f'    "{query.source}",',
        "    fields=[",
        *(f"        {_field(each)}," for each in query.columns if each.name != EVENT_ID),
        "    ],",
        f"    event_id={name_of_id},",
        f'    event_time="{query.time}",',
        "    arrival_time=None,",
        ")",
        f"{query.name} = feature_view(",
        f'    "{query.name}",',
        f"    entity=[{', '.join(f'{key}_entity' for key in query.keys)}],",
        f"    source={query.source},",
        "    features=[",
        *(_feature(name, each) for name, each in everything.items()),
        "    ],",
        ")",
    ]
    text = "\n".join(lines) + "\n"
    text += "".join(_levels(query.name, each) for each in query.levels)
    spaced = "\n\n" if query.levels else ""
    return f'{text}{spaced}service = FeatureService(name="{query.name}_service", features=[{", ".join(services)}])\n'


def quoted(value: object) -> str:
    """A text in double quotes, or a number, as Python has it.

    >>> print(quoted("action = 'purchase'"), quoted(5))
    "action = 'purchase'" 5
    """
    return json.dumps(value, ensure_ascii=False)


def _uses(features: dict[str, Aggregated], name: str) -> bool:
    return any(each.window.startswith(name) for each in features.values())


def _entity(query: Query, key: str) -> str:
    kind = next(each.kind for each in query.columns if each.name == key)
    value = "STRING" if kind == "text" else "INT64"
    return f'{key}_entity = Entity(name="{key}", join_keys=["{key}"], value_type=ValueType.{value})'


def _field(column: Column) -> str:
    scale = f", scale={column.scale}" if column.kind == "decimal" else ""
    return f'{column.kind}("{column.name}"{scale}{", required=True" if column.required else ""})'


def _feature(name: str, of: Aggregated) -> str:
    options = [quoted(of.of)] if of.of else []
    options += [f"where={quoted(of.where)}"] if of.where else []
    options += [f"{option}={value}" for option, value in of.options]
    parts = [quoted(name), f"{of.aggregate}({', '.join(options)})", f"over={of.window}"]
    parts += [f"description={quoted(f'For no event it is {of.of_nothing}.')}"] if of.of_nothing else []
    if len(parts) == 3:
        return f"        feature({', '.join(parts)}),"
    return "\n".join(["        feature(", *(f"            {part}," for part in parts), "        ),"])


def _dtype(levels: Levels) -> str:
    return "String" if isinstance(levels.default, str) else "Int64"


def _levels(view: str, levels: Levels) -> str:
    cases = "\n".join(f"    level[{condition}] = {quoted(value)}" for condition, value in reversed(levels.cases))
    return LEVELS.format(view=view, name=levels.name, dtype=_dtype(levels), default=quoted(levels.default), cases=cases)
