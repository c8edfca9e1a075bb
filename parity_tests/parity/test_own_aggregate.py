"""A user's own aggregate: the file that `docs/aggregates.md` shows, outside the package and with no edit elsewhere."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast import Entity, ValueType
from pyspark.sql import SparkSession

from dualpath.aggregates import Aggregate
from dualpath.declare import TAG, feature, feature_view, view_of
from dualpath.errors import DeclarationError
from dualpath.offline import training
from dualpath.preview import dictionary, records, value
from dualpath.view import View
from dualpath.windows import hours
from parity_tests.algebra.test_laws import test_every_law_holds as every_law
from parity_tests.conftest import CHECKOUT
from parity_tests.shrink import disagreement
from parity_tests.strategies import CLICKS, at

NOON = at(2024, 3, 1, 12)
EVENTS = [
    {**dict.fromkeys(CLICKS.by_name), "event_id": f"e{n}", "event_time": NOON - n, "arrival_time": NOON, "user": "ann"}
    | {"quantity": quantity, "amount": amount}
    for n, (quantity, amount) in enumerate([(7, "0.30"), (None, "0.10"), (-3, None), (2, "0.20")])
    for amount in [amount and Decimal(amount)]
]
"""A quarter of them lacks each of the columns; the double nearest to 0.3 less that to 0.1 is not 0.2."""
VALUES = {"quantities": 10, "amounts": 0.2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file of the documentation."""
    [code] = re.findall(
        r"```python\n(from dataclasses .*?)```", (CHECKOUT / "docs/aggregates.md").read_text(), re.DOTALL
    )
    folder = tmp_path_factory.mktemp("own")
    (folder / "shop_aggregates.py").write_text(code)
    return folder


@pytest.fixture(scope="module")
def ranged(folder: Path) -> Iterator[type[Aggregate]]:
    """The aggregate, imported; afterwards nobody knows it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("shop_aggregates").Range
    Aggregate.registry.pop("Range")
    sys.modules.pop("shop_aggregates")


@pytest.fixture
def view(ranged: type[Aggregate]) -> View:
    """A declared view of it, as it comes out of Feast's registry."""
    declared = feature_view(
        "spread",
        entity=Entity(name="user", join_keys=["user"], value_type=ValueType.STRING),
        source=CLICKS,
        features=[
            feature("quantities", ranged("quantity"), over=hours(1)),
            feature("amounts", ranged("amount"), over=hours(1)),
        ],
    )
    found = view_of(declared)
    assert found is not None and json.loads(declared.tags[TAG])["features"][0]["module"] == "shop_aggregates"
    return found


@pytest.mark.parametrize("kind", ["integer", "decimal"])
def test_it_obeys_every_law(kind: str, ranged: type[Aggregate]) -> None:
    every_law(aggregate="Range", kind=kind)


def test_it_is_trained_in_process(view: View) -> None:
    owners, words = records(view, EVENTS)
    table = pa.table({"entity": owners, "words": [row.tolist() for row in words]})
    asked = pa.array(["ann", "nobody"])
    found = training.values(view, [*VALUES], asked, np.array([NOON, NOON]), table, lambda _: dictionary(view, EVENTS))
    assert {name: column.to_pylist() for name, column in found.items()} == {n: [v, None] for n, v in VALUES.items()}
    assert value(view.features[0].aggregate, [{"quantity": n} for n in (7, -3)]) == 10


@pytest.mark.parametrize("resolution", [1, 60_000_000])
def test_it_is_translated_to_spark(spark: SparkSession, view: View, resolution: int) -> None:
    assert disagreement(spark, replace(view, resolution=resolution), EVENTS, ("ann",), NOON) == []


@pytest.mark.slow
def test_a_worker_of_spark_finds_it(spark: SparkSession, view: View, folder: Path) -> None:
    spark.sparkContext.addPyFile(str(folder / "shop_aggregates.py"))
    _, words = records(view, EVENTS)

    def evaluate(batches: Any) -> Iterator[pa.RecordBatch]:
        from dualpath.plan import plan

        found = plan(view).evaluate(words[np.argsort(words[:, 0])], np.array([[0, len(words)]]), np.array([NOON]))
        yield from (pa.RecordBatch.from_arrays([pa.array(found["quantities"].data)], ["found"]) for _ in batches)

    assert [row.found for row in spark.range(1).mapInArrow(evaluate, "found bigint").collect()] == [10]


@pytest.mark.parametrize("known", [True, False])
def test_another_process_imports_it_or_says_what_to_do(known: bool, view: View, folder: Path) -> None:
    program = "import json, sys; from dualpath.view import View; print(View.from_dict(json.load(sys.stdin)))"
    paths = [str(CHECKOUT), *([str(folder)] if known else [])]
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(view.to_dict()),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    if known:
        assert (done.returncode, done.stdout) == (0, "spread by user, exact\n")
    else:
        assert "the aggregate 'Range' is in the module shop_aggregates, which this process cannot import" in done.stderr
        assert "name its folder in PYTHONPATH" in done.stderr


def test_an_aggregate_cannot_take_the_name_of_another() -> None:
    known = Aggregate.registry["Count"]
    with pytest.raises(DeclarationError, match=r"there is an aggregate 'Count' in dualpath\.aggregates\.count; rename"):
        type("Count", (Aggregate,), {"__module__": "elsewhere"})
    assert Aggregate.registry["Count"] is known
