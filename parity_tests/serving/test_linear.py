"""The arithmetic of policies: the textbook's answers, and the bits of an interpreter, which fuses nothing."""

import numpy as np
import pytest

from dualpath.serving import linear
from dualpath.serving.policy import normals

D, K, DRAWS = 9, 40, 256
RANDOM = np.random.default_rng(5)
SQUARES = np.cov(RANDOM.normal(size=(D, 50))) + np.eye(D)
LOWER = linear.cholesky(SQUARES)
ROWS, MEAN = RANDOM.normal(size=(K, D)), RANDOM.normal(size=D)
WORDS = RANDOM.integers(0, 2**64, D * DRAWS * linear.WORDS, dtype=np.uint64)
DRAWN = linear.normals(WORDS, D, DRAWS)


@pytest.mark.parametrize(
    ("compiled", "given"),
    [
        (linear.cholesky, (SQUARES,)),
        (linear.forward, (LOWER, MEAN)),
        (linear.backward, (LOWER, MEAN)),
        (linear.products, (ROWS, MEAN)),
        (linear.widths, (LOWER, ROWS)),
        (linear.wins, (LOWER, MEAN, ROWS, DRAWN, 0.3)),
        (linear.normals, (WORDS, D, DRAWS)),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_compiled_loops_give_the_bits_of_interpreted_ones(compiled, given) -> None:
    assert compiled(*given).tobytes() == compiled.py_func(*given).tobytes()


def test_parameters_and_widths_are_those_of_the_textbook() -> None:
    solved = linear.backward(LOWER, linear.forward(LOWER, MEAN))
    np.testing.assert_allclose(solved, np.linalg.solve(SQUARES, MEAN), rtol=1e-12)
    variances = np.einsum("ij,jk,ik->i", ROWS, np.linalg.inv(SQUARES), ROWS)
    np.testing.assert_allclose(linear.widths(LOWER, ROWS), np.sqrt(variances), rtol=1e-12)


def test_wins_are_those_of_parameters_drawn_one_by_one() -> None:
    found = np.zeros(K, dtype=np.int64)
    for z in DRAWN.T:
        found[np.argmax(ROWS @ (MEAN + 0.3 * np.linalg.solve(LOWER.T, z)))] += 1
    assert found.tolist() == linear.wins(LOWER, MEAN, ROWS, DRAWN, 0.3).tolist()
    assert found.sum() == DRAWS and (found > 0).sum() > 3


def test_of_equal_candidates_the_first_wins() -> None:
    same = np.repeat(ROWS[:1], 3, axis=0)
    assert linear.wins(LOWER, MEAN, same, DRAWN, 0.3).tolist() == [DRAWS, 0, 0]


def test_drawn_parameters_vary_as_the_posterior_does() -> None:
    """The covariance of L'^-1 z is the inverse of L L'."""
    many = normals("covariance", D, 20_000)
    np.testing.assert_allclose(np.cov(np.linalg.solve(LOWER.T, many)), np.linalg.inv(SQUARES), atol=0.02)


def test_a_normal_number_is_twelve_pieces_of_sixteen_bits() -> None:
    [[least, one, most]] = linear.normals(np.array([0, 0, 0, 1 << 48, 0, 1, *[2**64 - 1] * 3], dtype=np.uint64), 1, 3)
    assert (least, one, most) == (-6 * 65_535 / 65_536, (2 - 6 * 65_535) / 65_536, 6 * 65_535 / 65_536)
