"""What a store says, in whichever client's words, becomes a sentence."""

import re
from collections.abc import Callable

import pyarrow as pa
import pytest

from dualpath.files import durable, objects, parquet, places
from dualpath.files.objects import ObjectPath, failure, opened
from dualpath.log.snapshot import DataFile
from dualpath.log.table import Table
from parity_tests.startup.s3_faults import Faults

CALLS: dict[str, Callable[[ObjectPath], object]] = {
    "read": places.read_text,
    "create": lambda file: durable.create(file, b""),
    "update": lambda file: durable.update(file, lambda text: "a"),
    "size": places.size,
    "list": lambda file: [*places.below(file)],
    "list as the stream does": lambda file: [*file.states()],
    "match": lambda file: places.matching(file, "*"),
    "read rows": lambda file: parquet.dataset([str(file)], pa.schema([("a", pa.int64())])).to_table(),
    "open a table": lambda file: Table(file, DataFile).opened(),
}


@pytest.mark.parametrize("call", CALLS)
def test_expired_credentials_are_named(call: str, faults: Faults, faulty: ObjectPath) -> None:
    with faults.expired(), pytest.raises(Exception) as raised:
        CALLS[call](faulty / "a")
    said = failure(raised.value)
    form = r"The object store cannot be used \((GET|PUT|HEAD) http\S+ .*(ExpiredToken|Forbidden)\)\. "
    assert said and re.match(form, said)
    assert "\n" not in said and "<" not in said and said.endswith("(AWS_ENDPOINT_URL, AWS_REGION, ...).")


def test_a_bucket_that_is_not_there_is_named_and_an_object_that_is_not_there_is_no_fault_of_the_store(
    remote: ObjectPath,
) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        durable.write_atomically(opened("s3://no-such-bucket/a"), "a")
    assert "404 Not Found: NoSuchBucket)" in str(failure(raised.value))
    with pytest.raises(FileNotFoundError) as raised:
        (remote / "a").read_text()
    assert failure(raised.value) is None
    assert objects.failure(ValueError("<Code>SlowDown</Code>")) is None
