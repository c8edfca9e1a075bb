"""Feature repos and event logs drawn from a seed.

Many declarations and many histories share one repo, so that Spark starts once: each history has users of its
own, and every declaration reads all of them.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from dualpath.jobs.build import build
from dualpath.jobs.publish import publish
from dualpath.jobs.stream import start
from dualpath.parity.views import ViewGroup
from dualpath.repo import Repo
from dualpath.sources.directory import Directory
from dualpath.view import View
from parity_tests.joined import Rows, as_delivered
from parity_tests.strategies import KINDS

SEALED, PUBLISHED = date(2024, 10, 31), date(2024, 11, 1)
"""Days up to the first are one arrival day, that of the second; later ones, which some histories reach, are one
each."""
STORE = """\
project: generated
provider: local
registry: data/registry.db
online_store:
  type: dualpath.feast.online.DualpathRedisOnlineStore
  online_lookback_seconds: null
offline_store:
  type: dualpath.feast.offline.DualpathOfflineStore
entity_key_serialization_version: 3
"""
DECLARATIONS = """\
import json
from datetime import timedelta
from pathlib import Path

from feast import Entity, ValueType

from dualpath.declare import feature_view
from dualpath.view import View

TYPES = {"user": ValueType.STRING, "shop": ValueType.INT64}
entities = {name: Entity(name=name, join_keys=[name], value_type=kind) for name, kind in TYPES.items()}
user, shop = entities["user"], entities["shop"]
for view in map(View.from_dict, json.loads(Path(__file__).with_name("views.json").read_text())):
    globals()[view.name] = feature_view(
        view.name,
        entity=[entities[key] for key in view.keys],
        source=[*view.sources],
        features=view.features,
        resolution=timedelta(microseconds=view.resolution),
    )
"""


def drawn(strategy: st.SearchStrategy[Any], count: int, number: int) -> list[Any]:
    """`count` examples; the same seed `number` gives the same ones."""
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def keep(example: Any) -> None:
        found.append(example)

    keep()
    return found[:count]


def declare(folder: Path, views: Sequence[View], table: Rows = ()) -> Repo:
    """A feature repo of the views, named v0, v1 and so on, applied; and the table that they look fields up in."""
    folder.mkdir(parents=True)
    named = [replace(view, name=f"v{i}") for i, view in enumerate(views)]
    (folder / "feature_store.yaml").write_text(STORE)
    (folder / "views.json").write_text(json.dumps([view.to_dict() for view in named]))
    (folder / "declared.py").write_text(DECLARATIONS)
    (folder / KINDS.path).write_text("".join(f"{json.dumps(row)}\n" for row in as_delivered(table)))
    repo = Repo(folder)
    repo.apply()
    return repo


def together(histories: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The events of all histories, each with users and ids of its own."""
    return [
        {
            **event,
            "event_id": f"{number}:{event['event_id']}",
            **{user: None if event[user] is None else f"{event[user]}{number}" for user in ("user", "before_user")},
        }
        for number, history in enumerate(histories)
        for event in history
    ]


def payload(event: dict[str, Any]) -> str:
    """An event as a producer sends it: instants in ISO 8601, decimals as texts, nulls left out, and what was before in
    an object."""

    def plain(name: str, value: Any) -> Any:
        if name in ("event_time", "arrival_time", "seen"):
            return f"{np.datetime64(value, 'us')}Z"
        return str(value) if name == "amount" else value

    given = {name: plain(name, value) for name, value in event.items() if value is not None}
    was = {name.removeprefix("before_"): given.pop(name) for name in [*given] if name.startswith("before_")}
    return json.dumps(given | ({"before": was} if was else {}))


def stream(spark: SparkSession, repo: Repo, events: Sequence[dict[str, Any]], number: int) -> None:
    """Deliver the events to every source, up to three times each, in no order, half of them before a snapshot.

    Both stores are built.
    The number seeds repetition and order.
    """
    random = np.random.default_rng(number)
    lines = np.repeat(list(map(payload, events)), random.integers(1, 4, len(events)))
    random.shuffle(lines)
    for source in repo.sources.values():
        storage = repo.storage(source.name)
        landing = storage.folder("landing")
        landing.mkdir(parents=True)
        storage.close_day(SEALED)
        for half, part in enumerate(np.array_split(lines, 2)):
            (landing / f"{half}.jsonl").write_text("\n".join(part) + "\n")
            start(spark, repo, source, Directory(landing, 1)).awaitTermination()
            storage.close_day(PUBLISHED)
            build(spark, repo, source)
            publish(spark, repo, repo.views_of(source.name), PUBLISHED)


def view_groups(repo: Repo) -> list[ViewGroup]:
    """The views by source, join keys and resolution: instants that suit a coarse one would spare an exact one."""
    grouped: dict[tuple, list[View]] = {}
    for view in repo.views.values():
        grouped.setdefault((view.source.name, view.keys, view.resolution), []).append(view)
    return [
        ViewGroup(tuple(views), tuple(f"{v.name}:{f.name}" for v in views for f in v.features))
        for views in grouped.values()
    ]
