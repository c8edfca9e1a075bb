"""The lines of a person in the files of a landing folder that the stream has read.

A line becomes blanks of the same length, and the file keeps its time: a file of another size or time is one that has
changed after it was read (`dualpath.sources.delivery`). An object gets a new time, which is noted
(`dualpath.log.blanked`). The stream does not read it again: it knows what it has read by the path alone.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dualpath.erasure import files
from dualpath.erasure.keys import Keys
from dualpath.erasure.logged import Found
from dualpath.erasure.payloads import Match, Payloads
from dualpath.errors import StateError
from dualpath.files import objects
from dualpath.files.places import Place, below, matching, relative
from dualpath.log import blanked
from dualpath.log.blanked import Blanked
from dualpath.log.storage import Storage
from dualpath.schema import EventSource
from dualpath.sources.delivery import SUFFIX, delivery, version
from dualpath.sources.directory import KEPT
from dualpath.steps import Step, step

NAMED = 3
"""Files that a sentence names."""


class Lines:
    """Recognises a person's lines."""

    def __init__(self, storage: Storage, source: EventSource, keys: Keys) -> None:
        self.source, self.payloads = storage.source, Payloads(source, keys)
        self.folder, self.ledger = storage.folder("landing"), storage.folder("ledger")

    def found(self) -> Found:
        """What there is in all files."""
        rows, by_text = {}, 0
        for file in self._files():
            with _opened(file) as lines:
                matches = [match for match in map(self._match, lines) if match.is_removed]
            by_text += matches.count(Match.BY_TEXT)
            if matches:
                rows[file] = len(matches)
        return Found(rows, by_text)

    def remove(self, file: Place) -> None:
        """Make their lines blank."""
        if isinstance(file, Path):
            with file.open("rb") as lines, files.rewritten(file, keeps_time=True) as to:
                to.writelines(map(self._blanked, lines))
            return
        before, tag = objects.content(file)
        after = b"".join(map(self._blanked, io.BytesIO(before)))
        name = relative(file, self.folder)
        blanked.keep(self.ledger, name, Blanked(blanked.digest(after)))
        with step(Step.REWRITE_FILE):
            if objects.replace(file, after, tag) is None:
                raise StateError(f"source '{self.source}': landing/{name} has changed meanwhile; erase again.")
        self._settle(name)

    def settle(self) -> None:
        """Note the versions of the objects that an erasure has changed before it was cut off."""
        for name, each in blanked.kept(self.ledger).items():
            if not each.version:
                self._settle(name)

    def _settle(self, name: str) -> None:
        """Note the version of an object, if it has what was to be in it."""
        file = self.folder / name
        assert not isinstance(file, Path), "files of a disk keep their version"
        try:
            (content, tag), (size, put, same) = objects.content(file), objects.state(file)
        except FileNotFoundError:
            return
        wanted = blanked.kept(self.ledger)[name]
        if tag == same and blanked.digest(content) == wanted.digest:
            blanked.keep(self.ledger, name, wanted._replace(version=version(size, put * 1000)))

    def _blanked(self, line: bytes) -> bytes:
        """A line, or blanks if it is the person's."""
        blank = b" " * len(line.rstrip(b"\n")) + b"\n" * line.endswith(b"\n")
        return blank if self._match(line).is_removed else line

    def _match(self, line: bytes) -> Match:
        return self.payloads.match(line.removesuffix(b"\n"))

    def _files(self) -> Iterator[Place]:
        if not isinstance(self.folder, Path):
            yield from (file for file in below(self.folder) if file.suffix == SUFFIX and file.name[0] != ".")
            return
        for place, folders, names in os.walk(self.folder, followlinks=True):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (Path(place, name) for name in sorted(names) if name.endswith(SUFFIX) and name[0] != ".")


def _opened(file: Place) -> BinaryIO:
    """A file to read line by line; an object as a whole, because a store's own reader takes UTF-8 alone."""
    return file.open("rb") if isinstance(file, Path) else io.BytesIO(file.read_bytes())


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


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(f"landing/{name}" for name in names[:NAMED]) + more
