"""Rows that say whose they were: admission, and the records of an event at both entities, as in memory."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from pyspark.sql import SparkSession

from dualpath.aggregates import Count, Sum
from dualpath.changes import Changes
from dualpath.declare import event_source
from dualpath.errors import DeclarationError, InputError
from dualpath.field import Field
from dualpath.log import evolution
from dualpath.paths import first_of
from dualpath.payloads import events
from dualpath.preview import preview
from dualpath.preview import records as in_memory
from dualpath.record import layout
from dualpath.schema import EventSource, integer, text
from dualpath.spark.admit import admit
from dualpath.spark.records import records, with_records
from dualpath.view import Feature, View, digest
from dualpath.windows import lifetime
from parity_tests.shrink import frame
from parity_tests.spark.admitted import frame as delivered

AT = "2026-03-01T00:00:00Z"


def fields(row: str = "") -> list[Field]:
    return [
        integer("order_id", path=first_of(f"{row}after.id", f"{row}before.id"), required=True),
        text("user", path=first_of(f"{row}after.user", f"{row}before.user"), required=True),
        integer("shop", path=first_of(f"{row}after.shop", f"{row}before.shop"), required=True),
        integer("paid", path=f"{row}after.paid"),
        text("was_state", path=f"{row}before.state"),
        integer("lsn", path=f"{row}lsn", required=True),
    ]


def source(**changes: Any) -> EventSource:
    how = {"key": "order_id", "version": "lsn", "deleted": "paid IS NULL", "before": "before"}
    return event_source("orders", fields=fields(), event_id=None, arrival_time=None, changes=Changes(**how | changes))


def message(before: Any, after: Any, lsn: int = 1) -> dict[str, Any]:
    return {"event_time": AT, "before": before, "after": after, "lsn": lsn}


ANN = {"id": 1, "user": "ann", "shop": 7, "paid": 5}
BOB = ANN | {"user": "bob"}
MESSAGES = {
    "created": (message(None, ANN), (None, None, None)),
    "not moved": (message(ANN, ANN | {"paid": 6}), (None, None, None)),
    "moved": (message(ANN, BOB), (None, "ann", None)),
    "moved by two": (message(ANN | {"shop": 8}, BOB), (None, "ann", 8)),
    "another row": (message(ANN | {"id": 2}, ANN), (2, None, None)),
    "deleted": (message(ANN, None), (None, None, None)),
    "what changed alone": (message({"user": "ann"}, BOB, lsn=2), (None, "ann", None)),
    "the key alone": (message({"id": 1}, BOB), (None, None, None)),
}
REFUSED = {
    "before_shop (before.shop) is not of kind integer: x": message(ANN | {"shop": "x"}, BOB),
    "before is not an object: ann": message("ann", BOB),
    'before is not an object: ["ann"]': message(["ann"], BOB),
    'before is not an object: {"user":"ann"}': message('{"user":"ann"}', BOB),
    "user (after.user or before.user) is missing": message(None, {"id": 1, "shop": 7}),
}


def test_admission_keeps_what_was_before_only_where_it_changed_and_refuses_what_it_cannot_read(
    spark: SparkSession,
) -> None:
    sent = [*(given for given, _ in MESSAGES.values()), *REFUSED.values()]
    rows = admit(delivered(spark, map(json.dumps, sent)), source()).toArrow().to_pylist()
    good, bad = rows[: len(MESSAGES)], rows[len(MESSAGES) :]
    names = ("before_order_id", "before_user", "before_shop")
    assert [tuple(row[name] for name in names) for row in good] == [found for _, found in MESSAGES.values()]
    assert [row["reason"] for row in rows] == [None] * len(good) + list(REFUSED)
    assert len({row["event_id"] for row in good}) == len(good)
    view = by("user")
    previewed = [event for number, given in enumerate(sent[: len(good)]) for event in events(view, number, given)]
    assert [tuple(event[name] for name in names) for event in previewed] == [found for _, found in MESSAGES.values()]
    for reason, given in zip(REFUSED, bad, strict=True):
        assert given["user"] is None and given["payload"]
        if "missing" not in reason:
            with pytest.raises(InputError, match="before"):
                preview(view, [REFUSED[reason]], AT)


def test_each_element_of_a_list_has_its_own_former_row(spark: SparkSession) -> None:
    listed = event_source(
        "orders",
        fields=fields("rows[*]."),
        event_id=None,
        arrival_time=None,
        each="rows",
        changes=Changes("order_id", version="lsn", before="rows[*].before"),
    )
    batch = {"event_time": AT, "rows": [message(ANN, BOB), message("ann", BOB), message(None, ANN)]}
    rows = admit(delivered(spark, [json.dumps(batch)]), listed).toArrow().to_pylist()
    assert [(row["before_user"], row["reason"]) for row in rows] == [
        ("ann", None),
        (None, "rows[*].before is not an object: ann: rows[1]"),
        (None, None),
    ]


def by(*keys: str) -> View:
    features = (Feature("orders", Count(), lifetime()), Feature("paid", Sum("paid"), lifetime()))
    return View(f"by_{'_'.join(keys)}", keys, source(), features)


def test_an_event_is_a_record_at_the_new_entity_and_deletes_its_row_at_the_former_on_every_path(
    spark: SparkSession,
) -> None:
    views = [by("user"), by("shop"), by("user", "shop"), by("order_id")]
    given = [event for number, (sent, _) in enumerate(MESSAGES.values()) for event in events(views[0], number, sent)]
    log = frame(spark, views[0], given)

    def bag(rows: Iterable[Any]) -> list[tuple[str, list[int]]]:
        return sorted((row["entity"], list(row["words"])) for row in rows)

    expected = {}
    for view in views:
        owners, words = in_memory(view, given)
        expected[view.name] = sorted(zip(owners, words.tolist(), strict=True))
    assert [len(expected[view.name]) for view in views] == [12, 10, 12, 9]
    together = records(log, views, beside=("event_id",)).collect()
    assert all(row["event_id"] for row in together)
    streamed = [row for event in with_records(log, views).collect() for row in event["__records"] if row]
    for found in (together, streamed):
        assert {view.name: bag([row for row in found if row["view"] == view.name]) for view in views} == expected
    answer = preview(views[0], [MESSAGES["created"][0], message(ANN, BOB, lsn=2)], AT)
    assert [(row["user"], row["orders"], row["paid"]) for row in answer] == [("ann", 0, 0), ("bob", 1, 5)]


def test_a_source_without_moves_has_the_plan_and_the_digests_that_it_had(spark: SparkSession) -> None:
    plain = source(before=None)
    assert "before" not in plain.to_dict()["changes"] and plain.all_fields == plain.fields
    assert EventSource.from_dict(plain.to_dict()) == plain and EventSource.from_dict(source().to_dict()) == source()
    view = View("orders", ("user",), plain, (Feature("orders", Count(), lifetime()),))
    assert (layout(view).fingerprint, digest(view)) == (2664333577, "b24666a1bd4c0033")
    admitted = admit(delivered(spark, ["{}"]), plain)
    plan = admitted._jdf.queryExecution().toString()  # type: ignore[operator]
    assert "before_" not in plan
    log = frame(spark, view, [{"order_id": 1, "user": "ann", "shop": 7, "lsn": 1}])
    assert "before_" not in with_records(log, [view])._jdf.queryExecution().toString()  # type: ignore[operator]


def test_what_was_before_follows_a_field_and_is_part_of_the_identity_of_events_without_id() -> None:
    own = source()
    assert [str(each) for each in own.payload_fields[6:]] == [
        "before_order_id (before.id)",
        "before_user (before.user)",
        "before_shop (before.shop)",
    ]
    assert [name for name, _ in evolution.identity(own)["content"][6:]] == [
        "before_order_id",
        "before_user",
        "before_shop",
    ]
    assert not evolution.identity_fault(evolution.identity(source(before=None)), evolution.identity(own))
    renamed = own.changes.former([own.fields[1].was("customer")])  # type: ignore[union-attr]  # it has some
    assert renamed[0].former == ("before_customer",)
    without = replace(by("user"), source=source(before=None))
    assert layout(without).fingerprint != layout(by("user")).fingerprint


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: source(version=None), "of two changes of one instant"),
        (lambda: source(before="old"), "the former row is at 'old', and no required field is also read there"),
        (lambda: source(before="$kafka.key.before"), "the former row is in the payload, and '\\$kafka.key.before' is"),
        (lambda: source(before="after"), "'order_id \\(after.id or before.id\\)' is read in 'after' first"),
        (lambda: source(before="after[1:2]"), "the path 'after\\[1:2\\]' cannot be read"),
        (
            lambda: EventSource("o", (*fields(), text("before_user")), changes=source().changes),
            "what 'user' was is kept as 'before_user', so no field can be called that",
        ),
    ],
)
def test_a_declaration_that_cannot_say_what_was_before_is_refused(declare: Any, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        declare()
