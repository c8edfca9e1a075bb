"""Payloads of many events and sources with a condition: Spark's admission against a naive reading of the same texts."""

import json
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from pyspark.sql import SparkSession

from dualpath.declare import event_source
from dualpath.schema import EventSource, boolean, integer, text
from dualpath.spark import elements
from dualpath.spark.admit import admit
from parity_tests.spark.admitted import frame

TIME = "2026-03-01T10:00:00Z"
FIELDS = (
    text("kind"),
    integer("level", path="order.level"),
    text("sku", path="order.items[*].sku", required=True),
    integer("n", path="order.items[*].count.n"),
    boolean("gift", path="order.items[*].gift"),
)
ITEMS = event_source(
    "items",
    each="order.items",
    event_id=text("id", path="order.id"),
    event_time="ts",
    arrival_time=None,
    fields=FIELDS,
)
BOUGHT = replace(ITEMS, where="kind = 'buy' AND level > 1")
BIG = replace(ITEMS, where="kind = 'buy' AND (n > 1 OR gift)")
ODD: tuple[Any, ...] = (None, 7, "text", "", [], {}, [1], {"a": 1}, True, 1.5, '{"sku":"t","gift":true}')


def some(random: Random, *usual: Any) -> Any:
    return random.choice(ODD) if random.random() < 0.12 else random.choice(usual)


def element(random: Random) -> Any:
    members = {
        "sku": some(random, "a", "b"),
        "count": some(random, {"n": some(random, 1, 2, "3")}, {"n": 2}, {}),
        "gift": some(random, True, False),
    }
    return some(random, {name: value for name, value in members.items() if random.random() < 0.9})


def payload(random: Random) -> str:
    order = {
        "id": some(random, "o1", "o2"),
        "level": some(random, 1, 2, 3),
        "items": some(random, [element(random) for _ in range(random.randrange(4))]),
    }
    members = {
        "kind": some(random, "buy", "buy", "see"),
        "ts": TIME,
        "order": some(random, {name: value for name, value in order.items() if random.random() < 0.95}),
    }
    return json.dumps(some(random, {name: value for name, value in members.items() if random.random() < 0.95}))


def read(value: Any) -> str | None:
    """The text that a field is given."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))


def member(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def whole(said: str | None) -> int | None:
    return int(said) if said is not None and said.isdecimal() else None


def naive(said: str, source: EventSource) -> list[tuple[str, Any]]:
    """What becomes of the rows of a payload: "accepted" with id and fields, "dead" with what is wrong, "skipped"."""
    payload = json.loads(said)
    if not isinstance(payload, dict):
        return [("dead", "not a JSON object")]
    found = member(payload, "order", "items")
    rows = list(enumerate(found)) if isinstance(found, list) and found else [(None, None)]
    return [judged(payload, found, at, each, source) for at, each in rows]


def judged(payload: Any, found: Any, at: int | None, each: Any, source: EventSource) -> tuple[str, Any]:
    if isinstance(each, str):
        try:
            opened = json.loads(each)
        except ValueError:
            opened = None
    else:
        opened = each
    kind, level = read(payload.get("kind")), read(member(payload, "order", "level"))
    n, gift = read(member(opened, "count", "n")), read(member(opened, "gift"))
    broken = None
    if at is None and not isinstance(found, list):
        broken = "order.items is missing" if found is None else "order.items is not a list"
    elif at is not None and each is None:
        broken = "order.items has a null element"
    elif at is not None and not isinstance(opened, dict):
        broken = "order.items has an element that is not a JSON object"
    faults = {
        "level": level is not None and whole(level) is None,
        "n": n is not None and whole(n) is None,
        "gift": gift not in (None, "true", "false"),
    }
    said = {
        "level": "level (order.level) is not of kind integer" if faults["level"] else None,
        "n": "n (order.items[*].count.n) is not of kind integer" if faults["n"] else None,
        "gift": "gift (order.items[*].gift) is not of kind boolean" if faults["gift"] else None,
    }
    undecided: list[str | None] = []  # why nobody can say whether the condition is true
    if source.where is not None:
        is_buy = None if kind is None else kind == "buy"
        if source is BOUGHT:
            both, unknown = (None if whole(level) is None else whole(level) > 1), faults["level"]  # type: ignore[operator]
        else:
            more, given = (None if whole(n) is None else whole(n) > 1), {"true": True, "false": False}.get(gift)  # type: ignore[operator,arg-type]
            both = True if more or given else None if None in (more, given) else False
            unknown = faults["n"] or faults["gift"] or broken is not None
        passes = False if False in (is_buy, both) else None if None in (is_buy, both) else True
        if passes is False or (passes is None and not unknown):
            return "skipped", None
        if passes is None:
            undecided = [said["level"]] if source is BOUGHT else [said["gift"], said["n"]]
    if found == []:
        return "skipped", None
    identity, sku = read(member(payload, "order", "id")), read(member(opened, "sku"))
    reasons = [
        *undecided,
        broken,
        None if (identity or "").strip() else "id (order.id) is missing",
        None if payload.get("ts") else "ts is missing",
        said["level"],
        None if sku else "sku (order.items[*].sku) is missing",
        said["n"],
        said["gift"],
    ]
    if reason := next(filter(None, reasons), None):
        return "dead", reason
    values = (kind, whole(level), sku, whole(n), {"true": True, "false": False}.get(gift or ""))
    return "accepted", (f"{identity}/{at}", *values)


def fate(row: dict[str, Any]) -> tuple[str, Any]:
    """The same of a row of Spark's."""
    if row["reason"] is not None:
        assert not row["__skipped"] and row["payload"] and row["event_time"] is None
        return "dead", row["reason"]
    if row["__skipped"]:
        assert row["payload"] is row["event_time"] is row["sku"] is None
        return "skipped", None
    return "accepted", tuple(row[name] for name in ("event_id", "kind", "level", "sku", "n", "gift"))


