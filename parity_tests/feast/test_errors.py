"""An error has one code, and keeps it with its message on every way to a program."""

import json
import traceback
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pytest
from feast.errors import FeastError
from pyspark.sql import SparkSession

from dualpath.errors import DualpathError, OtherDeclarationError, StateError, carried, crossing, kinds, restored
from dualpath.feast.errors import as_feast, statuses
from parity_tests.conftest import CHECKOUT

MESSAGE = 'view "häufig": C:\\new, lost;\n\tpublish it anew.'
OURS = {code: kind for code, kind in kinds().items() if kind.__module__.startswith("dualpath.")}


def descendants(kind: type[DualpathError]) -> set[type[DualpathError]]:
    return {kind}.union(*map(descendants, kind.__subclasses__()))


def test_a_code_belongs_to_one_class() -> None:
    own = [kind.code for kind in descendants(DualpathError) if "code" in vars(kind)]
    assert sorted(own) == sorted(kinds())


@pytest.mark.parametrize("code", OURS)
def test_the_documentation_has_every_code_with_its_status_and_meaning(code: str) -> None:
    kind = OURS[code]
    meaning = str(kind.__doc__).partition("\n")[0]
    table = (CHECKOUT / "docs/operations.md").read_text()
    assert f"| `{code}` | `{kind.__name__}` | {statuses(kind)[0]} | {meaning} |\n" in table


@pytest.mark.parametrize("code", OURS)
def test_an_error_crosses_processes_with_its_class_and_message(code: str) -> None:
    with pytest.raises(DualpathError) as raised, crossing(), crossing():
        raise restored(OURS[code], MESSAGE)
    text = "".join(traceback.format_exception(raised.value))
    found = carried(RuntimeError(f"Job aborted: {text}\n\tat org.apache.spark"))
    assert type(found) is OURS[code] and found.message == MESSAGE
    assert carried(RuntimeError(text.replace("dualpath-error", ""))) is None


@pytest.mark.parametrize("code", OURS)
def test_an_error_comes_back_over_the_wire_as_the_twin_of_its_class(code: str) -> None:
    twin = as_feast(restored(OURS[code], MESSAGE))
    assert isinstance(twin, FeastError)
    assert json.loads(twin.to_error_detail())["code"] == code
    found = FeastError.from_error_detail(twin.to_error_detail())
    assert type(found) is type(twin) and isinstance(found, OURS[code])
    assert (found.code, found.message, str(found)) == (code, MESSAGE, MESSAGE)
    assert as_feast(found) is found


def test_an_error_of_a_spark_worker_is_raised_in_the_driver(spark: SparkSession) -> None:
    def refuse(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with crossing():
            raise OtherDeclarationError(MESSAGE)
        yield from batches

    with pytest.raises(Exception, match="OtherDeclarationError") as raised:
        spark.range(3).mapInArrow(refuse, "id bigint").collect()
    found = carried(raised.value)
    assert isinstance(found, StateError) and (found.code, found.message) == ("state-of-another-declaration", MESSAGE)
