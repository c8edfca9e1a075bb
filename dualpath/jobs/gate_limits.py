"""The declared limits of days: the share of refused rows, by the ledger, and the volume, by earlier nights."""

from collections.abc import Mapping, Sequence
from statistics import median

from dualpath.jobs.gate_report import Failure
from dualpath.limits import ENOUGH_ROWS, Limits
from dualpath.log.storage import Storage

REASONS = 3
"""How many reasons of dead letters a failure names. They are of the batches that hold rows of the day, or accepted none
and have their clock on it."""


def refused_share(storage: Storage, limits: Limits, counts: Mapping[str, tuple[int, int]]) -> list[Failure]:
    """The days with too many refused rows; `counts` are each day's rows read and refused."""
    found = []
    for day, (read, dead) in counts.items():
        if read >= ENOUGH_ROWS and dead > limits.refused * read:
            why = list(storage.accounts().of_day(day).reasons().items())[:REASONS]
            sentence = (
                f"of the {read:,} rows read on {day}, {dead:,} were refused, {dead / read:.2%}; "
                f"the limit is {limits.refused:.2%}"
            )
            examples = (", ".join(f"'{reason}' ({rows:,} rows)" for reason, rows in why),) if why else ()
            remedy = (
                "fix the producer and deliver the rows again, or declare the option by which these rows are taken; to "
                "publish nonetheless raise `limits.refused` of the source, run `feast apply`"
            )
            found.append(Failure("refused share", None, dead, sentence, examples, remedy))
    return found


def volume(limits: Limits, rows: Mapping[str, int], earlier: Sequence[int]) -> list[Failure]:
    """The days with too few or too many events; `rows` are each day's, `earlier` those of passed days, oldest first.

    >>> from dualpath.limits import Limits
    >>> [f.sentence for f in volume(Limits(least=0.5, days=3), {"2026-03-04": 4}, [10, 12, 8])]
    ['2026-03-04 has 4 events, and the limit is at least 5, 0.5 times 10, the median of the last 3 days that passed']
    """
    last = list(earlier)[-limits.days :]
    if len(last) < limits.days:
        return []
    middle, found = median(last), []
    bounds = [("least", limits.least), ("most", limits.most)]
    for day, count in rows.items():
        for name, times in bounds:
            if times is None or (count >= times * middle if name == "least" else count <= times * middle):
                continue
            sentence = (
                f"{day} has {count:,} events, and the limit is at {name} {times * middle:,g}, {times:g} times "
                f"{middle:,g}, the median of the last {limits.days} days that passed"
            )
            remedy = (
                "fix the producer, or, if the day is right, "
                f"{'lower' if name == 'least' else 'raise'} `limits.{name}` of the source, run `feast apply`"
            )
            found.append(Failure("volume", None, 0, sentence, (), remedy))
    return found
