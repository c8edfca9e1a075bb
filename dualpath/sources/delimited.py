"""Makes payloads of the rows of CSV and TSV, one by one, so that a broken row hides no other."""

import codecs
import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dualpath.errors import InputError


@dataclass(frozen=True)
class Dialect:
    """How a file of CSV is written; a delimiter of None is the comma, or the tab in `.tsv`.

    `quote` is one character, or empty if quotes mean nothing. A cell whose text is one of `nulls` is a missing member.
    UTF-8 may have a byte order mark, and bytes that are not UTF-8 land as they are.

    Raises `InputError` for what no file can have.
    """

    delimiter: str | None = None
    quote: str = '"'
    nulls: tuple[str, ...] = ("",)
    encoding: str = "utf-8"

    @property
    def is_utf_8(self) -> bool:
        return codecs.lookup(self.encoding).name == "utf-8"

    def __post_init__(self) -> None:
        for name, text in (("delimiter", self.delimiter), ("quote", self.quote or None)):
            if text is not None and (len(text) != 1 or text in "\r\n"):
                raise InputError(f"the {name} {text!r} is not one character; pass one, as --delimiter ';'.")
        if self.delimiter == self.quote:
            raise InputError(f"the delimiter and the quote are both {self.quote!r}; pass two characters.")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise InputError(f"there is no encoding '{self.encoding}'; name one such as latin-1 or utf-16.") from None


PLAIN = Dialect()
"""CSV as nothing more is said of it."""


class Rows:
    """The rows of a file as payloads: `names` are those of its header, and `payloads` needs the ones to keep.

    Every cell is its text, so that admission judges what the file says. A row with too many or too few cells, or
    whose quotes do not match, becomes a JSON text that says so and holds the row: admission refuses that, and the
    dead-letter table shows it. After such a row, reading goes on at the line after its first one. A cell of more
    than 131,072 characters counts as a missing quote. Lines without a cell are passed over.

    >>> rows = Rows(["user,action\\n", "ann,buy\\n", "bob\\n", "eve,\\n"], PLAIN, "a.csv")
    >>> for payload in rows.payloads(rows.names):
    ...     print(payload.decode(), end="")
    {"user":"ann","action":"buy"}
    "a.csv, line 3: 1 cell, and the header has 2: bob"
    {"user":"eve"}
    """

    def __init__(self, lines: Iterable[str], dialect: Dialect, what: str) -> None:
        self._lines, self._what, self._nulls = _Lines(lines), what, frozenset(dialect.nulls)
        self._reader = csv.reader(
            self._lines,
            delimiter=dialect.delimiter or ",",
            quotechar=dialect.quote or None,
            quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
            strict=True,
        )
        try:
            self.names = next(self._reader, [])
        except csv.Error as error:
            raise InputError(f"{what}: the header cannot be read ({error}); correct it.") from None
        if not self.names:
            raise InputError(f"{what}: the first line has no column names; write a header there.")

    def payloads(self, kept: Iterable[str]) -> Iterator[bytes]:
        """A line of JSON for each row, of the columns `kept`."""
        keys = {self.names.index(name): f"{json.dumps(name, ensure_ascii=False)}:" for name in kept}
        text, nulls = json.JSONEncoder(ensure_ascii=False).encode, self._nulls
        for cells in self._cells():
            if isinstance(cells, str):
                line = text(cells)
            else:
                line = ",".join([key + text(cells[i]) for i, key in keys.items() if cells[i] not in nulls])
                line = "{" + line + "}"
            # Bytes that are not UTF-8 land as they are.
            yield (line + "\n").encode(errors="surrogateescape")

    def _cells(self) -> Iterator[list[str] | str]:
        """The cells of each row, or what is wrong with it."""
        width, lines = len(self.names), self._lines
        while True:
            lines.forget()
            number = lines.number + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._broken(number, f"{error}", lines.give_back_all_but_first())
                continue
            if len(cells) == width:
                yield cells
            elif cells:
                found = f"{len(cells)} cell{'s' if len(cells) > 1 else ''}, and the header has {width}"
                yield self._broken(number, found, "".join(lines.taken))

    def _broken(self, number: int, found: str, row: str) -> str:
        whole = row.rstrip("\r\n")
        return f"{self._what}, line {number}: {found}: {whole}"


class _Lines:
    """Lines that can be given back; `taken` are those since `forget`, and `number` is that of the last one."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rest, self._again = iter(lines), deque[str]()
        self.taken: list[str] = []
        self.number = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._rest)
        self.taken.append(line)
        self.number += 1
        return line

    def forget(self) -> None:
        self.taken.clear()

    def give_back_all_but_first(self) -> str:
        first, *others = self.taken
        self._again.extendleft(reversed(others))
        self.number -= len(others)
        return first
