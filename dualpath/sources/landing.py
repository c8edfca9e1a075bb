"""Writes event payloads as files into a landing folder, all of them or none."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

import pyarrow as pa

from dualpath.errors import InputError
from dualpath.files.durable import move, sync, written
from dualpath.files.places import Place, matching
from dualpath.sources.rendering import ROWS_PER_BATCH, json_lines


def land(table: pa.Table, folder: Place, *, rows_per_file: int, start: int = 0) -> list[Place]:
    """Write the rows of `table` as payloads, in the form of `rendering.json_lines`, in the way of `land_payloads`.

    >>> import tempfile
    >>> from decimal import Decimal
    >>> from pathlib import Path
    >>> events = pa.table({"user_id": ["ann", "bob"], "amount": [Decimal("12.50"), None]})
    >>> [file] = land(events, Path(tempfile.mkdtemp()), rows_per_file=100)
    >>> print(file.read_text(), end="")
    {"user_id":"ann","amount":"12.50"}
    {"user_id":"bob"}
    """
    return land_payloads(
        json_lines(table.to_batches(ROWS_PER_BATCH), "land"), folder, rows_per_file=rows_per_file, start=start
    )


def land_payloads(payloads: Iterable[bytes], folder: Place, *, rows_per_file: int, start: int = 0) -> list[Place]:
    """Write payloads, a line each, `rows_per_file` lines a file, and return the files; the last one gets its newline.

    File names sort in the order of the payloads: a number from `start` and a hash of the content. The files have
    hidden names until the last payload is written, so an error in the midst of them lands nothing. Then each appears
    whole, in order. One that is there already is left alone, so landing the same payloads again after a crash
    completes the folder and changes nothing else. Further payloads for the same folder start at its `next_number`.

    Holds the lines of one file in memory. Raises `InputError` for `rows_per_file` below 1.
    """
    if rows_per_file < 1:
        raise InputError(f"land: rows_per_file is {rows_per_file}; pass at least 1.")
    with _removed_on_error() as hidden:
        files = []
        for number, content in enumerate(_chunks(payloads, rows_per_file), start):
            file = folder / f"{number:08d}-{hashlib.sha256(content).hexdigest()[:12]}.jsonl"
            if not file.exists():
                hidden[_hidden(file)] = file
                with written(_hidden(file)) as out:
                    out.write(content)
            files.append(file)
        for each, file in hidden.items():
            move(each, file)
    sync([folder] if files else [])
    return files


def next_number(folder: Place) -> int:
    """The first number after those of the files in `folder`."""
    numbers = [int(head) for file in matching(folder, "*.jsonl") if (head := file.name.partition("-")[0]).isdecimal()]
    return max(numbers, default=-1) + 1


def _chunks(lines: Iterable[bytes], size: int) -> Iterator[bytes]:
    rest = iter(lines)
    while chunk := b"".join(islice(rest, size)):
        yield chunk if chunk.endswith(b"\n") else chunk + b"\n"


def _hidden(file: Place) -> Place:
    """Readers of the folder skip hidden names, so none of them sees a file that is not whole and on disk."""
    return file.with_name(f".{file.name}.tmp")


@contextmanager
def _removed_on_error() -> Iterator[dict[Place, Place]]:
    """Hidden files and what they are to become; those that are still hidden at an error are removed."""
    hidden: dict[Place, Place] = {}
    try:
        yield hidden
    except BaseException:
        for each in hidden:
            each.unlink(missing_ok=True)
        raise
