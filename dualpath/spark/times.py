"""Declared times as Spark columns: `dualpath.times.Time`, translated. Nothing here raises for any text."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from dualpath.times import FINER, FIRST, LAST, MOST_DIGITS, NUMBER, POWERS, Pattern, Time

OFFSET = r"(Z|[+-][0-9:]+)\z"


def instant(raw: Column, time: Time) -> Column:
    """A payload's text as a timestamp; null where it is refused."""
    micros = F.unix_micros(_instant(raw, time)) if time.unit is None else _count(raw, time)[0]
    if time.unit is not None and not time.truncate:
        micros = F.when(~_count(raw, time)[1], micros)
    return F.when(micros.between(FIRST, LAST), F.timestamp_micros(micros))


def refusal(raw: Column, time: Time) -> Column:
    """What is wrong with a text that `instant` refuses."""
    said = [F.when(raw.rlike(_whole(expression)), F.lit(sentence)) for expression, sentence in time.refusals]
    if time.unit is not None and not time.truncate:
        said.insert(0, F.when(_count(raw, time)[1], F.lit(FINER)))
    return F.coalesce(*said, F.lit(time.otherwise))


def _instant(raw: Column, time: Time) -> Column:
    """The text matches one of few patterns, so that the cast does not guess; it cuts what is finer than microseconds.

    A time of day that the zone's clock shows twice or never is read by `to_utc_timestamp` as `Time` says.
    """
    found: Column | None = None
    for pattern in time.patterns:
        matches = raw.rlike(_whole(pattern.expression))
        # ISO-8601 with seconds, which is nearly every text, is what the cast reads.
        plain = time.format is None and "s" in pattern.letters
        written = raw if plain else F.regexp_replace(raw, _whole(pattern.expression), _target(pattern))
        read = written.try_cast("timestamp")
        if time.zone is not None:
            local = F.to_utc_timestamp(read, time.zone)
            read = F.when(raw.rlike(OFFSET), read).otherwise(local) if "X" in pattern.letters else local
        found = F.when(matches, read) if found is None else found.when(matches, read)
    assert found is not None, "a time that is no number has a pattern"
    return found


def _target(pattern: Pattern) -> str:
    """The text that the cast reads, of a pattern's groups; a group that is not there is empty."""
    group = {letter: f"${number}" for number, letter in enumerate(pattern.letters, 1)}
    decimals = f".{group['S']}" if "S" in group else ""
    clock = ":".join(group.get(letter, "00") for letter in "Hms")
    return f"{group['y']}-{group['M']}-{group['d']}T{clock}{decimals}{group.get('X', '')}"


def _count(raw: Column, time: Time) -> tuple[Column, Column]:
    """A number's whole microseconds, towards the past, and whether digits were cut, as `Time` counts them."""
    assert time.unit is not None
    number = _whole(NUMBER)
    before, after, power = (F.regexp_extract(raw, number, group) for group in (2, 3, 4))
    digits, exponent = F.concat(before, after), F.coalesce(power.try_cast("int"), F.lit(0))
    point = F.greatest(F.length(before) + exponent + F.lit(POWERS[time.unit]), F.lit(0))
    count = F.concat(F.lit("0"), F.rpad(digits, point, "0")).try_cast("bigint")
    cut = F.substring(digits, point + 1, F.length(digits)).rlike("[1-9]")
    signed = F.when(raw.startswith("-"), -count - cut.cast("bigint")).otherwise(count)
    return F.when(raw.rlike(number) & (count < 10**MOST_DIGITS), signed), cut


def _whole(expression: str) -> str:
    return rf"\A(?:{expression})\z"
