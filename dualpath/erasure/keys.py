"""The join keys whose rows are erased: read from `NAME=VALUE`, and cast as the fields of a source."""

from collections.abc import Iterable, Mapping
from typing import Any

from dualpath.changes import before
from dualpath.entities import cast
from dualpath.errors import InputError
from dualpath.field import Field
from dualpath.repo import Repo
from dualpath.schema import EventSource

Keys = Mapping[str, tuple[str, ...]]
"""The values of each join key, as they were written."""


def parse(words: Iterable[str], known: Iterable[str]) -> Keys:
    """Read `NAME=VALUE` words; raises `InputError` for a name that is not `known`, or if there is no word.

    >>> parse(["user_id=ann", "user_id=a=b"], ["user_id"])
    {'user_id': ('ann', 'a=b')}
    """
    known, found = sorted(known), dict[str, tuple[str, ...]]()
    for word in words:
        name, given, value = word.partition("=")
        if not (name and given and value):
            raise InputError(f"--key {word} is not of the form NAME=VALUE; the join keys are {', '.join(known)}.")
        if name not in known:
            raise InputError(f"there is no join key '{name}'; the repo has {', '.join(known)}.")
        found[name] = tuple(dict.fromkeys((*found.get(name, ()), value)))
    if not found:
        raise InputError(f"nobody is named; pass --key NAME=VALUE, with one of {', '.join(known)}.")
    return found


def known(repo: Repo) -> set[str]:
    """The join keys of all views of a repo, ordinary ones too."""
    ordinary = (column.name for view in repo.store.list_feature_views() for column in view.entity_columns)
    return {*ordinary, *(name for view in repo.views.values() for name in view.keys)}


def fields(source: EventSource, keys: Keys) -> dict[Field, list[Any]]:
    """The fields of a source that have the keys, or had them before a change, with the values as the log has them.

    Raises `InputError` for a value that cannot be one of the field.
    """
    former = {} if source.changes is None else {f.name: f for f in source.changes.former(source.fields)}
    found: dict[Field, list[Any]] = {}
    for name, values in keys.items():
        field = source.by_name.get(name)
        if field and field.key:
            found[field] = cast(values, field.key, name)
            if was := former.get(before(name)):
                found[was] = found[field]
    return found
