"""What an erasure cannot reach, in sentences: copies that are not dualpath's to remove."""

import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dualpath.erasure import served
from dualpath.erasure.traces import Traces
from dualpath.files.places import matching
from dualpath.repo import Repo

ORIGIN = re.compile(r"(.+)/\d+")
"""Of a row from Kafka: the topic and the partition."""
EVER = "has no retention by time"


def sentences(repo: Repo, traces: list[Traces], retention: Mapping[str, timedelta | None] | None) -> Iterator[str]:
    """What is left, and until when; `retention` is what Kafka says of topics, None if it was not asked."""
    for each in traces:
        for topic in topics(each):
            yield f"{each.source.name}: messages of the topic {topic} in Kafka {_until(topic, retention)}"
        if each.source.lookups:
            tables = ", ".join(sorted({lookup.dimension.name for lookup in each.source.lookups}))
            yield (
                f"{each.source.name}: rows of the dimensions {tables}; remove them from their tables, and the next "
                "batch takes the new ones."
            )
    for name in sorted(_ordinary(repo)):
        yield f"view '{name}': the table it is materialized from."
    for name in served.elsewhere(repo):
        yield f"feature service '{name}': its log, which is not in files."
    for name in sorted(_undeclared(repo)):
        yield f"{name}: data of a source that no view reads any more, so nobody knows its fields; remove the folder."
    if not isinstance(repo.root, Path):
        yield f"Former versions of objects below {repo.root}, if the bucket keeps them."
    yield "Servers that run have texts in memory until they are started again."
    yield "Backups, and what producers keep outside the landing folder. Spark's checkpoints hold no payloads."


def topics(traces: Traces) -> list[str]:
    """The topics that a source was read from, by its ledger."""
    origins = map(ORIGIN.fullmatch, traces.storage.positions(before=sys.maxsize))
    return sorted({found[1] for found in origins if found})


def _until(topic: str, retention: Mapping[str, timedelta | None] | None) -> str:
    if retention is None:
        return "stay until its retention ends; pass --kafka to be told when that is."
    if topic not in retention:
        return "stay until its retention ends; the broker does not know the topic."
    kept = retention[topic]
    if kept is None:
        return f"stay: the topic {EVER}."
    last = datetime.now(UTC) + kept
    return f"stay until {last:%Y-%m-%d} at the latest, by a retention of {kept.total_seconds() / 86_400:g} days."


def _ordinary(repo: Repo) -> set[str]:
    return {view.name for view in repo.store.list_feature_views()}.difference(repo.views)


def _undeclared(repo: Repo) -> set[str]:
    return {folder.parent.name for folder in matching(repo.root, "*/ledger")}.difference(repo.sources)
