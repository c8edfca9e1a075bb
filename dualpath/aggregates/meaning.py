"""Plain arithmetic in which aggregates state what they mean, for the oracle. Never optimised, never clever."""

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from dualpath.expression import Type
from dualpath.words import code

MARK = "@mark"
"""In an event of a view of several sources: what tells its id from equal ones of others (`dualpath.view.mark`)."""
Found = tuple[int, int, Any, Mapping[str, Any]]
"""An event that counts: its time, the code of its id, the value that is aggregated, and all of it."""


def counting(events: Iterable[Mapping[str, Any]], of: str | None, where: str | None) -> list[Found]:
    """The events that pass the condition and have a value."""
    found = []
    for event in events:
        value = event[of] if of else True
        if (where is None or event[where] is True) and value is not None:
            found.append((event["event_time"], code(event["event_id"]) ^ event.get(MARK, 0), value, event))
    return found


def total(found: list[Found]) -> Fraction:
    """The exact sum."""
    return sum((Fraction(value) for _, _, value, _ in found), Fraction(0))


def real(exact: Fraction) -> float:
    """The nearest double, or infinity; one zero."""
    try:
        return float(exact) + 0.0
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def rounded(exact: Fraction, of: Type) -> int | float:
    """An exact sum as a model sees it."""
    return int(exact) if of.kind == "integer" else real(exact)


def seen(value: Any) -> Any:
    """A value as a model sees it: exact numbers rounded once to a double, one zero."""
    return float(value) + 0.0 if isinstance(value, Decimal | float) else value


def each_text(found: list[Found], by: str, value: Callable[[list[Found]], Any]) -> dict[str, Any]:
    """What `value` makes of the events of every text, texts ascending."""
    texts = sorted({event[by] for *_, event in found if event[by] is not None})
    return {text: value([f for f in found if f[3][by] == text]) for text in texts}
