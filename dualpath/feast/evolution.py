"""What `feast plan` and `feast apply` ask before a changed declaration of an event source is taken."""

from pathlib import Path

from feast import RepoConfig

from dualpath.errors import InputError
from dualpath.log import forms
from dualpath.repo import Repo
from dualpath.schema import EventSource


def check(config: RepoConfig, source: EventSource) -> None:
    """Raise `DeclarationError`, one sentence, unless the source's log can be read as `source` declares it."""
    repo = Repo(Path(config.repo_path or "."))
    forms.check(repo.storage(source.name), source, before=applied(repo).get(source.name))


def applied(repo: Repo) -> dict[str, EventSource]:
    """The sources that the registry has, by name; none before the first `feast apply`."""
    try:
        return repo.sources
    except InputError:
        return {}
