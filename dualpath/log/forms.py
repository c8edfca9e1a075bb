"""The forms of fields: how each field was declared when events were written, and which column of the files has it.

A column has one type for ever. A field whose type changes gets a new column, and a reader takes whichever column a file
has; so no reader asks which file was written when, and no file is written again. `ledger/forms.json` has the forms. A
stream notes those of its declaration before its first row, so a file's columns are always known; it is the only writer.
A log of an earlier version has no such file: its columns are those of the declaration that is applied.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dualpath.columns import EVERY, OWN, column, folded
from dualpath.errors import DeclarationError, StateError
from dualpath.field import Field
from dualpath.files.durable import write_atomically
from dualpath.files.parquet import dataset
from dualpath.files.places import Place, read_text
from dualpath.log import accounts, evolution
from dualpath.log.evolution import described, form
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DUPLICATE
from dualpath.record import UNFENCED
from dualpath.schema import EventSource


@dataclass(frozen=True)
class Form:
    """A field as it was declared once, and the `column` of the files that has it. `always` says that every declaration
    since the first had the field."""

    column: str
    field: Field
    always: bool


@dataclass(frozen=True)
class Forms:
    """All forms that a source's log may have, and the `evolution.identity` of its events."""

    identity: Mapping[str, Any]
    forms: tuple[Form, ...]

    @classmethod
    def of(cls, source: EventSource) -> "Forms":
        """Those of a log that only one declaration has written."""
        forms = tuple(Form(each.column, form(each), always=True) for each in source.all_fields)
        return cls(evolution.identity(source), forms)

    def read_by(self, field: Field) -> list[Form]:
        """The forms that are read for a field: its own, and those of its former names."""
        return [each for each in self.forms if each.field.name in (field.name, *field.former)]

    def columns(self, source: EventSource) -> dict[str, str]:
        """The column of the files to which each column of the declaration is written."""
        return {f.column: next(c for c, kind in self._columns(f) if kind == f.stored) for f in source.all_fields}

    def readable(self, source: EventSource, field: Field) -> dict[str, pa.DataType]:
        """The columns of files that have a field's values, and their types; none: no file has any.

        Raises `StateError` for one that cannot be read as the field is declared.
        """
        for each in self.read_by(field):
            if not evolution.widens(each.field, field):
                raise StateError(_sentence(source, field, evolution.fault(each.field, field)))
        return {each.column: each.field.stored for each in self.read_by(field)}

    def _columns(self, field: Field) -> Iterator[tuple[str, pa.DataType]]:
        return ((each.column, each.field.stored) for each in self.forms if each.field.name == field.name)

    def check(self, source: EventSource) -> None:
        """Raise `DeclarationError`, one sentence, unless the log can be read by a declaration (`evolution`)."""
        if said := evolution.identity_fault(self.identity, evolution.identity(source)):
            raise DeclarationError(f"event source '{source.name}': {said}")
        names = {each.field.name for each in self.forms}
        for field in source.all_fields:
            found = self.read_by(field)
            for each in found:
                if said := evolution.fault(each.field, field):
                    raise DeclarationError(_sentence(source, field, said))
                left = [n for n in each.field.former if n in names and n not in (field.name, *field.former)]
                if left:
                    was = ", ".join(map(repr, (*field.former, *left)))
                    said = f"'{each.field.name}' was '{left[0]}', whose events would be lost; write .was({was})."
                    raise DeclarationError(_sentence(source, field, said))
            if field.required and not any(each.always for each in found):
                said = "it is new and required, and stored events lack it; leave out required=True."
                raise DeclarationError(_sentence(source, field, said))

    def plus(self, source: EventSource) -> "Forms":
        """With those of a declaration."""
        present = {name for field in source.all_fields for name in (field.name, *field.former)}
        forms = [each if each.field.name in present else replace(each, always=False) for each in self.forms]
        for field in source.all_fields:
            own = form(field)
            if any(each.field == own for each in forms):
                continue
            stored = next((each.column for each in forms if _one_column(each.field, own)), None)
            always = any(each.always for each in self.read_by(field))
            forms.append(Form(stored or _new_column(own, {each.column for each in forms}), own, always))
        return Forms(evolution.identity(source), tuple(forms))


