"""Changes: events that are versions of rows, as change data capture sends them. Pure data, no engine.

Of the versions of a row, an answer counts one: the latest that had happened at its `as_of`, of those that it knows. An
earlier one counts in no window, and neither does a row whose latest version says that it is deleted. Later means a
greater (`event_time`, version, code of the event's id). So the features are those of the table as it was at `as_of`, in
which a row stands at the `event_time` of its latest version.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dualpath.errors import DeclarationError
from dualpath.field import Field
from dualpath.signature import declares

VERSIONS = ("integer", "identifier", "timestamp")
"""Kinds of a version."""


@declares
@dataclass(frozen=True, init=False)
class Changes:
    """Says that the events of a source are versions of rows.

    Args:
        key: the fields that name a row, as the primary key of a table does; one, or several.
        version: the field that orders versions of the same `event_time`, such as the log's position; None: the id does.
        deleted: a condition that is true of a version after which the row is gone. None: rows are never deleted.

    >>> Changes(key="order_id", version="lsn", deleted="op = 'd'")
    Changes(key=('order_id',), version='lsn', deleted="op = 'd'")
    """

    key: tuple[str, ...]
    version: str | None = None
    deleted: str | None = None

    called: ClassVar[str] = "changes such as Changes(key='order_id')"

    def __init__(self, key: str | Iterable[str], version: str | None = None, deleted: str | None = None) -> None:
        names = (key,) if isinstance(key, str) else tuple(key)
        for name, value in (("key", names), ("version", version), ("deleted", deleted)):
            object.__setattr__(self, name, value)
        if not self.key:
            raise DeclarationError("changes: the key has no field; name those that name a row.")

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
        return {"key": list(self.key), "version": self.version, "deleted": self.deleted}
