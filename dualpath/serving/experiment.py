"""Experiments: who is in which, and who gets which variant, by a hash of the unit alone.

Nothing is stored, so every process and every replay assigns alike. A layer has 10,000 buckets, and a unit has one in
each layer. Experiments of one layer take buckets of their own, so no unit is in two of them; the buckets of different
layers are independent of each other, and so is the variant of the bucket.
"""

import hashlib
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from dualpath.errors import InputError

BUCKETS = 10_000


class Experiment(BaseModel):
    """Variants with whole-number weights, for the units in `buckets` (from, until) of a `layer`.

    A variant gets its weight's part of all weights. An experiment grows by a later end of its buckets: units that were
    in it stay, with their variants. Other weights or a new `salt`, by default the name, draw anew. `first_decisions` is
    how many decisions of a unit its outcome is made of. `covariate` is a feature, `view:feature`, of the time before a
    unit came in, by which the outcome is adjusted.

    >>> halves = Experiment(name="front_page", variants={"bandit": 1, "uniform": 1})
    >>> halves.assign("ann"), halves.assign("ann"), halves.assign("cid")
    ('bandit', 'bandit', 'uniform')
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    salt: str = ""
    layer: str = "default"
    buckets: tuple[int, int] = (0, BUCKETS)
    variants: Annotated[dict[str, PositiveInt], Field(min_length=2)]
    first_decisions: PositiveInt = 5
    covariate: str | None = None

    @model_validator(mode="after")
    def _takes_buckets(self) -> "Experiment":
        first, until = self.buckets
        if not 0 <= first < until <= BUCKETS:
            raise ValueError(f"buckets {first} to {until} are no part of 0 to {BUCKETS}")
        return self

    @property
    def compared(self) -> tuple[str, str]:
        """The two variants that are compared, the first ones."""
        one, other, *_ = self.variants
        return one, other

    @property
    def share(self) -> float:
        """The probability of the first of them among units that have one of the two."""
        one, other = (self.variants[each] for each in self.compared)
        return one / (one + other)

    def holds(self, unit: str) -> bool:
        """Whether a unit is in it. Raises `InputError` for an empty unit: all who have no id would be one."""
        if not unit:
            raise InputError(f"experiment '{self.name}': the unit is empty; pass the id of who is assigned.")
        first, until = self.buckets
        return first <= place("layer", self.layer, unit) % BUCKETS < until

    def assign(self, unit: str) -> str | None:
        """The unit's variant; None if it is not in the experiment."""
        if not self.holds(unit):
            return None
        rest = place("variant", self.salt or self.name, unit) % sum(self.variants.values())
        # By name: a declaration that is written in another order is the same one.
        for variant, weight in sorted(self.variants.items()):
            rest -= weight
            if rest < 0:
                return variant
        raise AssertionError("the weights are positive")


def place(*words: str) -> int:
    """A whole number of 256 bits that depends on the words alone; its remainders are as good as uniform."""
    # Lengths keep ("ab", "c") and ("a", "bc") apart.
    return int.from_bytes(hashlib.sha256("".join(f"{len(word)}:{word}" for word in words).encode()).digest(), "big")


def check(experiments: Iterable[Experiment]) -> None:
    """Raise `InputError` if two experiments have one name or one salt, or share buckets of a layer."""
    seen: list[Experiment] = []
    for each in experiments:
        for other in seen:
            if each.name == other.name:
                raise InputError(f"there are two experiments '{each.name}'; rename one.")
            if (each.salt or each.name) == (other.salt or other.name):
                raise InputError(
                    f"experiments '{other.name}' and '{each.name}' have the same salt, so a unit's variant in one "
                    "gives away that in the other; change one salt."
                )
            overlaps = each.buckets[0] < other.buckets[1] and other.buckets[0] < each.buckets[1]
            if each.layer == other.layer and overlaps:
                raise InputError(
                    f"experiments '{other.name}' and '{each.name}' share buckets of layer '{each.layer}'; give each "
                    "its own, or different layers."
                )
        seen.append(each)