@pytest.mark.parametrize("source", [ITEMS, BOUGHT, BIG], ids=["each", "where", "where of elements"])
def test_every_element_has_the_fate_of_a_naive_reading(spark: SparkSession, source: EventSource) -> None:
    random = Random(1)
    said = [payload(random) for _ in range(1500)]
    rows = admit(frame(spark, said), source).toArrow().to_pylist()
    found: dict[int, list[dict[str, Any]]] = {number: [] for number in range(len(said))}
    for row in rows:
        found[row["__position"]].append(row)
    wrong, fates = [], set()
    for number, each in enumerate(said):
        expected, got = naive(each, source), [fate(row) for row in found[number]]
        fates |= {name for name, _ in expected}
        same = len(expected) == len(got) and all(
            a == b if a[0] != "dead" else b[0] == "dead" and b[1].startswith(a[1])
            for a, b in zip(expected, got, strict=True)
        )
        if not same or [row["__further"] for row in found[number]] != [at > 0 for at in range(len(got))]:
            wrong.append((each, expected, got))
    assert wrong == []
    assert fates == {"accepted", "dead", "skipped"}


def orders(
    spark: SparkSession, source: EventSource, *payloads: Any, event_id: str | None = None
) -> list[dict[str, Any]]:
    return admit(frame(spark, map(json.dumps, payloads), event_id), source).toArrow().to_pylist()


def order(*items: Any, **more: Any) -> dict[str, Any]:
    return {"ts": TIME, "order": {"id": "o1", "items": list(items)}, **more}


def test_an_id_is_that_of_the_payload_with_the_place_or_that_of_the_element(spark: SparkSession) -> None:
    two = order({"sku": "a", "line": "x"}, {"sku": "a", "line": "y"})
    of_line = replace(ITEMS, event_id="line", ids=(text("line", path="order.items[*].line"),))
    unnamed = replace(ITEMS, event_id=None, ids=())
    assert [row["event_id"] for row in orders(spark, ITEMS, two)] == ["o1/0", "o1/1"]
    assert [row["event_id"] for row in orders(spark, of_line, two)] == ["x", "y"]
    assert [row["event_id"] for row in orders(spark, unnamed, two, event_id="m7")] == ["m7/0", "m7/1"]
    first, second, again, other = (
        [row["event_id"] for row in orders(spark, unnamed, each)] for each in (two, order(), two, order({"sku": "a"}))
    )
    assert first == again and len({*first, *second, *other}) == 4
    assert [each.rpartition("/")[2] for each in first] == ["0", "1"]


def test_a_list_beyond_the_limit_is_one_dead_letter(spark: SparkSession) -> None:
    [row] = orders(spark, ITEMS, order(*[{"sku": "a"}] * 10_001))
    assert row["reason"] == "order.items has more than 10,000 elements: 10001"
    assert len(orders(spark, ITEMS, order(*[{"sku": "a"}] * 10_000))) == 10_000


def test_dead_letters_of_a_large_payload_hold_their_elements(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = order({"sku": "a"}, {"n": 1}, {"n": 2})
    assert [row["payload"] for row in orders(spark, ITEMS, bad)] == [None, json.dumps(bad), json.dumps(bad)]
    monkeypatch.setattr(elements, "COPIES", 3 * len(json.dumps(bad)) - 1)
    assert [row["payload"] for row in orders(spark, ITEMS, bad)] == [None, '{"n":1}', '{"n":2}']


def test_elements_that_are_no_objects_are_values(spark: SparkSession) -> None:
    tags = event_source(
        "tags", each="tags", event_id="id", event_time="ts", arrival_time=None, fields=[text("tag", path="tags[*]")]
    )
    rows = orders(spark, tags, {"id": "t", "ts": TIME, "tags": ["a", 1.10, None, {"b": 2}]})
    assert [row["tag"] for row in rows] == ["a", "1.1", None, '{"b":2}']
    assert [row["reason"] for row in rows] == [None, None, "tags has a null element: tags[2]", None]


def test_a_flat_source_has_no_column_of_lists_or_conditions(spark: SparkSession) -> None:
    flat = event_source("flat", fields=[text("kind")])
    judged = admit(frame(spark, []), flat)
    assert not {"__skipped", "__further"} & {*judged.columns}
    plan = judged._jdf.queryExecution().optimizedPlan().toString()
    # Of one parse, its size and its first element.
    assert "Generate" not in plan and plan.count("from_json(") == 2
