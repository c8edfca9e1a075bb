"""Reads the files of the log by the present declaration, whatever declarations wrote them, without Spark."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from dualpath.field import Field
from dualpath.files.parquet import dataset
from dualpath.log import forms
from dualpath.log.storage import Storage
from dualpath.schema import EventSource


class Reading:
    """The columns of a source's events in files that have them in any form; `beside` are columns that are read as they
    are."""

    def __init__(self, storage: Storage, source: EventSource, beside: Iterable[tuple[str, pa.DataType]] = ()) -> None:
        found, own = forms.known(storage, source), source.stored
        self.source, self.beside = source, [*beside]
        self.fields = {field.column: field for field in source.all_fields}
        self.stored = {name: found.readable(source, field) for name, field in self.fields.items()}
        columns = {name: kind for each in self.stored.values() for name, kind in each.items()}
        every = [own.field(name) for name in own.names if name not in self.fields]
        self.schema = pa.schema([*every, *columns.items(), *self.beside])

    @cached_property
    def names(self) -> list[str]:
        """Every column of an event."""
        return self.source.stored.names

    def column(self, name: str) -> pc.Expression:
        """A column of the declaration, as an expression over the columns of files."""
        if (field := self.fields.get(name)) is None:
            return pc.field(name)
        found = [_cast(pc.field(column), kind, field) for column, kind in self.stored[name].items()]
        if not found:
            return pc.scalar(pa.scalar(None, field.stored))
        return found[0] if len(found) == 1 else pc.coalesce(*found)

    def columns(self, names: Sequence[str]) -> dict[str, pc.Expression]:
        """Columns, to be read from `dataset`."""
        return {name: self.column(name) for name in names}

    def dataset(self, files: Sequence[str]) -> ds.Dataset:
        """The files of the log, or of the duplicates."""
        return dataset(files, self.schema)


def _cast(found: pc.Expression, kind: pa.DataType, field: Field) -> pc.Expression:
    """Exactly, or it raises."""
    if kind == field.stored:
        return found
    # Arrow casts an integer only to a decimal that has room for any.
    wide = found.cast(pa.decimal128(38, field.scale)) if field.kind == "decimal" else found
    return wide.cast(field.stored)
