"""How a payload writes an instant: in ISO-8601, by a pattern, or as a number since 1970.

No engine: a declared time becomes regular expressions that Python and Java read alike, so each engine takes and refuses
the same texts.
"""

import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Context, Decimal
from functools import cached_property
from math import floor
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dualpath.errors import DeclarationError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
FIRST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
LAST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
"""The first and the last microsecond of the years 1 to 9999."""

POWERS = {"s": 6, "ms": 3, "us": 0, "ns": -3}
"""The units, each as the power of ten that makes microseconds of it."""
NUMBER = r"[+-]?[0-9]+(?:\.[0-9]{0,18})?(?:[eE]\+?1?[0-9])?"
DIGITS, DECIMALS = 38, 18
"""How many digits engines hold of a number of microseconds, and the decimals of a number that is read."""
EXACT = Context(prec=60)


def _offset(minutes: str, none: str) -> str:
    """Z, or hours and minutes east of UTC, at most the eighteen hours that Java knows."""
    return rf"(Z|[+-](?:(?:0[0-9]|1[0-7]){minutes}|18{none}))"


PARTS = {
    "yyyy": "((?!0000)[0-9]{4})",
    "M": "(1[0-2]|0?[1-9])",
    "MM": "(0[1-9]|1[0-2])",
    "d": "(3[01]|[12][0-9]|0?[1-9])",
    "dd": "(0[1-9]|[12][0-9]|3[01])",
    "H": "(2[0-3]|1[0-9]|0?[0-9])",
    "HH": "([01][0-9]|2[0-3])",
    "mm": "([0-5][0-9])",
    "ss": "([0-5][0-9])",
    "X": _offset("(?:[0-5][0-9])?", "(?:00)?"),
    "XX": _offset("[0-5][0-9]", "00"),
    "XXX": _offset(":[0-5][0-9]", ":00"),
}
"""What a pattern may consist of beside S and other characters; the letters mean what they mean in Spark's patterns."""
TOKEN = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|.", re.DOTALL)
DATE, CLOCK = f"{PARTS['yyyy']}-{PARTS['MM']}-{PARTS['dd']}", f"{PARTS['HH']}:{PARTS['mm']}"
ISO_OFFSET = f"{_offset('(?::?[0-5][0-9])?', '(?::?00)?')}?"
ZEROS, ANY, NOT_ZEROS = ("", "0"), ("", "[0-9]"), ("(?=[0-9]{6}0*[1-9])", "[0-9]")
"""What follows the sixth decimal of a second: an expression before the decimals, and each further digit."""
FINER = "is finer than a microsecond; declare truncate=True to cut it"
OUTSIDE = "lies outside the years 1 to 9999"


@dataclass(frozen=True)
class Pattern:
    """A regular expression that a whole text must match, and the letters of its groups in their order."""

    expression: str
    letters: str


