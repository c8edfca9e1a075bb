"""What became of rows: each is accepted, a duplicate, a dead letter, or skipped; some were erased later."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """The outcomes of all rows of a batch, or of several batches.

    A message is a row, or, of a source with `each`, a row for every element of its list, or one if it has none. Rows of
    no event of the source are `skipped`. `further` rows are those after the first of their message.
    `late` rows, and rows `out_of_retention`, which no window can reach, are among the accepted ones. `latest_by` is how
    late the latest row came, microseconds; `newest_arrival` is when the last accepted row arrived, microseconds UTC.

    `erased` rows had been accepted, duplicates or dead letters, and are no longer counted there (`dualpath.erasure`).
    What was noted of rows when they were read stays: `late`, `out_of_retention`, `further` and the latest of all.
    """

    rows_read: int = 0
    accepted: int = 0
    duplicate: int = 0
    dead_letter: int = 0
    skipped: int = 0
    late: int = 0
    out_of_retention: int = 0
    further: int = 0
    erased: int = 0
    latest_by: int = 0
    newest_arrival: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of rows, by name."""
        return {name: getattr(self, name) for name in (*COUNTS, "erased")}

    @property
    def adds_up(self) -> bool:
        """Whether every row that was read has one outcome.

        >>> Outcomes(rows_read=3, accepted=2, duplicate=1).adds_up, Outcomes(rows_read=3, accepted=2).adds_up
        (True, False)
        """
        return self.rows_read == self.erased + sum(getattr(self, outcome) for outcome in OUTCOMES)

    @property
    def messages(self) -> int:
        """How many messages the rows are of.

        >>> Outcomes(rows_read=5, accepted=5, further=3).messages
        2
        """
        return self.rows_read - self.further

    def plus(self, other: "Outcomes") -> dict[str, int]:
        """The outcomes of both, as fields: counts add up, and the latest of all rows is the later one.

        >>> Outcomes(**Outcomes(accepted=2, latest_by=7).plus(Outcomes(accepted=1, latest_by=5))).accepted
        3
        """
        sums = {name: count + getattr(other, name) for name, count in self.counts.items()}
        return sums | {name: max(getattr(self, name), getattr(other, name)) for name in GREATEST}


OUTCOMES = ("accepted", "duplicate", "dead_letter", "skipped")
"""Each row has one of them, until it is erased."""
GREATEST = ("latest_by", "newest_arrival")
COUNTS = tuple(field.name for field in fields(Outcomes) if field.name not in (*GREATEST, "erased"))
"""What is counted of rows when they are read."""
