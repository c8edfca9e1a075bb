"""What a payload's text is to a field: its value, or why it is refused, and the option of the field that would take it.

No engine: texts are told by regular expressions that Python and Java read alike, and numbers are decimals, so each
engine takes and refuses the same texts. JSON does not say here whether a value stood in quotes: `3` and `"3"` are the
text 3. Of a JSON number with a point or an exponent it is what a double is printed as (`1.0E7`).
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache
from typing import Any

from dualpath.field import Field
from dualpath.leniency import BLANKS
from dualpath.schema import DECIMAL_BOUND, IDENTIFIER_BOUND
from dualpath.times import NUMBER as PRINTED

BLANK = f"[{BLANKS}]*"
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"
NOT_FINITE = r'"?[+-]?([nN][aA][nN]|[iI][nN][fF]([iI][nN][iI][tT][yY])?)"?'
DIGITS = r"[+-]?[0-9]+"
PLAIN = {"integer": r"[+-]?[0-9]{1,18}", "identifier": r"[+-]?0*[0-9]{1,19}"}
"""Whole numbers in their plain form. Another spelling is `PRINTED`, as times have it: what doubles are printed as."""
WHOLE = 2**53 - 1
"""Up to here a double stands for exactly one whole number."""
TRUE = ("true", "t", "yes", "y", "on", "1", "1.0")
FALSE = ("false", "f", "no", "n", "off", "0", "0.0")
FINEST = 18
"""The most digits after the point that are told apart from none."""
LARGEST = 38
"""The most digits before the point that are a number at all."""
EXACT = Context(prec=LARGEST + FINEST, rounding=ROUND_HALF_UP)
OPTIONS = {
    "text": ("empty_is_null",),
    "integer": ("empty_is_null", "lenient"),
    "identifier": ("empty_is_null", "lenient"),
    "decimal": ("empty_is_null", "lenient", "rounded", "lenient rounded"),
    "double": ("empty_is_null", "lenient"),
    "boolean": ("empty_is_null", "lenient"),
    "timestamp": ("empty_is_null",),
}
"""The options of each kind that may take a text that is refused, and those that may do so together."""


def written(value: Any) -> str | None:
    r"""A value as payloads write it, an object or a list as its JSON text; None if a payload cannot have it.

    >>> print(written({"said": "Zoë 😀"}))
    {"said":"Zoë \uD83D\uDE00"}
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping | list | tuple):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
        return re.sub("[^\0-\uffff]", _pair, text)
    return str(value) if isinstance(value, str | int | float | Decimal) else None


def _pair(character: re.Match[str]) -> str:
    """A character of two halves in UTF-16 as Spark's writer of JSON has it."""
    halves = character[0].encode("utf-16-be").hex().upper()
    return rf"\u{halves[:4]}\u{halves[4:]}"


def given(text: str | None, field: Field) -> str | None:
    """The text that is judged; None is null."""
    if text is None or (field.leniency.empty_is_null and re.fullmatch(BLANK, text)):
        return None
    return text.strip(BLANKS) if field.leniency.lenient else text


def value(text: str | None, field: Field) -> Any:
    """A text as a value of the field, an instant as microseconds UTC; None for null, and for a text that is refused.

    >>> from dualpath.schema import decimal, integer
    >>> value("3.0", integer("n")), value("3.0", integer("n", lenient=True))
    (None, 3)
    >>> value("19.990000000000002", decimal("price", scale=2, rounded=True))
    Decimal('19.99')
    """
    said = given(text, field)
    return None if said is None or _fault(said, field) else _read(said, field)


def refusal(text: str | None, field: Field) -> str | None:
    """Why a row is refused for its text of the field; None if it is not.

    >>> from dualpath.schema import integer
    >>> refusal("3.0", integer("n"))
    'n is not of kind integer: 3.0 (integer(..., lenient=True) takes it)'
    """
    said = given(text, field)
    if field.required and not said:
        return f"{field} is missing"
    if text is None or said is None or (fault := _fault(said, field)) is None:
        return None
    return f"{field} {fault}: {text[:80]}{remedy(text, field)}"


def remedy(text: str, field: Field) -> str:
    """The words that name the declaration that would take a text, after a blank; empty if there is none."""
    return next((words for other, words in remedies(field) if _takes(text, other)), "")


def _takes(text: str, field: Field) -> bool:
    said = given(text, field)
    return (said is None or _fault(said, field) is None) and not (field.required and not said)


