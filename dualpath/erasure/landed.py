"""The lines of a person in the files of a landing folder that the stream has read.

A line becomes blanks of the same length, and the file keeps its time: the stream knows a file by its path, size and
time, and would take it for another one (`dualpath.sources.delivery`).
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from dualpath.erasure import files
from dualpath.erasure.keys import Keys
from dualpath.erasure.logged import Found
from dualpath.erasure.payloads import Match, Payloads
from dualpath.errors import InputError, StateError
from dualpath.files.places import Place, below, local, matching, relative
from dualpath.log.storage import Storage
from dualpath.schema import EventSource
from dualpath.sources.delivery import SUFFIX, delivery
from dualpath.sources.directory import KEPT

NAMED = 3
"""Files that a sentence names."""


class Lines:
    """Recognises a person's lines."""

    def __init__(self, storage: Storage, source: EventSource, keys: Keys) -> None:
        self.folder, self.payloads = storage.folder("landing"), Payloads(source, keys)

    def found(self) -> Found:
        """What there is in all files."""
        rows, by_text = {}, 0
        for file in self._files():
            with file.open("rb") as lines:
                matches = [match for match in map(self._match, lines) if match.is_removed]
            by_text += matches.count(Match.BY_TEXT)
            if matches:
                rows[file] = len(matches)
        return Found(rows, by_text)

    def remove(self, file: Place) -> None:
        """Make their lines blank."""
        file = local(file, "Making lines of landed files blank")
        with file.open("rb") as lines, files.rewritten(file, keeps_time=True) as to:
            for line in lines:
                blank = b" " * len(line.rstrip(b"\n")) + b"\n" * line.endswith(b"\n")
                to.write(blank if self._match(line).is_removed else line)

    def _match(self, line: bytes) -> Match:
        return self.payloads.match(line.removesuffix(b"\n"))

    def _files(self) -> Iterator[Place]:
        if not isinstance(self.folder, Path):
            yield from (file for file in below(self.folder) if file.suffix == SUFFIX and file.name[0] != ".")
            return
        for place, folders, names in os.walk(self.folder, followlinks=True):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (Path(place, name) for name in sorted(names) if name.endswith(SUFFIX) and name[0] != ".")


def require_read(storage: Storage) -> None:
    """Raise `StateError` unless the stream has read everything in the landing folder: what it will read, or never
    reads, may be of the person too."""
    found, source = delivery(storage), storage.source
    if found.waiting:
        raise StateError(
            f"source '{source}': {_some(found.waiting)} not read yet; run `dualpath stream --once`, then erase."
        )
    folder = storage.folder("landing")
    names = (relative(each, folder) for each in matching(folder, "**/.*"))
    hidden = [each for each in names if not each.endswith((files.BESIDE, KEPT))]
    if others := [*found.ignored, *sorted(hidden)]:
        raise StateError(
            f"source '{source}': the stream does not read {_some(others)} and nobody knows what is in it; give it to "
            "`dualpath ingest`, or move it away, then erase."
        )


def require_blankable(storage: Storage, files: Sequence[Place]) -> None:
    """Raise `InputError` if lines of files cannot be made blank: an object would get another time, and be another file
    to the stream."""
    folder = storage.folder("landing")
    if not isinstance(folder, Path):
        raise InputError(
            f"source '{storage.source}': {_some([relative(file, folder) for file in files])} at {folder.parent} cannot "
            "be changed without another time, by which the stream would take them for other files; remove them, then "
            "erase: the stream does not need what it has read."
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(f"landing/{name}" for name in names[:NAMED]) + more
