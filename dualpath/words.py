"""Values as int64 words, and back: how a record stores texts and numbers."""

import struct
from decimal import Decimal

import numpy as np
import xxhash

from dualpath.expression import Type
from dualpath.numbers import EXACT, divide

SEED = 42
"""Of every hash: the one Spark's `xxhash64` has."""
DENOMINATOR = 2**1126
"""Times this, every double is a whole number: the least is 2^-1074, and 52 digits follow its leading one."""


def code(text: str) -> int:
    """The 64-bit code of a string, signed: Spark's `xxhash64` (seed 42).

    >>> code("Spark")
    -4294468057691064905
    """
    return _signed(xxhash.xxh64_intdigest(text.encode(), seed=SEED))


def hashed(word: int) -> int:
    """The 64-bit hash of an encoded integer, signed: Spark's `xxhash64` of a bigint.

    >>> hashed(1)
    -7001672635703045582
    """
    return _signed(xxhash.xxh64_intdigest(struct.pack("<q", word), seed=SEED))


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def encode(value: str | float | Decimal, scale: int = 0) -> int:
    """One plain value as a word; `scale` is that of a decimal. A text becomes its code.

    >>> encode(Decimal("19.99"), scale=2), encode(True), encode(0.0)
    (1999, 1, 0)
    """
    match value:
        case str():
            return code(value)
        case float():
            return int(order(np.array([value]))[0])
    return int(value * 10**scale)


def decode(words: np.ndarray, kind: Type) -> np.ndarray:
    """The values behind encoded words, int64[m]: decimals and doubles as float64, booleans as bool.

    Integers, timestamps (microseconds UTC) and the 64-bit codes of texts stay as they are.

    >>> decode(np.array([1999]), Type("decimal", 2)).tolist()
    [19.99]
    """
    if kind.kind == "decimal":
        return divide(words, 1, kind.scale)
    if kind.kind == "double":
        return unorder(words)
    return words.astype(bool) if kind.kind == "boolean" else words


def whole(words: np.ndarray, kind: Type) -> tuple[np.ndarray, int]:
    """Encoded numbers as Python integers (object[m]) over one common denominator.

    >>> from dualpath.numbers import quotient
    >>> whole(np.array([1999]), Type("decimal", 2))
    (array([1999], dtype=object), 100)
    >>> halves, unit = whole(order(np.array([0.5, -1.5])), Type("double"))
    >>> [quotient(n, unit) for n in halves]
    [0.5, -1.5]
    """
    if kind.kind != "double":
        return words.astype(object), 10**kind.scale
    fraction, exponent = np.frexp(unorder(words))
    digits = (fraction * EXACT).astype(np.int64).astype(object)
    return digits << (exponent.astype(np.int64) + 1073).astype(object), DENOMINATOR


def order(values: np.ndarray) -> np.ndarray:
    """Doubles as int64 words that sort as the numbers do; -0.0 becomes 0.0. `unorder` is the inverse.

    A positive double's bits already sort as integers; a negative one's sort backwards, so all but its sign
    are flipped (the total order of IEEE 754, section 5.10).

    >>> order(np.array([-1.5, 0.0, 2.25])).argsort().tolist(), unorder(order(np.array([-1.5]))).item()
    ([0, 1, 2], -1.5)
    """
    bits = (np.asarray(values, dtype=np.float64) + 0.0).view(np.int64)
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)


def unorder(words: np.ndarray) -> np.ndarray:
    """The doubles behind `order`'s words; float64[m]."""
    return np.where(words < 0, words ^ np.int64(2**63 - 1), words).view(np.float64)