@lru_cache(maxsize=1024)
def remedies(field: Field) -> tuple[tuple[Field, str], ...]:
    """The field with other options that may take a text which it refuses, the least change first, and their words."""
    return tuple(_remedies(field))


def _remedies(field: Field) -> Iterator[tuple[Field, str]]:
    for other, more in _with_options(field):
        yield other, f" ({field.kind}(..., {more}) takes it)"
    if field.kind == "integer":
        wide = replace(field, kind="identifier")
        yield wide, " (identifier(...) takes it)"
        for other, more in _with_options(wide):
            if "empty_is_null" not in more:
                yield other, f" (identifier(..., {more}) takes it)"


def _with_options(field: Field) -> Iterator[tuple[Field, str]]:
    if field.kind == "text" and not field.choices:
        return  # it refuses no text
    for names in map(str.split, OPTIONS[field.kind]):
        missing = {name: True for name in names if not getattr(field.leniency, name)}
        # Two options of which one is there are another entry.
        if len(missing) == len(names) and not (field.required and "empty_is_null" in missing):
            yield (
                replace(field, leniency=replace(field.leniency, **missing)),
                ", ".join(f"{name}=True" for name in names),
            )


def _fault(text: str, field: Field) -> str | None:
    """What is wrong with a text that is not null; the text has no blanks around it if the field is lenient."""
    match field.kind:
        case "text":
            return "is not one of the declared choices" if field.choices and text not in field.choices else None
        case "timestamp":
            return field.time.refusal(text) if field.time.micros(text) is None else None
        case "decimal":
            return _decimal_fault(text, field)
        case "double":
            if re.fullmatch(NOT_FINITE, text):
                return "is not finite"
            if re.fullmatch(NUMBER, text):
                return None if math.isfinite(float(text)) else "is too large"
        case "boolean":
            if _boolean(text, field) is not None:
                return None
        case _:
            return _whole_fault(text, field)
    return f"is not of kind {field.kind}"


def _read(text: str, field: Field) -> Any:
    """The value of a text that has no fault."""
    match field.kind:
        case "text":
            return text
        case "timestamp":
            return field.time.micros(text)
        case "decimal":
            return _to_scale(Decimal(text), field.scale)
        case "double":
            return float(text)
        case "boolean":
            return _boolean(text, field)
    return _whole(text, field)


def _boolean(text: str, field: Field) -> bool | None:
    if not field.leniency.lenient:
        return {"true": True, "false": False}.get(text)
    low = text.lower()
    return True if low in TRUE else False if low in FALSE else None


def _whole(text: str, field: Field) -> int | None:
    """A whole number of any size; None if the text is none."""
    if re.fullmatch(PLAIN[field.kind], text):
        return int(text)
    if not field.leniency.lenient or not re.fullmatch(PRINTED, text):
        return None
    number = Decimal(text)
    return int(number) if number.copy_abs() <= WHOLE and number % 1 == 0 else None


def _whole_fault(text: str, field: Field) -> str | None:
    number, bound = _whole(text, field), IDENTIFIER_BOUND if field.kind == "identifier" else DECIMAL_BOUND
    if number is not None and abs(number) <= bound:
        return None
    if field.kind == "identifier" and re.fullmatch(DIGITS, text):
        return "is outside -(2^63 - 1) to 2^63 - 1; declare text"
    return f"is not of kind {field.kind}" if number is None else "is too large"


def _decimal_fault(text: str, field: Field) -> str | None:
    if re.fullmatch(NOT_FINITE, text):
        return "is not finite"
    if not re.fullmatch(NUMBER, text):
        return "is not of kind decimal"
    number, bound = Decimal(text), Decimal(DECIMAL_BOUND).scaleb(-field.scale)
    if number.adjusted() >= LARGEST:
        return "is too large"
    near = _to_scale(number, field.scale if field.leniency.rounded else FINEST)
    if near.copy_abs() > bound:
        return "is too large"
    if field.leniency.rounded or (near == _to_scale(number, field.scale) and _decimals(text) <= FINEST):
        return None
    return f"has more than {field.scale} decimals"


def _to_scale(number: Decimal, scale: int) -> Decimal:
    """A number at a scale; of the two zeros the one without a sign."""
    return EXACT.add(EXACT.quantize(number, Decimal(1).scaleb(-scale)), Decimal(0))


def _decimals(text: str) -> int:
    """How many digits after the point a number is written with, without zeros at their end."""
    mantissa, _, exponent = text.lower().partition("e")
    return len(mantissa.partition(".")[2].rstrip("0")) - int(exponent or 0)
