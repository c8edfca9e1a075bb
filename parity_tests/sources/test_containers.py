"""Avro container files: what lands is what messages of the same schema become, and no broken file lands in part."""

import importlib.util
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import fastavro
import pytest

from dualpath.decoders.avro_schema import compiled
from dualpath.errors import DualpathError, InputError, UnavailableError
from dualpath.sources import containers, files
from dualpath.sources.delimited import PLAIN
from parity_tests.sources.ingested import EVENTS, landed, objects

MICROS = {"type": "long", "logicalType": "timestamp-micros"}
SCHEMA = {
    "type": "record",
    "name": "event",
    "fields": [
        {"name": "user", "type": "string"},
        {"name": "at", "type": MICROS},
        {"name": "not_declared", "type": "bytes"},
        {"name": "tags", "type": {"type": "map", "values": ["null", "long", "string"]}},
        {"name": "code", "type": {"type": "enum", "name": "code", "symbols": ["A", "B"]}},
        {"name": "quantity", "type": ["null", "long"]},
        {"name": "amount", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}]},
        {"name": "score", "type": "float"},
        {"name": "seen", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
    ],
}
START = datetime(2026, 3, 1, tzinfo=UTC)


def event(random: Random, number: int) -> dict[str, Any]:
    return {
        "user": f"user é{number}",
        "at": START + timedelta(microseconds=random.randrange(10**12)),
        "not_declared": random.randbytes(3),
        "tags": {"a": random.choice((None, 2**60 + number, "x"))},
        "code": random.choice("AB"),
        "quantity": random.choice((None, -(10**14) + number)),
        "amount": random.choice((None, Decimal(random.randrange(-(10**15), 10**15)).scaleb(-2))),
        "score": random.randrange(1_000) / 8,
        "seen": random.choice((None, START + timedelta(milliseconds=number))),
    }


def written(file: Path, records: list[Any], schema: Any = SCHEMA, **options: Any) -> Path:
    with file.open("wb") as out:
        fastavro.writer(out, fastavro.parse_schema(schema, {}), records, **options)
    return file


def as_messages(records: list[Any]) -> Iterator[dict[str, Any]]:
    """What the stream's decoder makes of each record alone, of the fields that the source declares."""
    read = compiled(json.dumps(SCHEMA))
    for each in records:
        stream = BytesIO()
        fastavro.schemaless_writer(stream, fastavro.parse_schema(SCHEMA, {}), each)
        value = json.loads(read(stream.getvalue()))
        yield {name: value[name] for name in value if name != "not_declared" and value[name] is not None}


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    random = Random(3)
    return [event(random, number) for number in range(500)]


@pytest.mark.parametrize("codec", containers.CODECS)
def test_records_of_many_blocks_land_as_messages_of_the_same_schema_do(
    tmp_path: Path, records: list[dict[str, Any]], codec: str
) -> None:
    file = written(tmp_path / "events.avro", records, codec=codec, sync_interval=2_000)
    assert file.read_bytes().count(fastavro.block_reader(file.open("rb"))._header["sync"]) > 10
    assert objects(file) == [*as_messages(records)]


