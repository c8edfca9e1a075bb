"""Decay: constants and weights against exact arithmetic, and known sums. The oracle takes its weights from here."""

from decimal import Decimal, localcontext

import numpy as np
import pytest

from dualpath.decay import CONSTANTS, decayed, weight

MINUTE = 60_000_000


def power(exponent: Decimal) -> Decimal:
    """2^exponent to fifty digits."""
    with localcontext() as context:
        context.prec = 50
        return Decimal(2) ** exponent


def test_every_constant_is_correctly_rounded() -> None:
    assert CONSTANTS.tolist() == [float(power(Decimal(-1) / 2**i)) for i in range(1, 54)]


@pytest.mark.parametrize("half_life", [1, 2, 3, 7, 1_000, MINUTE, 86_400 * 10**6, 2**62 - 1])
@pytest.mark.parametrize("age", [0, 1, 2, 5, 999, MINUTE - 1, MINUTE, 3 * MINUTE + 7, 400 * 86_400 * 10**6])
def test_a_weight_is_the_power_of_two_up_to_the_rounding_of_its_digits(age: int, half_life: int) -> None:
    with localcontext() as context:
        context.prec = 50
        exact = power(-Decimal(age) / half_life)
        found = Decimal(float(weight(np.int64(age), np.int64(half_life), CONSTANTS)))
        # One digit is lost at each of up to 53 products, and what lies behind the last digit; a double ends at 2^-1074.
        assert abs(found - exact) <= exact * 54 / 2**53 + power(Decimal(-1074))


@pytest.mark.parametrize("half_lives", [0, 1, 2, 53, 1074])
def test_whole_half_lives_are_exact(half_lives: int) -> None:
    assert weight(half_lives * MINUTE, MINUTE, CONSTANTS) == 2.0**-half_lives


def test_what_is_too_old_for_a_double_weighs_nothing() -> None:
    assert weight(1_200 * MINUTE, MINUTE, CONSTANTS) == weight(2**61, 1, CONSTANTS) == 0.0


def test_each_row_sums_its_own_entries_in_units() -> None:
    rows, ages = np.array([0, 0, 2]), np.array([MINUTE, 0, 2 * MINUTE])
    assert decayed(rows, ages, np.array([100, 50, -400]), MINUTE, 100.0, 4).tolist() == [1.0, 0.0, -1.0, 0.0]
