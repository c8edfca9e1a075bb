"""What the quality gate found, and the error by which it refuses days."""

from collections.abc import Sequence
from dataclasses import dataclass

from dualpath.errors import DualpathError
from dualpath.schema import EventSource


@dataclass(frozen=True)
class Failure:
    """One expectation the day does not meet.

    `expectation` is its name in Great Expectations, `column` is None if it concerns the whole table,
    `unexpected_count` the number of rows that break it (0 for the whole table), `sentence` what it demands,
    `examples` up to three offenders: values with their event id, instants in UTC. `remedy` says what to do about a
    limit; where it is empty, the log is not what was declared.
    """

    expectation: str
    column: str | None
    unexpected_count: int
    sentence: str
    examples: tuple[str, ...]
    remedy: str = ""


@dataclass(frozen=True)
class GateReport:
    """What the gate found: `checked` is the number of rows it looked at; `failures` is empty if `passed`."""

    passed: bool
    checked: int
    failures: tuple[Failure, ...]


class GateError(DualpathError):
    """The quality gate refuses days of the event log, which are not published.

    The message names the days and every failed expectation.
    """

    code = "quality-gate"

    def __init__(self, source: EventSource, days: Sequence[str], report: GateReport) -> None:
        self.report = report
        found = "; ".join(_clause(failure) for failure in report.failures)
        which, those = (f"day {days[0]}", "that day") if len(days) == 1 else (f"days {', '.join(days)}", "those days")
        remedies = [f.remedy or f"repair {those} of the event log" for f in report.failures]
        todo = ", ".join(dict.fromkeys(remedies))
        super().__init__(
            f"{source.name}, arrival {which}: the quality gate refuses the {report.checked} stored events "
            f"because {found}. Nothing was published; {todo} and run the job again."
        )


def _clause(failure: Failure) -> str:
    example = f", for example {failure.examples[0]}" if failure.examples else ""
    if failure.column is None:
        return f"{failure.expectation} does not hold ({failure.sentence}){example}"
    return (
        f"{failure.expectation} does not hold on {failure.column} ({failure.sentence}): "
        f"{failure.unexpected_count} events{example}"
    )
