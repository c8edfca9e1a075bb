"""Splits JSON files that are no JSON lines: an array of objects, one object, objects one after the other."""

import json
import re
from collections.abc import Iterator
from typing import BinaryIO

from dualpath.errors import InputError

CHUNK = 2**20
STRING = rb'"(?:[^"\\]++|\\.)*+"'
TO_BRACKET = re.compile(rb'(?:[^][{}"]++|' + STRING + rb")*+([][{}])", re.DOTALL)
SCALAR = re.compile(STRING + rb'|[^][{}\s,"]+|[]}]', re.DOTALL)
BETWEEN = re.compile(rb"[\s,]*")
BREAKS = re.compile(STRING + rb"|[\r\n]+", re.DOTALL)


def documents(file: BinaryIO, what: str) -> Iterator[bytes]:
    """The elements of each array of `file`, and each object outside of one, as their own text on a line of its own.

    Nothing in them is parsed, so numbers keep their digits and admission judges the rest: a broken object hides no
    other. Line breaks between the tokens become spaces; an object with one inside a text, which JSON does not allow,
    becomes a JSON text that holds it, and admission refuses that. Holds one object in memory.

    Raises `InputError` if brackets or quotes have no end.

    >>> import io
    >>> list(documents(io.BytesIO(b'[{"price":1.10},\\n {"price":\\n2}]'), "a.json"))
    [b'{"price":1.10}\\n', b'{"price": 2}\\n']
    """
    text, in_array = _Text(file, what), False
    while first := text.next_token():
        if first == b"[" and not in_array:
            in_array = True
            text.skip()
        elif first == b"]" and in_array:
            in_array = False
            text.skip()
        else:
            place = text.place
            yield _line(text.value(), f"{what}, byte {place}")
    if in_array:
        raise InputError(f"{what}: the array has no end, so the file is not whole; write it again.")


def _line(value: bytes, place: str) -> bytes:
    if b"\n" in value:
        value = BREAKS.sub(lambda found: b" " if found[0][:1] in b"\r\n" else found[0], value)
    if b"\n" in value:
        said = f"{place}: a line break inside a text: {value.decode(errors='surrogateescape')}"
        value = json.dumps(said, ensure_ascii=False).encode(errors="surrogateescape")
    return value + b"\n"


class _Text:
    """What is not read yet of a file, of which as much is held as one value needs."""

    def __init__(self, file: BinaryIO, what: str) -> None:
        self._file, self._what = file, what
        self._held, self._at, self._before, self._ended = b"", 0, 0, False

    @property
    def place(self) -> int:
        """How many bytes of the file are read."""
        return self._before + self._at

    def next_token(self) -> bytes:
        """The first byte of what comes next, which is not read yet; empty at the end."""
        while True:
            self._at = BETWEEN.match(self._held, self._at).end()  # type: ignore[union-attr]  # it matches anything
            if self._at < len(self._held) or self._ended:
                return self._held[self._at : self._at + 1]
            self._read_on()

    def skip(self) -> None:
        self._at += 1

    def value(self) -> bytes:
        """Read the value that begins here."""
        while (end := self._end()) is None:
            if self._ended:
                raise InputError(
                    f"{self._what}: what begins at byte {self.place} has no end, so a bracket or a quote is missing, "
                    "or the file is not whole; correct it or write it again."
                )
            self._read_on()
        begin, self._at = self._at, end
        return self._held[begin:end]

    def _end(self) -> int | None:
        """Where the value ends; None if more must be read to know."""
        if self._held[self._at] not in b"[{":
            scalar = SCALAR.match(self._held, self._at)
            return scalar.end() if scalar and (scalar.end() < len(self._held) or self._ended) else None
        depth, at = 0, self._at
        while found := TO_BRACKET.match(self._held, at):
            depth += 1 if found[1] in b"[{" else -1
            at = found.end()
            if not depth:
                return at
        return None

    def _read_on(self) -> None:
        """Hold more; at least as much again, so that a long value is not looked through many times."""
        read = self._file.read(max(CHUNK, len(self._held) - self._at))
        self._before += self._at
        self._held, self._at, self._ended = self._held[self._at :] + read, 0, not read
