"""Counts and days in sentences."""

from collections.abc import Sequence

NAMED = 5
"""Days up to which a sentence names each."""


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "file"), plural(12000, "row"), plural(2, "batch")
    ('1 file', '12,000 rows', '2 batches')
    """
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{ending}"


def days(arrival_days: Sequence[str]) -> str:
    """Arrival days: all of a few, else how many and the first and the last.

    >>> days(["2026-03-01"]), days(["2026-03-01", "2026-03-02"])
    ('2026-03-01', '2026-03-01, 2026-03-02')
    >>> days([f"2026-03-{day:02d}" for day in range(1, 31)])
    '30 arrival days, 2026-03-01 to 2026-03-30'
    """
    few = len(arrival_days) <= NAMED
    return (
        ", ".join(arrival_days) if few else f"{len(arrival_days)} arrival days, {arrival_days[0]} to {arrival_days[-1]}"
    )