@dataclass(frozen=True)
class Time:
    """How a payload writes an instant.

    By default it is ISO-8601: date, `T` or a space, hours and minutes; then, if need be, seconds with at most nine
    decimals, and an offset: `Z`, `+05:30`, `+0530` or `+05`.

    `unit`: a number of seconds, milliseconds, microseconds or nanoseconds since 1970 UTC ("s", "ms", "us", "ns"), or
    a text of one, with at most 18 decimals, or with an exponent that is not negative, as doubles are printed. It is
    read exactly as long as it is a text; a JSON number with a fraction is a double for JSON readers, which in seconds
    holds the microseconds of some centuries.

    `format`: a text by a pattern of the letters `yyyy`, `M` or `MM`, `d` or `dd`, `H` or `HH` (0 to 23), `mm`, `ss`,
    `S` to `SSSSSSSSS` (decimals of the second), and `X`, `XX` or `XXX` (`Z`, or `+05`, `+0530`, `+05:30`). They mean
    what they mean in Spark. Other characters stand for themselves, letters between single quotes.

    `zone`: the time zone of a text without an offset, UTC by default. Of an hour that a clock shows twice it is the
    first one, and a time that a clock skips is moved forward by the gap, as Spark does.

    `truncate`: digits finer than a microsecond are cut, towards the past. Otherwise they must be zeros.

    Raises `DeclarationError` for options that are wrong or contradict each other.

    >>> Time(format="dd/MM/yyyy HH:mm", zone="Europe/Berlin").micros("26/10/2025 02:30")
    1761438600000000
    >>> Time(unit="ms").micros("1761438600000.25"), Time(unit="ns", truncate=True).micros("-1")
    (1761438600000250, -1)
    >>> Time(format="hh:mm")
    Traceback (most recent call last):
    dualpath.errors.DeclarationError: format='hh:mm': 'hh' is none of yyyy, M, MM, d, dd, H, HH, mm, ss, X, XX, XXX, \
S to SSSSSSSSS; write one of them, or put text between single quotes.
    """

    unit: str | None = None
    zone: str | None = None
    format: str | None = None
    truncate: bool = False

    def __post_init__(self) -> None:
        if self.zone is not None:
            check_zone(self.zone)
        if self.unit is not None:
            if self.unit not in POWERS:
                raise DeclarationError(f"unit='{self.unit}' is none of {', '.join(POWERS)}; write one of them.")
            if self.zone is not None or self.format is not None:
                raise DeclarationError("a number since 1970 has no zone and no format; declare unit alone.")
        if self.format is not None and "X" in self._pattern(ZEROS).letters and self.zone is not None:
            raise DeclarationError(f"format='{self.format}' has an offset, so no zone counts; remove one of the two.")

    def __repr__(self) -> str:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return f"Time({', '.join(f'{name}={value!r}' for name, value in given.items() if value)})"

    @cached_property
    def patterns(self) -> tuple[Pattern, ...]:
        """What its texts look like, the usual one first; none if it is a number."""
        return self._patterns(ANY if self.truncate else ZEROS)

    def _patterns(self, decimals: tuple[str, str]) -> tuple[Pattern, ...]:
        if self.unit is not None:
            return ()
        if self.format is not None:
            return (self._pattern(decimals),)
        before, more = decimals
        perhaps = "" if decimals == NOT_ZEROS else "?"
        seconds = rf":{PARTS['ss']}(?:\.{before}([0-9]{{1,6}}){more}{{0,3}}){perhaps}"
        return (
            Pattern(f"{DATE}[T ]{CLOCK}{seconds}{ISO_OFFSET}", "yMdHmsSX"),
            Pattern(f"{DATE}[T ]{CLOCK}{ISO_OFFSET}", "yMdHmX"),
        )

    def _pattern(self, decimals: tuple[str, str]) -> Pattern:
        """The format as a regular expression."""
        assert self.format is not None
        where, found, letters, open_ended = f"format='{self.format}'", "", "", ""
        for token in TOKEN.finditer(self.format):
            part, letter = token[0], token[2]
            if not letter:
                if part == "'":
                    raise DeclarationError(f"{where}: a single quote is not closed; close it, or write two for one.")
                found += re.escape(part if token[1] is None else token[1].replace("''", "'") or "'")
                open_ended = ""
                continue
            if part.strip("S") == "" and len(part) <= 9:
                before, more = decimals
                found += f"{before}([0-9]{{{min(len(part), 6)}}}){more}{{{max(len(part) - 6, 0)}}}"
            elif part in PARTS:
                found += PARTS[part]
            else:
                raise DeclarationError(
                    f"{where}: '{part}' is none of {', '.join(PARTS)}, S to SSSSSSSSS; "
                    "write one of them, or put text between single quotes."
                )
            if letter in letters:
                raise DeclarationError(f"{where}: '{letter}' is there twice; remove one.")
            if open_ended and letter != "X":
                raise DeclarationError(f"{where}: nothing says where '{open_ended}' ends; write it twice.")
            letters += letter
            open_ended = part if part in ("M", "d", "H") else ""
        for unless, needed in (("", "yMd"), ("m", "H"), ("s", "m"), ("S", "s")):
            if unless in letters and (missing := [each for each in needed if each not in letters]):
                raise DeclarationError(f"{where}: there is no '{missing[0]}'; the rest says no instant without it.")
        return Pattern(found, letters)

    @cached_property
    def refusals(self) -> tuple[tuple[str, str], ...]:
        """Why a text that is not read is refused: expressions, and what the first one that matches it whole says."""
        iso = "|".join(pattern.expression for pattern in Time(truncate=True).patterns)
        if self.unit is not None:
            return (NUMBER, OUTSIDE), (iso, "is a text and not a number; declare it without unit")
        finer = "|".join(pattern.expression for pattern in self._patterns(NOT_ZEROS) if "S" in pattern.letters)
        if self.format is not None:
            known = (iso, "is in ISO-8601; declare it without format")
            return ((finer, FINER), known) if finer else (known,)
        return (
            (finer, FINER),
            (NUMBER, f"is a number; declare its unit, one of {', '.join(POWERS)}"),
            (DATE, "is a date alone; declare format='yyyy-MM-dd' to read its midnight"),
        )

    @property
    def otherwise(self) -> str:
        """Why any other text is refused."""
        if self.unit is not None:
            return f"is not a number in {self.unit} since 1970"
        return "is not an ISO-8601 instant" if self.format is None else f"is not of the format {self.format}"

    def micros(self, text: str) -> int | None:
        """Microseconds since 1970 UTC; None for a text that is refused."""
        if self.unit is None:
            found = self._instant(text)
        else:
            count = self._count(text)
            found = None if count is None or (count % 1 and not self.truncate) else floor(count)
        return found if found is not None and FIRST <= found <= LAST else None

    def refusal(self, text: str) -> str:
        """What is wrong with a text that `micros` does not read.

        >>> Time().refusal("1761438600"), Time().refusal("2026-03-01T10:00:00.123456789Z")
        ('is a number; declare its unit, one of s, ms, us, ns', \
'is finer than a microsecond; declare truncate=True to cut it')
        """
        if self.unit is not None and not self.truncate and (self._count(text) or 0) % 1:
            return FINER
        said = (sentence for expression, sentence in self.refusals if re.fullmatch(expression, text))
        return next(said, self.otherwise)

    def _count(self, text: str) -> Decimal | None:
        """The microseconds of a number, with what is finer; None if it is none, or has too many digits."""
        assert self.unit is not None
        if not re.fullmatch(NUMBER, text):
            return None
        power = POWERS[self.unit]
        count = Decimal(text).scaleb(power, EXACT)
        return count if count.copy_abs() < 10 ** (DIGITS - DECIMALS + min(power, 0)) else None

    def _instant(self, text: str) -> int | None:
        for pattern in self.patterns:
            if found := re.fullmatch(pattern.expression, text):
                part = dict(zip(pattern.letters, found.groups(), strict=True))
                year, month, day, hour, minute, second = (int(part.get(letter) or 0) for letter in "yMdHms")
                decimals = (part.get("S") or "").ljust(6, "0")
                try:
                    wall = datetime(year, month, day, hour, minute, second, int(decimals))
                except ValueError:
                    return None  # the 30th of February
                return (wall.replace(tzinfo=self._zone(part.get("X"))) - EPOCH) // MICROSECOND
        return None

    def _zone(self, offset: str | None) -> tzinfo:
        """The time zone of a text whose offset, if it has one, is given."""
        if offset is None:
            return ZoneInfo(self.zone or "UTC")
        digits = offset[1:].replace(":", "").ljust(4, "0")
        east = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        return timezone(-east if offset[0] == "-" else east)


ISO = Time()


def check_zone(name: str) -> None:
    """Raise `DeclarationError` unless a time zone of this name is known."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise DeclarationError(f"unknown time zone '{name}'; use an IANA name such as Europe/London.") from None
