"""How the values of a feature are distributed, and how far two distributions are apart.

The population stability index (PSI) sorts both sides into the same bins and adds up `(s - t) * ln(s / t)`. `t` and `s`
are a bin's shares of the training values and of the served ones; Siddiqi, Intelligent Credit Scoring, 2nd ed., 2017.
Training decides what the bins are:

| values | bins |
|---|---|
| numbers | between the deciles of training; a value that is several deciles at once has a bin of its own |
| texts and booleans | each value; those rarer than 1 % in training have one bin together |
| lists and maps | as for numbers, by how many entries they have |
| other types, which only an on-demand view can have | none, so there is no PSI |

Nulls have a bin of their own, and NaN counts as null. A bin that is empty on one side counts as `FLOOR` there.
Numbers are doubles here; whether two values are the same is a question for `dualpath.parity.compare`.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dualpath.errors import InputError

Values: TypeAlias = pa.Array | pa.ChunkedArray
DECILES = np.arange(1, 10) / 10
RARE = 0.01
"""Texts and booleans with a smaller share of training have one bin together."""
FLOOR = 1e-4
"""The least share of a bin, because the logarithm of none is infinite; a usual choice, such as Evidently's."""
KINDS = {
    "number": (pa.types.is_integer, pa.types.is_floating),
    "text": (pa.types.is_string, pa.types.is_large_string),
    "boolean": (pa.types.is_boolean,),
    "list": (pa.types.is_list, pa.types.is_large_list),
    "map": (pa.types.is_map,),
    "null": (pa.types.is_null,),
}


class Distance(NamedTuple):
    """How far apart two distributions are; `by_chance` is what two samples of one would be on average."""

    psi: float
    by_chance: float


def distance(training: Values, served: Values) -> Distance | None:
    """The PSI between training and served values; None if a side has no values, or their type no bins.

    Two samples of one distribution, of m and n rows in B bins, have a PSI of `(B - 1) (1/m + 1/n)` on average; Yurdakul
    and Naranjo, Statistical properties of the population stability index, Journal of Risk Model Validation, 2020. Bins
    that are empty on both sides do not count. Raises `InputError` if the sides hold different kinds of values.

    >>> half, most = pa.array(["a", "b"] * 50), pa.array(["a", "a", "a", "b"] * 25)
    >>> [round(each, 6) for each in distance(half, most)]  # 0.25 ln 1.5 - 0.25 ln 0.5, and 1/100 + 1/100
    [0.274653, 0.02]
    """
    kinds = {kind(side.type) for side in (training, served)} - {"null"}
    if len(kinds) > 1:
        raise InputError(f"training has {training.type}, but {served.type} was served; compare the same feature.")
    if not len(training) or not len(served) or "other" in kinds:
        return None
    bins = _bins(training, served, *kinds)
    most = max(int(each.max()) for each in bins) + 1
    t, s = (np.bincount(each, minlength=most) for each in bins)
    occupied = t + s > 0
    t, s = (np.maximum(counts[occupied] / counts.sum(), FLOOR) for counts in (t, s))
    return Distance(float(np.sum((s - t) * np.log(s / t))), (len(t) - 1) * (1 / len(training) + 1 / len(served)))


def null_share(values: Values) -> float | None:
    """The share of nulls and NaN; None of no values.

    >>> null_share(pa.array([1.5, None, float("nan"), 2.0]))
    0.5
    """
    return float(_missing(values).mean()) if len(values) else None


def median(values: Values) -> float | None:
    """The median of numbers, without nulls and NaN; None of other values, and of none.

    >>> median(pa.array([1, 4, None, 2])), median(pa.array(["a"])), median(pa.array([None], pa.int64()))
    (2.0, None, None)
    """
    numbers = _numbers(values) if kind(values.type) == "number" else np.empty(0)
    return float(np.median(numbers)) if len(numbers) else None


def kind(of: pa.DataType) -> str:
    """The kind of the values of a type: one of `KINDS`, or other.

    >>> kind(pa.int64()), kind(pa.map_(pa.string(), pa.int64())), kind(pa.binary())
    ('number', 'map', 'other')
    """
    return next((name for name, tests in KINDS.items() if any(test(of) for test in tests)), "other")


def _bins(training: Values, served: Values, of: str = "text") -> tuple[np.ndarray, np.ndarray]:
    """The bin of each value on both sides, int64; 0 is that of nulls. If there is nothing else, any kind will do."""
    if of in ("text", "boolean"):
        training, served = training.cast(pa.string()), served.cast(pa.string())
        counted = training.drop_null().value_counts()
        often = counted.field("values").filter(pc.greater_equal(counted.field("counts"), RARE * len(training)))
        return _named(training, often), _named(served, often)
    if of != "number":
        training, served = _lengths(training), _lengths(served)
    edges = _edges(_numbers(training))
    return _between(training, edges), _between(served, edges)


def _named(values: Values, often: pa.Array) -> np.ndarray:
    """The bins of texts: those of `often` in their order, then one of all others."""
    found = pc.fill_null(pc.index_in(values, value_set=often), len(often))
    return np.where(_missing(values), 0, np.asarray(found, np.int64) + 1)


def _edges(training: np.ndarray) -> np.ndarray:
    """The right edges of all bins but the last."""
    if not len(training):
        return training
    edges, times = np.unique(np.quantile(training, DECILES, method="inverted_cdf"), return_counts=True)
    # Else many a 0 would share a bin with what lies below, and nobody would see it become -1.
    return np.union1d(edges, np.nextafter(edges[times > 1], -np.inf))


def _between(values: Values, edges: np.ndarray) -> np.ndarray:
    """The bins of numbers."""
    missing, found = _missing(values), np.zeros(len(values), dtype=np.int64)
    found[~missing] = np.searchsorted(edges, _numbers(values)) + 1
    return found


def _lengths(values: Values) -> Values:
    """How many entries lists and maps have."""
    if pa.types.is_map(values.type):  # which Arrow does not count
        pair = pa.struct([("key", values.type.key_type), ("value", values.type.item_type)])
        values = values.cast(pa.list_(pair))
    return values if pa.types.is_null(values.type) else pc.list_value_length(values)


def _numbers(values: Values) -> np.ndarray:
    """The numbers without nulls and NaN, float64."""
    return np.asarray(values.cast(pa.float64(), safe=False), np.float64)[~_missing(values)]


def _missing(values: Values) -> np.ndarray:
    return np.asarray(values.is_null(nan_is_null=True), dtype=bool)
