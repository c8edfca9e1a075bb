"""Which payloads are a person's: by the declared places, or else by the text of the key."""

import base64
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualpath.changes import Changes
from dualpath.declare import event_source
from dualpath.decoders import Decoder
from dualpath.erasure.logged import DeadLetters
from dualpath.erasure.payloads import Match, Payloads
from dualpath.log.storage import Storage
from dualpath.log.table import DEAD_LETTER
from dualpath.paths import first_of
from dualpath.record import Fence
from dualpath.schema import EventSource, identifier, integer, text
from parity_tests import logged

CLICKS = event_source("clicks", fields=[text("user_id", required=True), text("page")])
NUMBERED = event_source("numbered", fields=[integer("user_id", required=True, lenient=True), integer("quantity")])
LISTED = event_source(
    "listed",
    each="items",
    fields=[text("user_id", path="items[*].by", required=True), text("sku", path="items[*].sku")],
)
KEYED = event_source("keyed", fields=[text("user_id", path="$kafka.key", required=True)])
ORDERS = event_source(
    "orders",
    event_id=None,
    fields=[
        identifier("id", path=first_of("after.id", "before.id"), required=True),
        text("user_id", path=first_of("after.user_id", "before.user_id"), required=True),
        identifier("lsn", required=True),
    ],
    changes=Changes(key="id", version="lsn", before="before"),
)


class Refusing(Decoder):
    """Decodes nothing here: what it has refused is base64."""

    def reader(self, settings: Any) -> Any:
        raise NotImplementedError


AVRO = EventSource("avro", (text("user_id", required=True),), decoder=Refusing())


@pytest.mark.parametrize(
    ("source", "payload", "value", "match"),
    [
        (CLICKS, {"user_id": "ann"}, "ann", Match.NAMED),
        (CLICKS, {"user_id": "bob", "page": "ann"}, "ann", Match.NO),
        (CLICKS, {"user_id": "annabel"}, "ann", Match.NO),
        (CLICKS, b'{"user_id": "\\u0061nn"}', "ann", Match.NAMED),
        (CLICKS, {"user_id": "J\u00f6rg"}, "J\u00f6rg", Match.NAMED),
        (CLICKS, b'{"user_id": "J\\u00F6rg', "J\u00f6rg", Match.BY_TEXT),
        (CLICKS, {"user": {"name": "ann"}}, "ann", Match.BY_TEXT),
        (CLICKS, {"user": "annabel"}, "ann", Match.NO),
        (CLICKS, b'{"user_id": "ann', "ann", Match.BY_TEXT),
        (CLICKS, b"ann\xff\xfe", "ann", Match.BY_TEXT),
        (CLICKS, b"[1, 2]", "ann", Match.NO),
        (CLICKS, b"[" * 100_000 + b'"ann"', "ann", Match.BY_TEXT),
        (CLICKS, None, "ann", Match.NO),
        (NUMBERED, {"user_id": 42}, "42", Match.NAMED),
        (NUMBERED, b'{"user_id": 4.2e1}', "42", Match.NAMED),
        (NUMBERED, {"user_id": "42.0", "quantity": 1}, "42", Match.NAMED),
        (NUMBERED, {"user_id": 43, "quantity": 42}, "42", Match.NO),
        (NUMBERED, {"user_id": "no number", "quantity": 42}, "42", Match.BY_TEXT),
        (LISTED, {"items": [{"by": "bob"}, {"by": "ann"}]}, "ann", Match.NAMED),
        (LISTED, {"items": [{"by": "bob"}, {"by": "eve", "sku": "ann"}]}, "ann", Match.NO),
        (LISTED, {"items": [{"by": "bob"}, {"sku": "ann"}]}, "ann", Match.BY_TEXT),
        (LISTED, {"items": "ann"}, "ann", Match.BY_TEXT),
        (KEYED, {"$kafka": {"key": "ann"}}, "ann", Match.NAMED),
        (ORDERS, {"after": {"id": 1, "user_id": "bob"}, "before": {"id": 1, "user_id": "ann"}}, "ann", Match.NAMED),
        (ORDERS, {"after": None, "before": {"id": 1, "user_id": "ann"}}, "ann", Match.NAMED),
        (AVRO, base64.b64encode(b"\x00\x06ann\x02"), "ann", Match.BY_TEXT),
        (AVRO, base64.b64encode(b"\x00\x06bob\x02"), "ann", Match.UNREADABLE),
        (AVRO, {"user_id": "bob"}, "ann", Match.NO),
    ],
)
def test_whose_a_payload_is(source: EventSource, payload: Any, value: str, match: Match) -> None:
    content = None if payload is None else payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    assert Payloads(source, {"user_id": (value,)}).match(content) is match


def test_what_no_decoder_could_read_is_counted_and_stays(tmp_path: Path) -> None:
    payloads = [
        base64.b64encode(b"\x06ann"),
        base64.b64encode(b"\x06bob"),
        None,
        b'{"user_id": "ann"}',
        b'{"user_id": "eve"}',
    ]
    storage = Storage(tmp_path, "avro")
    reasons = ["broken: ann", "broken: bob", "empty", "user_id is missing", "broken: eve"]
    table = pa.table({"payload": [p and p.decode() for p in payloads], "reason": reasons})
    logged.append(storage, AVRO, {(DEAD_LETTER, "2026-03-01"): table})
    [file] = storage.files(DEAD_LETTER)
    path = storage.folder("log") / file.path
    pq.write_table(pq.ParquetFile(path).read(), path, compression="gzip", row_group_size=2, store_schema=False)
    dead = DeadLetters(storage, AVRO, {"user_id": ("ann",)})
    found = dead.found()
    assert (found.rows, found.by_text, found.unreadable, found.moved) == ({file: 2}, 1, 1, 0)
    made, batch = dead.rewritten(file), Fence(1, 0)
    assert made.after and (made.before, made.after.rows) == (file, 3)
    assert made.removed == {batch: 2}
    assert made.reasons == {(batch, "broken"): 1, (batch, "user_id is missing"): 1}
    new = storage.folder("log") / made.after.path
    assert pq.ParquetFile(new).read(["payload"]) == table.select(["payload"]).take(pa.array([1, 2, 4]))
    about = pq.read_metadata(new)
    assert about.row_group(0).column(0).compression == "GZIP" and b"ARROW:schema" not in (about.metadata or {})
    assert new.stat().st_size == made.after.size and {*path.parent.iterdir()} == {path, new}
