"""Finds the files of a landing folder that the stream has not read, and those that changed after it read them.

The stream reads a file once, as a whole. Nobody can tell which rows of a changed file are new, so the stream does not
read it again; `dualpath status` names it.
"""

import errno
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dualpath.files.places import Place, is_seen, matching, read_text
from dualpath.log import blanked
from dualpath.log.generation import checkpoint
from dualpath.log.storage import Storage

SUFFIX = ".jsonl"
SIZES = 2**16
"""A file's version is its modification time in milliseconds, times this, plus its size modulo this."""
UNKNOWN = 0
"""The version of a file that was read before versions were noted."""


@dataclass(frozen=True)
class Delivery:
    """Files of a landing folder, by their paths below it: `changed` since they were read, `ignored` by the stream
    though there is something in them, and `waiting` to be read."""

    changed: list[str]
    ignored: list[str]
    waiting: list[str]


def version(size: Any, modified: Any) -> Any:
    """A number for the state of a file: from its size and its modification time in milliseconds, two integers or two
    columns of Spark.

    >>> version(70_000, 1) == version(70_000 + 1, 1), version(10, 2) > version(11, 1)
    (False, True)
    """
    return modified * SIZES + size % SIZES


def delivery(storage: Storage) -> Delivery:
    """Compare a source's landing folder with its ledger; one that changes meanwhile is seen as before or as after."""
    folder = storage.folder("landing")
    emptied, erased = _taken(storage), blanked.kept(storage.folder("ledger"))
    read = {unquote(origin): position for origin, position in storage.positions(before=sys.maxsize).items()}
    found = Delivery([], [], [])
    for name, size, modified in sorted(_files(folder)):
        if not size and name not in read:
            continue  # nothing in it to read
        now = version(size, modified)
        if not _is_read(name):
            found.ignored.append(os.fsencode(name).decode(errors="replace"))
        elif name not in read:
            (found.changed if name in emptied else found.waiting).append(name)
        elif read[name] not in (UNKNOWN, now) and (name not in erased or erased[name].version != now):
            found.changed.append(name)
    return found


def _files(folder: Place) -> Iterator[tuple[str, int, int]]:
    """Every file below the folder but hidden ones, which are still being written: its name, bytes, and when it was
    modified, milliseconds."""
    if not isinstance(folder, Path):
        for name, size, put in folder.states():
            if not any(part.startswith(".") for part in name.split("/")):
                yield name, size, put * 1000
        return
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in files:
            path = Path(place, file)
            if file.startswith("."):
                continue
            try:
                state = path.stat()
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ELOOP):  # moved away meanwhile, or a link to nowhere
                    continue
                raise
            yield path.relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns // 1_000_000


def _is_read(name: str) -> bool:
    """Whether Spark's file source reads a file: it skips names that Hadoop hides, and names that are not UTF-8."""
    return name.endswith(SUFFIX) and is_seen(name) and name == name.encode(errors="replace").decode()


def _taken(storage: Storage) -> set[str]:
    """The files that finished batches of the present generation have read, by Spark's own account.

    The ledger knows a file by its rows; these include files without a row.
    """
    (query, batch), _ = storage.reached()
    of_query = checkpoint(storage, query)
    offset = of_query / "offsets" / str(batch)
    text = read_text(offset)
    if not text or not (of_query / "sources" / "0").exists():
        return set()
    last = json.loads(text.splitlines()[-1])
    if not (isinstance(last, dict) and "logOffset" in last):  # of another source than files
        return set()
    folder = storage.folder("landing")
    base = f"{folder.absolute().as_posix() if isinstance(folder, Path) else urlsplit(str(folder)).path}/"
    paths = (
        unquote(urlsplit(each["path"]).path)
        for each in _entries(of_query / "sources" / "0")
        if each["batchId"] <= last["logOffset"]
    )
    return {path.removeprefix(base) for path in paths if path.startswith(base)}


def _entries(account: Place) -> Iterator[Mapping[str, Any]]:
    """The lines of Spark's account of a file source: a file a batch, of which every tenth repeats those before."""
    for file in matching(account, "*"):
        with suppress(FileNotFoundError):  # put together with others since they were listed
            if not file.name.startswith("."):
                yield from map(json.loads, file.read_text().splitlines()[1:])
