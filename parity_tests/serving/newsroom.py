"""The example's newsroom on this machine: its repo, its simulated readers, and its events as landed files."""

import json
import shutil
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from dualpath.jobs.stream import start
from dualpath.repo import Repo
from dualpath.serving.decision import Decision
from dualpath.sources.directory import Directory
from parity_tests import filled as filled_by
from parity_tests.conftest import CHECKOUT

NEWS = CHECKOUT / "examples" / "news"


def applied(folder: Path) -> Repo:
    """A copy of the example's feature repo, applied."""
    shutil.copytree(NEWS / "feature_repo", folder, ignore=shutil.ignore_patterns("data", "__pycache__"))
    settings = folder / "feature_store.yaml"
    # A busy machine is no outage.
    settings.write_text(settings.read_text().replace("read_deadline_ms: 20", "read_deadline_ms: 250"))
    repo = Repo(folder)
    repo.apply()
    return repo


class Landing:
    """Events that wait to land, and a journal of decisions that lands them too."""

    takes = True
    healthy = True

    def __init__(self, repo: Repo) -> None:
        self.repo, self.lines, self.files = repo, defaultdict[str, list[str]](list), 0

    def send(self, topic: str, event: Mapping[str, Any], key: str) -> None:
        self.lines[topic].append(json.dumps(event))

    async def write(self, decision: Decision, seconds: float) -> bool:
        self.lines["decisions"].append(decision.json)
        return True

    def queued(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing waits for a broker."""

    def land(self) -> None:
        for topic, lines in self.lines.items():
            folder = self.repo.storage(topic).folder("landing")
            folder.mkdir(parents=True, exist_ok=True)
            staged = folder / f".{self.files}"
            staged.write_text("\n".join(lines) + "\n")
            staged.rename(folder / f"{self.files:06d}.jsonl")
        self.lines.clear()
        self.files += 1

    def drain(self, spark: SparkSession) -> None:
        """Land what waits, and let the stream read it."""
        self.land()
        for name, source in self.repo.sources.items():
            landing = self.repo.storage(name).folder("landing")
            landing.mkdir(parents=True, exist_ok=True)
            start(spark, self.repo, source, Directory(landing, 1_000)).awaitTermination()


def filled(repo: Repo, at: float) -> None:
    """Write state without Spark: twenty articles, and what reader `ann` has clicked in the minute before `at`."""
    articles = [
        {"article_id": f"a{n}", "category": SECTIONS[n % 2], "event_time": iso(at - 600 * n)} for n in range(20)
    ]
    shared = [
        {"user_id": "ann", "article_id": f"a{n}", "decision_id": "d", "event_time": iso(at - n)} for n in range(20)
    ]
    clicks = [each | {"category": SECTIONS[n % 2], "position": 1} for n, each in enumerate(shared) if n % 3]
    made = Decision("d", 0, "q", "ann", "mobile", ("x",), "bandit", "p", (1,), 1, (0.0,), (0,)).event()
    filled_by.fill(repo, articles, "articles")
    filled_by.fill(repo, [each | {"event_id": f"s{n}"} for n, each in enumerate(shared)], "impressions")
    filled_by.fill(repo, [each | {"event_id": f"c{n}"} for n, each in enumerate(clicks)], "clicks")
    filled_by.fill(repo, [made | {"decided_at": iso(at)}], "decisions")


SECTIONS = ("politics", "sport")


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