def _one_column(one: Field, other: Field) -> bool:
    return one.name == other.name and one.stored == other.stored


def _new_column(field: Field, taken: set[str]) -> str:
    """A column that no earlier form has, for engines that do not tell small from capital letters too."""
    plain, used = column(field.name), {folded(each) for each in (*taken, *OWN)}
    # No field's name has a hyphen.
    kind = f"{plain}-{field.kind}{field.scale or ''}"
    names = (plain, kind, *(f"{kind}-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if folded(name) not in used)


def _sentence(source: EventSource, field: Field, said: str) -> str:
    return f"event source '{source.name}', field '{field.name}': {said}"


def kept(storage: Storage) -> Forms | None:
    """The forms that are noted; None: none are."""
    text = read_text(_file(storage))
    if not text:
        return None
    plain = json.loads(text)
    forms = (Form(each["column"], Field.from_dict(each["field"]), each["always"]) for each in plain["forms"])
    return Forms(plain["identity"], tuple(forms))


def known(storage: Storage, source: EventSource) -> Forms:
    """The forms that a log has: those that are noted, or of a log without events or notes those of a declaration."""
    return (None if _is_empty(storage) else kept(storage)) or Forms.of(source)


def check(storage: Storage, source: EventSource, before: EventSource | None = None) -> None:
    """Raise `DeclarationError`, one sentence, unless the log can be read by a declaration without loss.

    `before` is the declaration that is applied; if no stream has noted its forms yet, they are noted now, because the
    log is of this declaration. A log without events can be read by any.
    """
    if _is_empty(storage):
        return
    found = kept(storage)
    if found is None and before is not None:
        found = Forms.of(before)
        _keep(storage, found)
    if found is not None:
        found.check(source)
        for field in source.all_fields:
            if not any(each.field == form(field) for each in found.forms):
                for each in found.read_by(field):
                    _check_values(storage, source, field, each)


def note(storage: Storage, source: EventSource) -> Forms:
    """Note the forms of a declaration, by which rows are written from now on; answers all that the log may have.

    Only for the stream that holds the checkpoint. Raises `DeclarationError` as `check`.
    """
    check(storage, source)
    before = None if _is_empty(storage) else kept(storage)
    found = Forms.of(source) if before is None else before.plus(source)
    if found != before:
        _keep(storage, found)
    return found


def schema(found: Forms) -> pa.Schema:
    """The columns of the log that has some forms."""
    times = [(name, pa.timestamp("us", "UTC")) for name in EVERY[1:]]
    fields = {each.column: each.field.stored for each in found.forms}
    return pa.schema(
        [
            *[(EVERY[0], pa.string()), *times, *fields.items(), ("late", pa.bool_())],
            *[("__origin", pa.string()), ("__position", pa.int64()), ("payload", pa.string()), ("reason", pa.string())],
            *accounts.SCHEMA,
            *[("outcome", pa.string()), ("arrival_day", pa.date32())],
        ]
    )


def _check_values(storage: Storage, source: EventSource, field: Field, stored: Form) -> None:
    """Raise `DeclarationError` if a stored value has more digits before the point than its field has now."""
    most = evolution.bound(stored.field, field)
    if most is None:
        return
    for outcome in (ACCEPTED, DUPLICATE):
        files = storage.paths(outcome)
        columns = pa.schema([(stored.column, stored.field.stored)])
        rows = dataset(files, columns).to_batches() if files else ()
        for values in (batch[stored.column] for batch in rows):
            largest = pc.max(pc.abs(values)).as_py()
            if largest is not None and largest > most:
                raise DeclarationError(
                    _sentence(
                        source,
                        field,
                        f"it was {described(stored.field)} and is {described(field)}, which goes up to {most:,}, and a "
                        f"stored event has {largest:,}; declare a smaller scale.",
                    )
                )


def _is_empty(storage: Storage) -> bool:
    """Whether no stream has begun a batch."""
    return storage.reached()[1] == UNFENCED


def _keep(storage: Storage, found: Forms) -> None:
    forms = [{"column": f.column, "field": f.field.to_dict(), "always": f.always} for f in found.forms]
    write_atomically(_file(storage), json.dumps({"identity": found.identity, "forms": forms}, indent=1))


def _file(storage: Storage) -> Place:
    return storage.folder("ledger") / "forms.json"
