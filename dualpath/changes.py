"""Changes: events that are versions of rows, as change data capture sends them. Pure data, no engine.

Of the versions of a row, an answer counts one: the latest that had happened at its `as_of`, of those that it knows. An
earlier one counts in no window, and neither does a row whose latest version says that it is deleted. Later means a
greater (`event_time`, version, code of the event's id). So the features are those of the table as it was at `as_of`, in
which a row stands at the `event_time` of its latest version.

State is kept by entity. An event that says that its row was another entity's `before` is a version at both: at the new
entity as it is, at the former one as a deletion.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from dualpath import paths
from dualpath.errors import DeclarationError
from dualpath.field import Field
from dualpath.paths import EACH, Steps
from dualpath.signature import declares

VERSIONS = ("integer", "identifier", "timestamp")
"""Kinds of a version."""


def before(name: str) -> str:
    """The field that has what another one was before a change, where that differs.

    >>> before("user_id")
    'before_user_id'
    """
    return f"before_{name}"


@declares
@dataclass(frozen=True, init=False)
class Changes:
    """Says that the events of a source are versions of rows.

    Args:
        key: the fields that name a row, as the primary key of a table does; one, or several.
        version: the field that orders versions of the same `event_time`, such as the log's position; None: the id does.
        deleted: a condition that is true of a version after which the row is gone. None: rows are never deleted.
        before: where payloads have the row as it was, so that a row may move to another entity. A field that is also
            read there, as in `first_of("after.user_id", "before.user_id")`, is known to have changed. None: no row
            moves.

    >>> Changes(key="order_id", version="lsn", deleted="op = 'd'", before="before")
    Changes(key=('order_id',), version='lsn', deleted="op = 'd'", before='before')
    """

    key: tuple[str, ...]
    version: str | None = None
    deleted: str | None = None
    before: str | None = None

    called: ClassVar[str] = "changes such as Changes(key='order_id')"

    def __init__(
        self,
        key: str | Iterable[str],
        version: str | None = None,
        deleted: str | None = None,
        before: str | None = None,
    ) -> None:
        names = (key,) if isinstance(key, str) else tuple(key)
        place = None if before is None else paths.written(paths.parse(before))
        for name, value in (("key", names), ("version", version), ("deleted", deleted), ("before", place)):
            object.__setattr__(self, name, value)
        if not self.key:
            raise DeclarationError("changes: the key has no field; name those that name a row.")
        if place and paths.parse(place)[0] == paths.MESSAGE:
            raise DeclarationError(f"changes: the former row is in the payload, and '{place}' is around it.")
        if self.before and not self.version:
            raise DeclarationError(
                "changes: of two changes of one instant, both entities of a row that moves must take the same one for "
                "the later; name the field that orders them, as version=..."
            )

    def former(self, fields: Iterable[Field]) -> tuple[Field, ...]:
        """What payloads say of the row before the change: a field for each of `fields` that may name a row or an
        entity, and that they have in `before` too."""
        if self.before is None:
            return ()
        known = {each.name: each for each in fields}
        found = []
        for field in known.values():
            # What is read there alone is a field of the former row, and no former value of another.
            places = [place for place in field.places if self._is_within(place)]
            if field.required and field.key and 0 < len(places) < len(field.places):
                if field.place in places:
                    raise DeclarationError(
                        f"changes: '{field}' is read in '{self.before}' first, so it would always be what it was; "
                        "write that place last."
                    )
                if before(field.name) in known:
                    raise DeclarationError(
                        f"changes: what '{field.name}' was is kept as '{before(field.name)}', so no field can be "
                        "called that; rename it."
                    )
                was = tuple(map(before, field.former))
                path, *others = places
                found.append(
                    replace(
                        field, name=before(field.name), required=False, path=path, fallbacks=tuple(others), former=was
                    )
                )
        if not found:
            raise DeclarationError(
                f"changes: the former row is at '{self.before}', and no required field is also read there; write the "
                f'join keys of views as path=first_of("after.user_id", "{self.before}.user_id").'
            )
        return tuple(found)

    def _is_within(self, place: Steps) -> bool:
        """Whether a place is in `before`."""
        assert self.before, "asked of changes that have it"
        start = paths.parse(self.before)
        rest = place[len(start) :]
        return place[: len(start)] == start and bool(rest) and EACH not in rest

    def check(self, where: str, fields: Mapping[str, Field]) -> None:
        """Raise `DeclarationError` unless the fields of a source make versions of rows of its events."""
        for name in (*self.key, *([self.version] if self.version else [])):
            if name not in fields:
                raise DeclarationError(
                    f"{where}: changes name the field '{name}', which it does not have; "
                    f"name one of {', '.join(fields)}."
                )
            if not fields[name].required:
                raise DeclarationError(
                    f"{where}: a version without '{name}' could not be told from others; "
                    "declare the field with required=True."
                )
        for name in self.key:
            if not fields[name].key:
                raise DeclarationError(
                    f"{where}: the key of changes has '{name}', which is of kind {fields[name].kind}; "
                    "use text, integer or identifier fields."
                )
        if self.version and fields[self.version].kind not in VERSIONS:
            raise DeclarationError(
                f"{where}: the version of changes is '{self.version}', which is of kind {fields[self.version].kind}; "
                f"use a field of kind {', '.join(VERSIONS)}."
            )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `Changes(**plain)` is equal."""
        plain = {"key": list(self.key), "version": self.version, "deleted": self.deleted}
        return plain | ({"before": self.before} if self.before else {})
