"""An opened feature repo: Feast's store, the declarations in its registry, and where its data lives."""

import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from feast import FeatureStore, RepoConfig

from dualpath.declare import view_of
from dualpath.errors import DeclarationError, InputError
from dualpath.files import checkpoint_place
from dualpath.files.places import Place, place
from dualpath.log.storage import Storage
from dualpath.online.connection import address
from dualpath.online.writer import Destination
from dualpath.parts import parts
from dualpath.retention import longest, retention
from dualpath.schema import EventSource
from dualpath.view import View

MICROSECOND = timedelta(microseconds=1)


def root(config: RepoConfig) -> Place:
    """The folder of events and records, or their place in an object store, by Feast's settings."""
    return place(config.offline_store.path, Path(config.repo_path or "."))


def checkpoints(config: RepoConfig) -> Place | None:
    """The place of Spark's checkpoints, by Feast's settings; None: with the data."""
    chosen: str | None = config.offline_store.checkpoints
    return None if chosen is None else checkpoint_place.named(chosen, root(config))


@dataclass(frozen=True)
class Repo:
    """A feature repo in `folder`, as its registry describes it."""

    folder: Path

    @cached_property
    def store(self) -> FeatureStore:
        """Feast's own handle; raises `InputError` if the folder holds no feature repo."""
        if not (self.folder / "feature_store.yaml").exists():
            raise InputError(f"{self.folder} has no feature_store.yaml; name a feature repo with --repo.")
        return FeatureStore(repo_path=str(self.folder))

    @cached_property
    def views(self) -> dict[str, View]:
        """Every windowed view, by name."""
        found = {fv.name: view_of(fv) for fv in self.store.list_feature_views()}
        views = {name: view for name, view in sorted(found.items()) if view is not None}
        if not views:
            raise InputError(f"{self.folder}: the registry has no windowed views; run `feast apply` in the repo.")
        return views

    @cached_property
    def sources(self) -> dict[str, EventSource]:
        """Every event source some view reads, by name."""
        return {source.name: source for view in self.views.values() for source in view.sources}

    @property
    def project(self) -> str:
        """Feast's project name."""
        return self.store.project

    @property
    def root(self) -> Place:
        """The folder of events and records."""
        return root(self.store.config)

    def storage(self, source: str) -> Storage:
        """The folders of a source."""
        return Storage(self.root, source, checkpoints(self.store.config))

    @cached_property
    def parts(self) -> tuple[View, ...]:
        """What is written: the parts of every windowed view."""
        return tuple(part for view in self.views.values() for part in parts(view))

    def views_of(self, source: str) -> list[View]:
        """What is written of a source: the views that read it alone, and its parts of those that read others too."""
        return [part for part in self.parts if part.source.name == source]

    @cached_property
    def redis_address(self) -> str:
        """Where the online store is, for `connect`; an embedded Redis is started if none is configured."""
        return address(self.store.config)

    @property
    def online_lookback(self) -> int | None:
        """How far before the present an `as_of` may lie online, microseconds; None: any distance."""
        return self.store.config.online_store.online_lookback

    def retention(self, *views: View) -> int | None:
        """How long events matter to some view of these, microseconds; None: for ever."""
        return longest(retention(view, self.online_lookback) for view in views)

    def destination(self, view: View, namespace: str, earliest_as_of: int | None = None) -> Destination:
        """How a view's records are written to Redis; what is written can answer from `earliest_as_of` on."""
        return Destination(namespace, view, self.retention(view), earliest_as_of)

    def apply(self) -> None:
        """Run `feast apply` in a process of its own, because modules of two repos have the same names.

        Raises `DeclarationError` with Feast's last line if it refuses.
        """
        command = [sys.executable, "-m", "feast.cli.cli", "--chdir", str(self.folder), "apply"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["feast apply failed"]
            raise DeclarationError(said[-1].removeprefix("Error: "))
        self.__dict__.pop("store", None)
        self.__dict__.pop("views", None)
        self.__dict__.pop("sources", None)
