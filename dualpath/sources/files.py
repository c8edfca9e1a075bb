"""Finds the files that a user names, and makes payloads of what they hold, as their producers write them."""

import codecs
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from glob import glob, has_magic
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from dualpath.errors import InputError, NotFoundError
from dualpath.files.places import is_seen
from dualpath.schema import EventSource
from dualpath.sources import containers, delta
from dualpath.sources.columnar import parquet
from dualpath.sources.delimited import Dialect, Rows
from dualpath.sources.documents import documents

LINES, DOCUMENTS, DELIMITED = (".jsonl", ".ndjson"), (".json",), (".csv", ".tsv")
PARQUET, AVRO, DELTA = ".parquet", ".avro", delta.LOG
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
KINDS = f"{', '.join([*LINES, *DOCUMENTS, *DELIMITED])}, each also as .gz or .zst, or {PARQUET} or {AVRO}"
READING = (pa.ArrowException, OSError, UnicodeError)
"""What can be raised of a file that is not what its name says."""
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def found(names: Iterable[str]) -> list[Path]:
    """The files that are meant, each once: a name is a file, a folder or a pattern such as `events/**/*.parquet`.

    Of a folder these are all files in it and below, by name; like Spark, without names that begin with a dot or an
    underscore (`_SUCCESS`), but with `_day=1`. A folder's name gives no column: in `day=2026-01-01/part-0.parquet`, a
    `day` that the file itself does not have is not known to the stream. A folder that is a Delta table stands for one
    file, of the rows of its newest version.

    Raises `NotFoundError` if nothing has the name, and `InputError` if a file is of no known kind.
    """
    files: dict[Path, Path] = {}
    for name in names:
        for file in _meant(name):
            files.setdefault(file.resolve(), file)
    if unknown := [file for file in files.values() if not _suffix(file)]:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise InputError(f"{unknown[0]}{more}: of no known kind; pass {KINDS}. Nothing was landed.")
    return [*files.values()]


def payloads(file: Path, source: EventSource, dialect: Dialect) -> Iterator[bytes]:
    """The rows of a file as payloads of the source, a line each, read while they are asked for.

    Lines of JSON are as they are; other kinds: `documents`, `delimited.Rows`, `columnar.parquet`, `containers.avro`,
    `delta.rows`. Of a table come the columns that the source reads.

    Raises `InputError`: at once if the file has no readable beginning or lacks a column, later if what follows cannot
    be read.
    """
    try:
        return _readable(_opened(file, source, dialect), file)
    except READING as error:
        raise _unreadable(file, error) from None


def _readable(lines: Iterator[bytes], file: Path) -> Iterator[bytes]:
    try:
        yield from lines
    except READING as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> InputError:
    kind = {PARQUET: "Parquet", AVRO: "Avro", ".csv": "CSV", ".tsv": "TSV"}.get(_suffix(file), "JSON")
    said = (error.strerror if isinstance(error, OSError) else None) or str(error).splitlines()[0]
    return InputError(f"{file} cannot be read as {kind} ({said}); nothing was landed.")


def _opened(file: Path, source: EventSource, dialect: Dialect) -> Iterator[bytes]:
    suffix, fitting = _suffix(file), partial(members, source=source, what=str(file))
    if suffix == PARQUET:
        return parquet(file, fitting)
    if suffix == DELTA:
        return delta.rows(delta.opened(file), str(file), fitting)
    stream = _stream(file)
    if suffix == AVRO:
        return containers.avro(stream, str(file), fitting)
    if suffix in DELIMITED:
        rows = _rows(stream, file, suffix, dialect)
        return rows.payloads(fitting(rows.names))
    begin = stream.peek(len(codecs.BOM_UTF8))
    if begin.startswith(UTF_16):
        raise InputError(f"{file} is UTF-16, and JSON is UTF-8; write it in UTF-8.")
    if begin.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    return documents(stream, str(file)) if suffix in DOCUMENTS else _whole(stream)


def _rows(stream: io.BufferedReader, file: Path, suffix: str, dialect: Dialect) -> Rows:
    if dialect.is_utf_8 and stream.peek(2).startswith(UTF_16):
        raise InputError(f"{file} is UTF-16; say so with --encoding utf-16.")
    if dialect.delimiter is None and suffix == ".tsv":
        dialect = replace(dialect, delimiter="\t")
    encoding, errors = ("utf-8-sig", "surrogateescape") if dialect.is_utf_8 else (dialect.encoding, "strict")
    return Rows(io.TextIOWrapper(stream, encoding, errors, newline=""), dialect, str(file))


def _whole(lines: BinaryIO) -> Iterator[bytes]:
    """Lines, the last one with its newline, since another file may follow it."""
    return (line if line.endswith(b"\n") else line + b"\n" for line in lines)


def _stream(file: Path) -> io.BufferedReader:
    return io.BufferedReader(pa.input_stream(file, compression=COMPRESSED.get(file.suffix.lower())))


def _suffix(file: Path) -> str:
    """The suffix that tells the kind, in small letters; empty if it is none. What tells a Delta table is its log."""
    if delta.log(file):
        return DELTA
    name = file.with_suffix("") if file.suffix.lower() in COMPRESSED else file
    suffix = name.suffix.lower()
    return suffix if suffix in (*LINES, *DOCUMENTS, *DELIMITED) or (suffix in (PARQUET, AVRO) and name is file) else ""


def is_delimited(file: Path) -> bool:
    """Whether a file's dialect matters."""
    return _suffix(file) in DELIMITED


def _meant(name: str) -> Iterator[Path]:
    path = Path(name)
    if not path.exists() and has_magic(name):
        if not (matches := _matches(name)):
            raise NotFoundError(f"no file has a name like {name}.")
        for each in matches:
            yield from _below(each) if each.is_dir() else [each]
    elif path.is_dir():
        yield from _below(path)
    elif path.is_file():
        yield path
    else:
        raise NotFoundError(f"{name} is neither a file nor a folder.")


def _matches(name: str) -> list[Path]:
    matches = map(Path, glob(name, recursive=True))  # noqa: PTH207 - of pathlib's, none takes an absolute pattern
    return sorted(path for path in matches if is_seen(path.name))


def _below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be listed ({error.strerror}); nothing was landed.")

    files = []
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        if DELTA in folders:
            files.append(Path(place))
            folders.clear()
            continue
        folders[:] = filter(is_seen, folders)
        files += [Path(place, name) for name in names if is_seen(name)]
    if not files:
        raise InputError(f"{folder} has no files; name a folder of {KINDS}.")
    yield from sorted(files)


def members(names: Sequence[str], source: EventSource, what: str) -> list[str]:
    """Of the columns of a table, those the source reads; raises `InputError` if one is there twice or is missing."""
    needed = [*source.members.values(), *(f for f in source.fields if f.required)]
    lacking = [str(f.place[0]) for f in needed if not any(place[0] in names for place in f.places)]
    lacking += [str(step) for step in source.each[:1] if step not in names]
    if missing := [*dict.fromkeys(lacking)]:
        raise InputError(
            f"{what}: no column {', '.join(missing)}, which source '{source.name}' needs; it has {', '.join(names)}."
        )
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise InputError(f"{what}: the column {', '.join(twice)} stands there twice; rename or remove one.")
    known = {place[0] for f in (*source.members.values(), *source.fields) for place in f.places}
    return [n for n in names if n in known]
