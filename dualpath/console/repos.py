"""Finds the repo, and the source in it, that a command is about."""

from pathlib import Path
from typing import TYPE_CHECKING

from dualpath.console.report import busy
from dualpath.demo import template
from dualpath.errors import InputError
from dualpath.files.places import Place

if TYPE_CHECKING:
    from dualpath.repo import Repo
    from dualpath.schema import EventSource

FILE = "feature_store.yaml"


def here() -> Path | None:
    """The repo at hand: `./feature_repo`, else the current folder, if one of them is a repo."""
    return next((f for f in (Path("feature_repo"), Path()) if (f / FILE).exists()), None)


def made() -> Path:
    """The repo at hand; where there is none, the demo's own is written to `./feature_repo`."""
    if (found := here()) is None:
        found = template.write(Path("feature_repo"))
        print(f"The demo's feature repo is now in {found}.")
    return found


def folder(chosen: Path | None) -> Path:
    """The repo's folder: the one chosen, else the one at hand."""
    if chosen is not None:
        if not (chosen / FILE).exists():
            raise InputError(f"{chosen} has no {FILE}; name a feature repo with --repo.")
        return chosen
    if (found := here()) is None:
        raise InputError(f"neither feature_repo nor the current folder has a {FILE}; name a feature repo with --repo.")
    return found


def opened(chosen: Path | None) -> "Repo":
    """The repo, with its declarations read; importing Feast takes seconds, so it happens here and shows."""
    place = folder(chosen)
    with busy("Opening the feature repo"):
        from dualpath.repo import Repo

        repo = Repo(place.resolve())
        _ = repo.store
    return repo


def sources(repo: "Repo", name: str | None) -> list["EventSource"]:
    """The source of that name; every source of the repo without a name."""
    if name is None:
        return list(repo.sources.values())
    if name not in repo.sources:
        raise InputError(f"there is no source '{name}'; the repo has {', '.join(repo.sources)}.")
    return [repo.sources[name]]


def source(repo: "Repo", name: str | None) -> "EventSource":
    """The source of that name; the only one of the repo without a name."""
    found = sources(repo, name)
    if len(found) > 1:
        raise InputError(f"the repo has the sources {', '.join(repo.sources)}; choose one with --source.")
    return found[0]


def shown(path: Place) -> str:
    """A path as short as it can be said from here."""
    here = Path.cwd()
    if not isinstance(path, Path):
        return str(path)
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
