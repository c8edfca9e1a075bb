"""The clocks of devices: an event's time is corrected by when it was sent, and judged by when it arrived.

Pure data and arithmetic, no engine. All instants are microseconds since 1970-01-01 UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, ClassVar

from dualpath.errors import DeclarationError
from dualpath.signature import declares

DAY = timedelta(days=1)
LONGEST = timedelta(days=36_500)
"""So far from an instant of the years 1 to 9999, every engine can still say when it is."""
REFUSE, ARRIVAL = "refuse", "arrival"


@declares
@dataclass(frozen=True)
class Future:
    """What becomes of an event that happens after it arrives, because a clock is wrong or the event is only planned.

    Args:
        tolerance: how long after the arrival an event may happen; up to then its time stays as it is.
        beyond: what becomes of one that happens later still. "refuse": the row goes to the dead-letter table.
            "arrival": it happens when it arrives.

    Raises `DeclarationError` for a tolerance below zero or beyond a hundred years, and any other `beyond`.

    >>> Future(timedelta(minutes=5), beyond="arrival")
    Future(tolerance=datetime.timedelta(seconds=300), beyond='arrival')
    >>> Future(beyond="now")
    Traceback (most recent call last):
    dualpath.errors.DeclarationError: <doctest dualpath.clock.Future[1]>:1: future: beyond is 'now'; write "refuse" or \
"arrival".
    """

    tolerance: timedelta = DAY
    beyond: str = REFUSE

    called: ClassVar[str] = "a Future(tolerance)"

    def __post_init__(self) -> None:
        if not timedelta(0) <= self.tolerance <= LONGEST:
            raise DeclarationError(f"future: the tolerance is {self.tolerance}; write one from 0 to a hundred years.")
        if self.beyond not in (REFUSE, ARRIVAL):
            raise DeclarationError(f'future: beyond is {self.beyond!r}; write "{REFUSE}" or "{ARRIVAL}".')

    @property
    def micros(self) -> int:
        """The tolerance in microseconds."""
        return self.tolerance // timedelta(microseconds=1)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form of what is not the default; `from_dict` restores an equal rule."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        plain = {name: value for name, value in plain.items() if value != getattr(Future, name)}
        return {**plain, "tolerance": self.micros} if "tolerance" in plain else plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Future":
        """The inverse of `to_dict`."""
        span = {"tolerance": timedelta(microseconds=plain["tolerance"])} if "tolerance" in plain else {}
        return cls(**{**plain, **span})


def corrected(event_time: Any, arrival_time: Any, sent_at: Any) -> Any:
    """When an event happened whose device sent it at `sent_at` by its own clock; three integers or columns of Spark.

    The device's clock is ahead by `sent_at - arrival_time`, if the message took no time, so this much is taken off.
    Source: Segment's specification, "timestamp = receivedAt - (sentAt - originalTimestamp)".

    >>> corrected(event_time=5_000, arrival_time=90, sent_at=5_010)
    80
    """
    return event_time + (arrival_time - sent_at)
