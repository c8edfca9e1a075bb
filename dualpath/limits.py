"""What a night of a source may look like and still be published."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from dualpath.errors import DeclarationError
from dualpath.signature import declares

ENOUGH_ROWS = 100
"""Rows of a day below which the share of refused ones says nothing: somebody tries out a producer."""


@declares
@dataclass(frozen=True)
class NullLimit:
    """The largest share of a night's events, 0 to 1, whose `field` may be null.

    >>> NullLimit("amount", 0.2)
    NullLimit(field='amount', share=0.2)
    """

    field: str
    share: float

    called: ClassVar[str] = "a NullLimit('field', share)"


@declares
@dataclass(frozen=True)
class Limits:
    """What the quality gate allows a night; a night outside is not published. The stream is not affected.

    By default only a day of at least a hundred rows of which more than half were refused is stopped: its producer and
    its declaration do not fit together. Shares of nulls and volumes have no default, because only the owner knows
    optional fields, weekends and the end of a replay; so a first week is never blocked by them.

    Args:
        refused: the largest share of dead letters among the rows that were read for a day, 0 to 1.
        nulls: the largest share of nulls of some fields, among all events that a night checks together.
        least: the smallest number of a day's events, as a multiple of the median of earlier days. 0: any.
        most: the largest one, likewise. None: any.
        days: how many earlier days with events, checked and passed, the median is of; until there are so many, `least`
            and `most` do not apply.

    >>> Limits(refused=0.05, nulls=[NullLimit("amount", 0.2)], least=0.5, most=3).days
    7
    >>> Limits(refused=5)
    Traceback (most recent call last):
    dualpath.errors.DeclarationError: <doctest dualpath.limits.Limits[1]>:1: limits: refused is 5, and a share is from \
0 to 1; write 0.05 for five in a hundred.
    """

    refused: float = 0.5
    nulls: Iterable[NullLimit] = ()
    least: float = 0.0
    most: float | None = None
    days: int = 7

    called: ClassVar[str] = "limits such as Limits(refused=0.05)"

    def __post_init__(self) -> None:
        object.__setattr__(self, "nulls", tuple(self.nulls))
        for what, share in (("refused", self.refused), *((f"nulls of '{n.field}'", n.share) for n in self.nulls)):
            if not 0 <= share <= 1:
                raise DeclarationError(
                    f"limits: {what} is {share:g}, and a share is from 0 to 1; write 0.05 for five in a hundred."
                )
        if self.least < 0 or (self.most is not None and self.most < self.least):
            raise DeclarationError("limits: least must not be negative, nor most below it; correct them.")
        if self.days < 1:
            raise DeclarationError(f"limits: days is {self.days}; a median needs a day, so write 1 or more.")

    def check(self, own: str, names: Iterable[str]) -> None:
        """Raise `DeclarationError` for a limit of a field that the source `own` does not have."""
        for limit in self.nulls:
            if limit.field not in (known := list(names)):
                raise DeclarationError(
                    f"{own}: limits name the field '{limit.field}', which it does not have; "
                    f"name one of {', '.join(known)}."
                )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form of what is not the default; `from_dict` restores equal limits."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        if self.nulls:
            plain["nulls"] = [asdict(each) for each in self.nulls]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Limits":
        """The inverse of `to_dict`."""
        return cls(**{**plain, "nulls": tuple(NullLimit(**each) for each in plain.get("nulls", ()))})
