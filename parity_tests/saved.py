"""A repo in a state that takes long to reach, for many tests to begin with."""

import shutil
from pathlib import Path

from dualpath.online.connection import embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis


class Saved:
    """All that a repo has now, its Redis too, kept below `folder`; nobody uses the repo but by `again`."""

    def __init__(self, repo: Repo, folder: Path) -> None:
        redis.stop(embedded_folder(repo.store.config))
        self.folder, self.kept = repo.folder, folder / "kept"
        shutil.copytree(self.folder, self.kept)

    def again(self) -> Repo:
        """The repo as it was. It is at the same path, because a checkpoint names landed files by theirs."""
        redis.stop(embedded_folder(Repo(self.folder).store.config))
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept, self.folder)
        return Repo(self.folder)
