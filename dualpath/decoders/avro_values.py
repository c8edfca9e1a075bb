"""The JSON forms of Avro's values, where JSON has none of its own; no digit is lost by any."""

import math
from base64 import b64encode
from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import numpy as np

EPOCH = date(1970, 1, 1)
DAY_SECONDS = 86_400


def decimal(value: bytes, schema: Any, *_: Any) -> str:
    """All digits, as many behind the point as the schema's scale: the text of 12.50 is `12.50`."""
    unscaled, scale = int.from_bytes(value, "big", signed=True), schema.get("scale", 0)
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    text = f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits
    return f"-{text}" if unscaled < 0 else text


def double(value: float, *_: Any) -> float | str:
    """Itself, which JSON writes so that it comes back bit for bit; one that is not finite is a text."""
    return value if math.isfinite(value) else _not_finite(value)


def single(value: float, *_: Any) -> float | str:
    """The number with the fewest digits that is this float32: 0.1 and not 0.10000000149011612."""
    return float(str(np.float32(value))) if math.isfinite(value) else _not_finite(value)


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def binary(value: bytes, *_: Any) -> str:
    """Base64."""
    return b64encode(value).decode()


def uuid(value: bytes, *_: Any) -> str:
    """With hyphens, in small letters."""
    return str(UUID(bytes=value))


@lru_cache(65_536)
def _day(days: int) -> str:
    return (EPOCH + timedelta(days)).isoformat()


def day(value: int, *_: Any) -> str | int:
    """ISO-8601; a day outside the years 1 to 9999 remains the number that it is, and the stream refuses it."""
    try:
        return _day(value)
    except OverflowError:
        return value


def _clock(units: int, digits: int) -> str:
    """A time of day of so many decimals of a second."""
    seconds, fraction = divmod(units, 10**digits)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:0{digits}}"


def clock(digits: int) -> Callable[..., str]:
    """Times of day, `10:00:00.000000`."""
    return lambda value, *_: _clock(value, digits)


def instant(digits: int, suffix: str) -> Callable[..., str | int]:
    """Instants in ISO-8601, with all decimals of the unit; outside the years 1 to 9999 the number, as for days."""
    units = DAY_SECONDS * 10**digits

    def text(value: int, *_: Any) -> str | int:
        days, rest = divmod(value, units)
        try:
            return f"{_day(days)}T{_clock(rest, digits)}{suffix}"
        except OverflowError:
            return value

    return text


UNITS = (("millis", 3), ("micros", 6), ("nanos", 9))
FORMS: dict[tuple[str, str], Callable[..., Any]] = {
    ("bytes", "decimal"): decimal,
    ("fixed", "decimal"): decimal,
    ("bytes", "plain"): binary,
    ("fixed", "plain"): binary,
    ("fixed", "uuid"): uuid,
    ("double", "plain"): double,
    ("float", "plain"): single,
    ("int", "date"): day,
    ("int", "time-millis"): clock(3),
    ("long", "time-micros"): clock(6),
    **{("long", f"timestamp-{unit}"): instant(digits, "Z") for unit, digits in UNITS},
    **{("long", f"local-timestamp-{unit}"): instant(digits, "") for unit, digits in UNITS},
}
"""By type and logical type, `plain` being that of a value without one; what is not here is JSON as it is."""
