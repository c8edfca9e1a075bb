"""Declared times as Spark columns: `dualpath.times.Time`, translated. Nothing here raises for any text."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from dualpath.times import DECIMALS, DIGITS, FINER, FIRST, LAST, NUMBER, POWERS, Pattern, Time

EXPONENT = r"[eE]\+?([0-9]+)\z"
OFFSET = r"(Z|[+-][0-9:]+)\z"


def instant(raw: Column, time: Time) -> Column:
    """A payload's text as a timestamp; null where it is refused."""
    if time.unit is None:
        read = _instant(raw, time)
        # Only of the first and the last year can an offset lead out of all years. Others are read once, and not for a
        # comparison too: every event has such a time.
        first_or_last = raw.contains("0001") | raw.contains("9999") if time.format else ~raw.between("0002", "9999")
        return F.when(first_or_last, F.when(F.unix_micros(read).between(FIRST, LAST), read)).otherwise(read)
    count = _count(raw, time)
    whole = F.floor(count)
    good = whole.between(FIRST, LAST) if time.truncate else (count == whole) & whole.between(FIRST, LAST)
    exact = F.when(good, F.timestamp_micros(whole.try_cast("bigint")))
    power = POWERS[time.unit]
    # So few digits alone, as nearly every number has, are an instant of the next three thousand years.
    kept = raw if power >= 0 else F.substring(raw, F.lit(1), F.length(raw) + power)
    cut = "[0-9]" if time.truncate else "0"
    digits = rf"\A[0-9]{{1,{17 - max(power, 0)}}}{cut}{{{max(-power, 0)}}}\z"
    plain = F.timestamp_micros(kept.try_cast("bigint") * 10 ** max(power, 0))
    return F.when(raw.rlike(digits), plain).otherwise(exact)


def refusal(raw: Column, time: Time) -> Column:
    """What is wrong with a text that `instant` refuses."""
    said = [F.when(raw.rlike(entire(expression)), F.lit(sentence)) for expression, sentence in time.refusals]
    if time.unit is not None and not time.truncate:
        said.insert(0, F.when(_count(raw, time) != F.floor(_count(raw, time)), F.lit(FINER)))
    return F.coalesce(*said, F.lit(time.otherwise))


def _instant(raw: Column, time: Time) -> Column:
    """The text matches one of few patterns, so that the cast does not guess; it cuts what is finer than microseconds.

    A time of day that the zone's clock shows twice or never is read by `to_utc_timestamp` as `Time` says.
    """
    found: Column | None = None
    for pattern in time.patterns:
        matches = raw.rlike(entire(pattern.expression))
        # ISO-8601 with seconds, which is nearly every text, is what the cast reads.
        plain = time.format is None and "s" in pattern.letters
        written = raw if plain else F.regexp_replace(raw, entire(pattern.expression), _target(pattern))
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


def _count(raw: Column, time: Time) -> Column:
    """The microseconds of a number, with what is finer, a decimal; null if it is none, or has too many digits."""
    assert time.unit is not None
    power = POWERS[time.unit]
    given = F.coalesce(F.regexp_extract(raw, EXPONENT, 1).try_cast("int"), F.lit(0))
    # The exponent moves the point before there is a decimal, whose product would lose digits.
    moved = F.concat(F.substring_index(F.upper(raw), "E", 1), F.lit("E"), (given + F.lit(power)).cast("string"))
    count = moved.try_cast(f"decimal({DIGITS},{DECIMALS - min(power, 0)})")
    return F.when(raw.rlike(entire(NUMBER)), count)


def entire(expression: str) -> str:
    """An expression that a whole text must match. `$` would also match before a line's end."""
    return rf"\A(?:{expression})\z"
