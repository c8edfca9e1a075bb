"""A platform of a benchmark's own in a temporary folder: a feature repo, an embedded Redis, a Kafka broker."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dualpath.online.connection import embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.runtime.kafka import Broker, create_topic

CHECKOUT = Path(__file__).resolve().parent.parent
PARTITIONS = 4


@dataclass(frozen=True)
class Place:
    """An applied repo, whose Redis starts at the first use, and a running broker."""

    repo: Repo
    broker: Broker

    def topic(self, name: str) -> str:
        """A new topic of four partitions whose record times are the broker's."""
        create_topic(
            self.broker.address, name, partitions=PARTITIONS, config={"message.timestamp.type": "LogAppendTime"}
        )
        return name


@contextmanager
def applied(declare: Callable[[Path], object] = lambda folder: None) -> Iterator[Repo]:
    """A copy of the checkout's feature repo, which `declare` may change before it is applied."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "feature_repo"
        shutil.copytree(CHECKOUT / "feature_repo", folder, ignore=shutil.ignore_patterns("data", "__pycache__"))
        declare(folder)
        repo = Repo(folder)
        repo.apply()
        try:
            yield repo
        finally:
            redis.stop(embedded_folder(repo.store.config))


@contextmanager
def place(declare: Callable[[Path], object] = lambda folder: None) -> Iterator[Place]:
    """A repo as of `applied`, and a broker."""
    with applied(declare) as repo, tempfile.TemporaryDirectory() as temporary, Broker(Path(temporary)) as broker:
        yield Place(repo, broker)
