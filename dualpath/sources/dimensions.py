"""Loads a dimension from its files, which are of any kind that `dualpath ingest` reads."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import xxhash

from dualpath.dimension import Dimension
from dualpath.errors import InputError
from dualpath.schema import EventSource
from dualpath.sources.delimited import PLAIN
from dualpath.sources.files import found, payloads
from dualpath.versions import Versions

HERE = Path()


def load(dimension: Dimension, folder: Path = HERE) -> Versions:
    """The versions in a dimension's files; a path that is not absolute begins at `folder`, the repo's.

    A table has a column for each key, each field and each time of the dimension; a row of JSON may leave out a null.
    Raises `InputError` naming file and row for what `Versions.of` refuses, and for a file that cannot be read.

    >>> import tempfile
    >>> from dualpath.dimension import dimension
    >>> from dualpath.schema import text
    >>> brands = dimension("brands", path="brands.csv", keys=[text("sku")], fields=[text("brand")])
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "brands.csv").write_text("sku,brand,valid_from\\na1,Acme,2026-01-01T00:00:00Z\\n")
    >>> load(brands, folder).rows["brand"].to_pylist()
    ['Acme']
    """
    try:
        files = found([str(folder / dimension.path)])
        return Versions.of(dimension, ((str(file), _rows(file, dimension)) for file in files))
    except InputError as error:
        own = f"dimension '{dimension.name}': "
        raise InputError(f"{own}{error.message.removeprefix(own)}") from None


def version(dimension: Dimension, folder: Path = HERE) -> str:
    """A name for what its files hold, by their names, sizes and times of modification, and for how they are read.

    Raises `InputError` if there are none.
    """
    try:
        stats = [(str(file), file.stat()) for file in found([str(folder / dimension.path)])]
    except OSError as error:
        raise InputError(f"dimension '{dimension.name}': {error.filename}: {error.strerror}.") from None
    except InputError as error:
        raise InputError(f"dimension '{dimension.name}': {error.message}") from None
    told = [dimension.to_dict(), [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]]
    return xxhash.xxh64_hexdigest(json.dumps(told, sort_keys=True).encode())


def _rows(file: Path, dimension: Dimension) -> Iterator[Any]:
    # A table whose column was renamed is broken, so it must have all of them.
    columns = tuple(replace(each, required=True) for each in dimension.columns)
    time = dimension.valid_from
    fields = tuple(each for each in columns if each.name != time.name)
    source = EventSource(dimension.name, fields, event_id=None, event_time=time.name, arrival_time=None, times=(time,))
    return map(_parsed, payloads(file, source, PLAIN))


def _parsed(line: bytes) -> Any:
    """A row as JSON has it; None if it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