def test_an_independent_reader_finds_the_same_values(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    file = written(tmp_path / "events.AVRO", records)
    for found, each in zip(objects(file), records, strict=True):
        assert datetime.fromisoformat(found["at"]) == each["at"]
        assert (found["user"], found["tags"]["a"], found["score"]) == (each["user"], each["tags"]["a"], each["score"])
        assert found.get("quantity") == each["quantity"]
        assert each["amount"] == (Decimal(found["amount"]) if "amount" in found else None)
        assert each["seen"] == (datetime.fromisoformat(found["seen"]) if "seen" in found else None)


def test_a_file_that_is_cut_off_anywhere_lands_only_if_whole_blocks_are_left(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    whole = written(tmp_path / "whole.avro", records[:100], sync_interval=3_600).read_bytes()
    blocks = [*fastavro.block_reader(BytesIO(whole))]
    assert len(blocks) > 1 and blocks[0].num_records > 63  # so that a block's number of records has two bytes
    ends = {each.offset: sum(b.num_records for b in blocks[:at]) for at, each in enumerate(blocks)}
    ends[len(whole)] = 100
    file = tmp_path / "cut.avro"
    for length in range(len(whole) + 1):
        file.write_bytes(whole[:length])
        if length in ends:
            assert len(landed(file)) == ends[length]
        else:
            with pytest.raises(InputError, match=r"cut\.avro.*[Nn]othing was landed"):
                landed(file)


def test_a_broken_block_is_refused_with_its_file_and_place(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    file = written(tmp_path / "events.avro", records, codec="deflate", sync_interval=2_000)
    content, blocks = bytearray(file.read_bytes()), [*fastavro.block_reader(file.open("rb"))]
    third = blocks[2]
    content[third.offset + 40] ^= 0xFF
    file.write_bytes(content)
    lines, before = files.payloads(file, EVENTS, PLAIN), sum(b.num_records for b in blocks[:2])
    for _ in range(before):
        next(lines)
    with pytest.raises(InputError) as refusal:
        next(lines)
    assert refusal.value.message.startswith(f"{file}: the block at byte {third.offset:,} cannot be read (")


def test_whatever_byte_is_changed_the_file_is_refused_or_read_as_so_many_records(tmp_path: Path) -> None:
    random = Random(5)
    file = written(tmp_path / "events.avro", [event(random, number) for number in range(3)], sync_interval=1)
    content = file.read_bytes()
    for place in range(len(content)):
        for change in (0x01, 0x80, 0xFF):
            file.write_bytes(content[:place] + bytes([content[place] ^ change]) + content[place + 1 :])
            try:
                assert len(landed(file)) == 3
            except DualpathError as error:
                assert str(file) in error.message


@pytest.mark.parametrize(
    ("schema", "records", "sentence"),
    [
        ("long", [5], "its Avro schema is no record, so its values have no members; write records"),
        (SCHEMA | {"fields": []}, [{}], "its Avro schema has records that take no bytes; give them a field"),
        (SCHEMA | {"fields": SCHEMA["fields"][:1]}, [{"user": "ann"}], "no column at, which source 'events' needs"),
    ],
)
def test_a_file_whose_records_the_source_cannot_read_is_refused_at_once(
    tmp_path: Path, schema: Any, records: list[Any], sentence: str
) -> None:
    file = written(tmp_path / "events.avro", records, schema)
    with pytest.raises(InputError) as refusal:
        files.payloads(file, EVENTS, PLAIN)
    assert refusal.value.message.startswith(f"{file}: {sentence}")


def renamed(file: Path, codec: str) -> None:
    """Write another codec into a file that names deflate."""
    file.write_bytes(file.read_bytes().replace(b"\x0edeflate", bytes([2 * len(codec)]) + codec.encode()))


def test_a_codec_that_is_not_read_is_refused_at_once_and_snappy_names_its_package(
    tmp_path: Path, records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "events.avro", records, codec="deflate")
    renamed(file, "brotli")
    with pytest.raises(InputError, match="is compressed by brotli, which is not read here; write it with null, defl"):
        files.payloads(file, EVENTS, PLAIN)
    file = written(tmp_path / "snappy.avro", records, codec="deflate")
    renamed(file, "snappy")
    monkeypatch.setattr(containers, "find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="snappy, and cramjam is not installed"):
        files.payloads(file, EVENTS, PLAIN)


@pytest.mark.skipif(importlib.util.find_spec("cramjam") is None, reason="cramjam, which reads snappy, is not installed")
def test_snappy_is_read_where_its_package_is(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    assert objects(written(tmp_path / "events.avro", records, codec="snappy")) == [*as_messages(records)]


def test_no_more_than_a_block_is_read_ahead(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    file = written(tmp_path / "events.avro", records * 20, sync_interval=2_000)
    with file.open("rb") as stream:
        lines = containers.avro(stream, "events", lambda names: ["user"])
        next(lines)
        assert stream.tell() < 10_000 < file.stat().st_size / 20
