"""`explain`: the value of each knowledge, every cause for which a row does not count, and what makes a difference.

The log is written as the stream leaves it, without Spark.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from rich.table import Table

from dualpath import known, preview
from dualpath.aggregates import Count, Last, Max, Sum, SumBy
from dualpath.console import explain as command
from dualpath.errors import InputError, NotFoundError, StaleRecordsError
from dualpath.evaluation import evaluated
from dualpath.kinds import INSTANT
from dualpath.log.accounts import clock_day
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE
from dualpath.offline.history import DICTIONARY, RECORDS, TEXTS, History, dictionary_salt, record_salt, view_version
from dualpath.online import manifest
from dualpath.online.connection import connect, embedded_folder
from dualpath.online.manifest import Manifest
from dualpath.parity.compare import differences, same
from dualpath.parity.contrast import Contrast, fewest
from dualpath.parity.events import read
from dualpath.parity.explain import Explanation, explain
from dualpath.parity.oracle_runner import answers
from dualpath.parity.timeline import timeline
from dualpath.record import Fence
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.schema import EventSource
from dualpath.view import Feature, View
from dualpath.windows import SECOND, hours, lifetime, minutes
from parity_tests import generated, logged
from parity_tests.generated import drawn
from parity_tests.strategies import CLICKS, COMBINATIONS, histories, views

MINUTE = 60 * SECOND
NOON = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()) * SECOND
AT_NOON = "2026-03-01T12:00:00Z"
ANN = {"user": "ann"}
RECENT = View(
    "recent",
    ("user",),
    CLICKS,
    (
        Feature("clicks", Count(), minutes(30)),
        Feature("bought", Sum("quantity", where="action = 'buy'"), minutes(30)),
        Feature("last_seen", Last("seen"), minutes(30)),
        Feature("before", Count(), minutes(30).before(hours(1))),
    ),
)
SHOPS = View("shops", ("user", "shop"), CLICKS, (Feature("most", Max("quantity"), minutes(30)),), MINUTE)
DEEDS = replace(CLICKS, name="deeds")
WHOLE = View("whole", ("user",), DEEDS, (Feature("by_action", SumBy("amount", by="action"), lifetime()),))
SCHEMA = pa.schema(
    [("event_id", pa.string()), ("event_time", INSTANT), ("arrival_time", INSTANT)]
    + [(field.name, field.stored) for field in CLICKS.fields]
    + [("late", pa.bool_()), ("__origin", pa.string()), ("__position", pa.int64())]
)


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An applied repo of the views, which are v0, v1 and v2 there."""
    return generated.declare(tmp_path_factory.mktemp("explain") / "repo", [RECENT, SHOPS, WHOLE]).folder


@pytest.fixture
def repo(applied: Path, tmp_path: Path) -> Repo:
    """One whose log is empty."""
    shutil.copytree(applied, tmp_path / "repo")
    return Repo(tmp_path / "repo")


def event(name: str, minute: float, *, arrived: float | None = None, **fields: Any) -> dict[str, Any]:
    """An event of ann's at a minute after noon."""
    time = NOON + int(minute * MINUTE)
    arrival = time if arrived is None else NOON + int(arrived * MINUTE)
    return {"event_id": name, "event_time": time, "arrival_time": arrival, "user": "ann", "shop": 1, **fields}


def land(
    storage: Storage,
    batch: int,
    events: Sequence[Mapping[str, Any]] = (),
    *,
    duplicates: Sequence[Mapping[str, Any]] = (),
    dead: Sequence[tuple[str, str]] = (),
    clock: int = NOON,
    query: int = 1,
    schema: pa.Schema = SCHEMA,
    source: EventSource = CLICKS,
) -> None:
    """A finished batch and its files. Each of the `dead` is a payload and a reason."""
    place = {"late": False, "__origin": f"{batch}.jsonl"}
    days: dict[str, list[dict[str, Any]]] = {}
    for number, each in enumerate(events):
        day = str(np.datetime64(each["arrival_time"], "us"))[:10]
        days.setdefault(day, []).append({**each, **place, "__position": number})
    files = {(ACCEPTED, day): pa.Table.from_pylist(rows, schema) for day, rows in days.items()}
    if duplicates:
        rows = [{**each, **place, "__position": 100 + number} for number, each in enumerate(duplicates)]
        files[DUPLICATE, clock_day(clock)] = pa.Table.from_pylist(rows, SCHEMA)
    if dead:
        letters = [
            {"payload": payload, "reason": reason, "__origin": f"{batch}.jsonl", "__position": 200 + number}
            for number, (payload, reason) in enumerate(dead)
        ]
        files[DEAD_LETTER, clock_day(clock)] = pa.Table.from_pylist(letters)
    logged.append(storage, source, files, batch=Fence(query, batch), clock=clock)


def write(folder: Path, table: pa.Table) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "part-0.parquet", store_decimal_as_integer=True, store_schema=False)


def ids(found: Explanation, cause: str) -> list[str | None]:
    """The ids of the rows that are shown for a cause."""
    return [row.event["event_id"] for row in found.left_out[cause].nearest]


def counted(found: Explanation) -> list[str]:
    """The ids of the events that count."""
    return [row.event["event_id"] for row in found.counted]


def differing(found: Explanation) -> list[tuple[str, str, str]]:
    """The events that make the difference, the knowledge that lacks each, and the cause."""
    assert found.against is not None
    return [(each.row.event["event_id"], each.by, each.cause) for each in found.against.events]


def test_an_answer_has_its_value_its_edges_and_the_events_that_count_with_their_places(repo: Repo) -> None:
    storage = repo.storage(CLICKS.name)
    land(storage, 0, [event("b", -10, quantity=2, action="buy"), event("other", -1, user="bob")])
    land(storage, 1, [event("a", -20, arrived=60 * 24, quantity=3, action="buy")])
    found = explain(repo, "v0:bought", ANN, AT_NOON).to_dict()
    assert (found["value"], found["known"], found["left_out"], found["against"]) == (5, "final", {}, None)
    assert found["window"] == {"left": "2026-03-01T11:30:00.000000Z", "right": "2026-03-01T12:00:00.000000Z"}
    assert found["counted"] == [
        {
            "event_id": "a",
            "event_time": "2026-03-01T11:40:00.000000Z",
            "arrival_time": "2026-03-02T12:00:00.000000Z",
            "batch": "q1b1",
            "arrival_day": "2026-03-02",
            "origin": "1.jsonl",
            "position": 0,
            "values": {"action = 'buy'": True, "quantity": 3},
            "reason": None,
        },
        {
            "event_id": "b",
            "event_time": "2026-03-01T11:50:00.000000Z",
            "arrival_time": "2026-03-01T11:50:00.000000Z",
            "batch": "q1b0",
            "arrival_day": "2026-03-01",
            "origin": "0.jsonl",
            "position": 0,
            "values": {"action = 'buy'": True, "quantity": 2},
            "reason": None,
        },
    ]
    json.dumps(found)


def test_an_entity_without_events_has_the_empty_value(repo: Repo) -> None:
    assert explain(repo, "v0:clicks", ANN, AT_NOON).value == 0
    assert explain(repo, "v0:last_seen", ANN, AT_NOON).value is None


def test_instants_and_decimals_are_texts_in_json(repo: Repo) -> None:
    seen = NOON - SECOND
    for source in (CLICKS, DEEDS):
        land(repo.storage(source.name), 0, [event("a", -1, seen=seen, amount=Decimal("19.90"), action="buy")])
    found = explain(repo, "v0:last_seen", ANN, AT_NOON).to_dict()
    assert (found["value"], found["counted"][0]["values"]) == (seen, {"seen": "2026-03-01T11:59:59.000000Z"})
    by_action = explain(repo, "v2:by_action", ANN, AT_NOON).to_dict()
    assert by_action["value"] == {"buy": 19.9}
    assert by_action["counted"][0]["values"] == {"action": "buy", "amount": "19.90"}
    assert by_action["window"]["left"] is None


def test_the_left_edge_is_open_and_the_right_one_closed(repo: Repo) -> None:
    instant = 1 / MINUTE
    events = [event("on the left", -30), event("inside", -30 + instant), event("on the right", 0)]
    land(repo.storage(CLICKS.name), 0, [*events, event("after", instant), event("long after", 60)])
    found = explain(repo, "v0:clicks", ANN, AT_NOON)
    assert (found.value, counted(found)) == (2, ["inside", "on the right"])
    assert ids(found, "left edge") == ["on the left"]
    assert ids(found, "after as_of") == ["after", "long after"]


def test_the_right_edge_of_an_offset_window_lies_before_as_of(repo: Repo) -> None:
    land(repo.storage(CLICKS.name), 0, [event("inside", -70), event("after", -30), event("before", -95)])
    found = explain(repo, "v0:before", ANN, AT_NOON)
    assert (found.value, counted(found)) == (1, ["inside"])
    assert (ids(found, "after as_of"), ids(found, "left edge")) == (["after"], ["before"])


def test_a_coarse_resolution_moves_the_left_edge_down_to_a_bucket(repo: Repo) -> None:
    land(
        repo.storage(CLICKS.name),
        0,
        [
            event("in the bucket", -30, quantity=9),
            event("before", -30.1, quantity=10),
            event("elsewhere", -1, shop=2, quantity=11),
        ],
    )
    found = explain(repo, "v1:most", {"user": "ann", "shop": "1"}, "2026-03-01T12:00:30Z")
    assert (found.value, counted(found)) == (9, ["in the bucket"])
    assert found.to_dict()["window"]["left"] == "2026-03-01T11:29:59.999999Z"


def test_many_rows_of_a_cause_are_counted_and_the_nearest_are_shown(repo: Repo) -> None:
    land(repo.storage(CLICKS.name), 0, [event(f"{minute}", -minute) for minute in range(31, 81)])
    out = explain(repo, "v0:clicks", ANN, AT_NOON).left_out["left edge"]
    assert (out.total, [row.event["event_id"] for row in out.nearest]) == (50, [f"{m}" for m in range(31, 51)])


def test_known_by_arrival_leaves_out_what_arrived_later(repo: Repo) -> None:
    land(
        repo.storage(CLICKS.name),
        0,
        [event("at once", -10), event("then", -9, arrived=5), event("later", -8, arrived=6)],
    )
    found = explain(repo, "v0:clicks", ANN, AT_NOON, known="2026-03-01T12:05:00Z")
    assert (found.value, counted(found), ids(found, "not yet known")) == (2, ["at once", "then"], ["later"])


def test_a_token_leaves_out_what_came_in_later_batches(repo: Repo) -> None:
    storage = repo.storage(CLICKS.name)
    for batch, name in enumerate(("first", "second", "third")):
        land(storage, batch, [event(name, batch - 10)])
    found = explain(repo, "v0:clicks", ANN, AT_NOON, known="q1b1")
    assert (found.value, counted(found), ids(found, "not yet known")) == (2, ["first", "second"], ["third"])
    assert explain(repo, "v0:clicks", ANN, AT_NOON, known="q0b0").value == 0


def test_a_condition_that_is_not_true_and_a_column_that_is_null_leave_events_out(repo: Repo) -> None:
    events = [
        event("counts", -4, action="buy", quantity=0),
        event("false", -3, action="view", quantity=1),
        event("null condition", -2, quantity=1),
        event("null column", -1, action="buy"),
    ]
    land(repo.storage(CLICKS.name), 0, events)
    found = explain(repo, "v0:bought", ANN, AT_NOON)
    assert (found.value, counted(found)) == (0, ["counts"])
    assert ids(found, "condition") == ["null column", "null condition", "false"]
    assert found.to_dict()["left_out"]["condition"]["nearest"][1]["values"] == {"action = 'buy'": None, "quantity": 1}


def test_an_event_of_no_group_does_not_count_for_a_sum_by_group(repo: Repo) -> None:
    one = Decimal("1.00")
    land(
        repo.storage(DEEDS.name),
        0,
        [
            event("a", -3, action="buy", amount=one),
            event("no group", -2, amount=one),
            event("no amount", -1, action="buy"),
        ],
    )
    found = explain(repo, "v2:by_action", ANN, AT_NOON)
    assert (counted(found), ids(found, "condition")) == (["a"], ["no amount", "no group"])


def test_a_repeated_delivery_is_a_duplicate_if_the_window_would_hold_it(repo: Repo) -> None:
    storage = repo.storage(CLICKS.name)
    land(storage, 0, [event("a", -5), event("old", -50)])
    others = [event("old", -50), event("new", 1), event("b", -5, user="bob")]
    land(storage, 1, duplicates=[event("a", -5, arrived=1), *others])
    found = explain(repo, "v0:clicks", ANN, AT_NOON)
    assert (found.value, ids(found, "duplicate"), found.left_out["duplicate"].total) == (1, ["a"], 1)
    [row] = found.to_dict()["left_out"]["duplicate"]["nearest"]
    assert (row["batch"], row["origin"], row["position"], row["arrival_day"]) == ("q1b1", "1.jsonl", 100, None)


def test_dead_letters_that_name_the_entity_are_refused_rows(repo: Repo) -> None:
    def payload(user: Any, time: str = "2026-03-01T11:50:00Z", **more: Any) -> str:
        return json.dumps({"event_id": "x", "user": user, "event_time": time, **more})

    dead = [
        (payload("ann", note="é"), "amount is not finite: NaN"),
        (payload("ann", time="never"), "event_time is not an ISO-8601 instant"),
        (payload("ann", time="2026-03-01T11:00:00Z"), "outside the window"),
        (payload("joann"), "of another"),
        (payload("bob", note="ann"), "names her only in a note"),
        (payload(["ann"]), "a list names nobody"),
        ('["ann"]', "not a JSON object"),
        ("ann", "not a JSON object"),
        (payload("ann").replace("ann", "\\u0061nn"), "spelled with an escape"),
    ]
    land(repo.storage(CLICKS.name), 0, [event("a", -5)], dead=dead)
    out = explain(repo, "v0:clicks", ANN, AT_NOON).to_dict()["left_out"]["refused"]
    said = [(row["reason"], row["event_time"], row["position"]) for row in out["nearest"]]
    ten_to = "2026-03-01T11:50:00.000000Z"
    assert sorted(said[:2]) == [("amount is not finite: NaN", ten_to, 200), ("spelled with an escape", ten_to, 208)]
    assert said[2:] == [("event_time is not an ISO-8601 instant", None, 201)]


@pytest.fixture
def lookback(repo: Repo) -> int:
    """The retention of the repo's clicks, if an `as_of` may lie an hour back; microseconds."""
    repo.store.config.online_store.online_lookback_seconds = 3_600
    found = repo.retention(*repo.views_of(CLICKS.name))
    assert found == (90 + 60) * MINUTE
    return found


def test_an_event_beyond_retention_does_not_count_for_a_token_and_a_note_says_so(repo: Repo, lookback: int) -> None:
    storage = repo.storage(CLICKS.name)
    land(storage, 0, [event("a", -5)])
    land(storage, 1, [event("too late", -10), event("out of reach", -40)], clock=NOON - 10 * MINUTE + lookback)
    land(storage, 2, [event("just in time", -9)], clock=NOON - 9 * MINUTE + lookback - 1)
    final = explain(repo, "v0:clicks", ANN, AT_NOON)
    assert (final.value, final.left_out.keys(), final.notes) == (3, {"left edge"}, ())
    served = explain(repo, "v0:clicks", ANN, AT_NOON, known="q1b2", against="final")
    assert (served.value, ids(served, "beyond retention")) == (2, ["too late"])
    assert served.notes[0].startswith("get_historical_features with q1b2 also counts what is beyond retention (1 of")
    assert differing(served) == [("too late", "q1b2", "beyond retention")]
    early = explain(repo, "v0:clicks", ANN, AT_NOON, known="q1b0")
    assert (ids(early, "not yet known"), early.notes) == (["just in time", "too late"], ())


def test_an_explanation_stays_the_same_when_the_log_is_compacted(repo: Repo) -> None:
    storage = repo.storage(CLICKS.name)
    dead = [('{"user": "ann"}', "event_time is missing")]
    for batch in range(3):
        land(storage, batch, [event(f"e{batch}", batch - 10)], duplicates=[event(f"e{batch}", batch - 10)], dead=dead)
    before = {known: explain(repo, "v0:clicks", ANN, AT_NOON, known).to_dict() for known in ("final", "q1b0", "q1b1")}
    assert logged.compact(storage) == 3 and len(storage.files()) == 1
    assert [before["final"]["value"], before["q1b0"]["value"], before["q1b1"]["value"]] == [3, 1, 2]
    for known_then, found in before.items():
        assert explain(repo, "v0:clicks", ANN, AT_NOON, known_then).to_dict() == found


def test_two_knowledges_differ_by_the_fewest_events_with_their_causes(repo: Repo) -> None:
    storage = repo.storage(CLICKS.name)
    land(storage, 0, [event("a", -9, quantity=4)])
    land(storage, 1, [event("b", -8, quantity=3), event("c", -7, quantity=8), event("d", -6, quantity=8)])
    found = explain(repo, "v1:most", ANN | {"shop": 1}, AT_NOON, against="q1b0")
    assert found.against is not None
    assert (found.value, found.against.known, found.against.value) == (8, "q1b0", 4)
    # Of a maximum that two events have, either stays if the other is taken away.
    assert differing(found) == [("c", "q1b0", "not yet known"), ("d", "q1b0", "not yet known")]
    back = explain(repo, "v1:most", ANN | {"shop": 1}, AT_NOON, known="q1b0", against="final")
    assert [name for name, *_ in differing(back)] == ["d"]


def test_each_of_two_knowledges_may_lack_what_the_other_has(repo: Repo) -> None:
    storage = repo.storage(CLICKS.name)
    land(storage, 0, [event("late", -8, arrived=30, action="buy", quantity=5)])
    land(storage, 1, [event("next", -7, action="buy", quantity=3), event("none", -6, action="buy", quantity=0)])
    found = explain(repo, "v0:bought", ANN, AT_NOON, known="q1b0", against=AT_NOON)
    assert (found.value, found.against and found.against.value) == (5, 3)
    assert differing(found) == [
        ("late", "2026-03-01T12:00:00.000000Z", "not yet known"),
        ("next", "q1b0", "not yet known"),
    ]


def test_one_event_for_another_makes_no_difference_to_a_count(repo: Repo) -> None:
    storage = repo.storage(CLICKS.name)
    land(storage, 0, [event("late", -8, arrived=30)])
    land(storage, 1, [event("next", -7)])
    found = explain(repo, "v0:clicks", ANN, AT_NOON, known="q1b0", against=AT_NOON)
    assert (found.value, found.against and found.against.value, differing(found)) == (1, 1, [])


@pytest.mark.parametrize(("seen", "by"), [("3", "final"), ("2", "q1b1"), ("1", "q1b0"), ("0", "q0b0")])
def test_a_value_that_was_seen_is_told_by_the_knowledge_that_gives_it(repo: Repo, seen: str, by: str) -> None:
    storage = repo.storage(CLICKS.name)
    for batch in range(3):
        land(storage, batch, [event(f"e{batch}", batch - 10), event(f"old{batch}", -40)])
    found = explain(repo, "v0:clicks", ANN, AT_NOON, against=f"value:{seen}")
    assert found.against is not None
    assert (found.against.known, found.against.value) == (by, int(seen))
    assert [name for name, *_ in differing(found)] == [f"e{batch}" for batch in range(int(seen), 3)]


def test_of_several_batches_that_give_a_value_the_latest_is_told(repo: Repo) -> None:
    for batch, quantity in enumerate((4, 3, 8)):
        land(repo.storage(CLICKS.name), batch, [event(f"e{batch}", -9, quantity=quantity)])
    found = explain(repo, "v1:most", ANN | {"shop": 1}, AT_NOON, against="value:4")
    assert found.against and found.against.known == "q1b1"


def test_the_knowledge_that_was_named_is_tried_first(repo: Repo) -> None:
    land(repo.storage(CLICKS.name), 0, [event("a", -9)])
    found = explain(repo, "v0:clicks", ANN, AT_NOON, known="q1b0", against="value:1")
    assert (found.against and found.against.known, differing(found)) == ("q1b0", [])


def test_a_value_that_nothing_gives_fails_the_command(repo: Repo) -> None:
    land(repo.storage(CLICKS.name), 0, [event("a", -9)])
    report = command.run(repo, "v0:clicks", ["user=ann"], AT_NOON, against="value:17")
    assert (report.ok, report.data["against"]) == (False, {"known": None, "value": 17, "events": []})
    assert report.errors[0].startswith("nothing gives 17: neither the whole log nor")


def test_a_whole_number_in_json_is_a_double_to_a_feature_of_doubles(repo: Repo) -> None:
    land(repo.storage(DEEDS.name), 0, [event("a", -1, action="buy", amount=Decimal("2.00"))])
    found = explain(repo, "v2:by_action", ANN, AT_NOON, against='value:{"buy": 2}')
    assert found.against is not None
    assert (found.against.known, found.against.value) == ("final", {"buy": 2.0})
    assert explain(repo, "v2:by_action", ANN, AT_NOON, against='value:{"Buy": 2}').against == Contrast("", {"Buy": 2.0})


def fewest_numbers(count: int, suffice: Callable[[set[int]], bool]) -> list[int]:
    """`fewest`, of numbers."""
    return np.flatnonzero(fewest(count, lambda some: suffice(set(np.flatnonzero(some).tolist())))).tolist()


def test_none_of_the_fewest_can_be_left_out_even_if_one_was_needed_for_another() -> None:
    assert fewest_numbers(8, lambda some: sum(some) >= 7 and 3 in some) == [3, 7]
    assert fewest_numbers(4, lambda some: some in ({0, 1, 2, 3}, {0, 1, 2}, {1, 2})) == [1, 2]
    assert fewest_numbers(3, lambda some: True) == []
    assert fewest_numbers(0, lambda some: True) == []


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"ref": "v0"}, InputError, "'v0' names no feature; write it as VIEW:FEATURE"),
        ({"ref": "v9:clicks"}, NotFoundError, "there is no windowed view 'v9'; the repo has v0, v1, v2"),
        ({"ref": "v0:no"}, NotFoundError, "view 'v0' has no feature 'no'; it has clicks, bought"),
        ({"entity": {}}, InputError, "view 'v0' has the join keys user, and none was given"),
        ({"entity": ANN | {"shop": 1}}, InputError, "the join keys user, and user, shop was given"),
        ({"entity": {"user": None}}, InputError, "user: the value is missing"),
        ({"entity": {"user": 7.5}}, InputError, "user: 7.5 is not a text key; pass text"),
        ({"as_of": "noon"}, InputError, "as_of: 'noon' is not an instant"),
        ({"known": "q1"}, InputError, "known: 'q1' is neither 'final' nor an instant nor a token"),
        ({"known": "q1b1"}, StaleRecordsError, "no finished batch 'q1b1', its last one is q1b0"),
        ({"known": "q2b0"}, StaleRecordsError, "no finished batch 'q2b0'"),
        ({"against": "q1b7"}, StaleRecordsError, "against: the log of source 'clicks' has no finished batch 'q1b7'"),
        ({"against": "value:many"}, InputError, "against: 'value:many' is no JSON after 'value:'"),
        ({"against": "value:1.5"}, InputError, "1.5 is no value of 'clicks', which holds int64"),
        ({"against": 'value:"1"'}, InputError, "'1' is no value of 'clicks'"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(
    repo: Repo, changed: dict[str, Any], error: type[Exception], said: str
) -> None:
    land(repo.storage(CLICKS.name), 0, [event("a", -1)])
    with pytest.raises(error) as refusal:
        explain(repo, **{"ref": "v0:clicks", "entity": ANN, "as_of": AT_NOON, **changed})
    assert said in str(refusal.value)


@pytest.mark.parametrize("text", ["ann", "user=ann"])
def test_the_command_takes_each_join_key_once(repo: Repo, text: str) -> None:
    with pytest.raises(InputError, match=f"--entity: '{text}' "):
        command.run(repo, "v0:clicks", ["user=bob", text], AT_NOON)


def test_a_served_answer_notes_state_of_another_declaration(repo: Repo) -> None:
    land(repo.storage(CLICKS.name), 0, [event("a", -1)])

    def notes() -> tuple[str, ...]:
        return explain(repo, "v0:clicks", ANN, AT_NOON, known="q1b0").notes

    assert notes() == ()  # no Redis runs, and none is started
    folder = embedded_folder(repo.store.config)
    assert redis.running(folder) is None
    try:
        client = connect(repo.redis_address)
        assert notes() == ("the online store has no state of view 'v0' now.",)
        own = view_version(repo.views["v0"])
        manifest.place(client, repo.project, "v0", Manifest("n1", view_version=own))
        assert notes() == ()
        manifest.place(client, repo.project, "v0", Manifest("n1", view_version="v0-00000000"))
        assert notes()[0].startswith("the online store holds state of another declaration of view 'v0'")
        assert explain(repo, "v0:clicks", ANN, AT_NOON).notes == ()  # the log has it all, whatever is served
    finally:
        redis.stop(folder)


def test_a_redis_that_does_not_answer_is_no_failure(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    land(repo.storage(CLICKS.name), 0, [event("a", -1)])
    monkeypatch.setenv("DUALPATH_REDIS", "127.0.0.1:1")
    assert explain(repo, "v0:clicks", ANN, AT_NOON, known="q1b0").value == 1
    monkeypatch.setattr(repo.store.config.online_store, "redis_type", "redis_sentinel")
    assert explain(repo, "v0:clicks", ANN, AT_NOON, known="q1b0").value == 1


def test_the_report_says_it_all(repo: Repo) -> None:
    storage = repo.storage(CLICKS.name)
    land(storage, 0, [event("a", -9), event("old", -31)], dead=[('{"user": "ann"}', "event_time is missing")])
    land(storage, 1, [event("b", -8)])
    report = command.run(repo, "v0:clicks", ["user=ann"], AT_NOON, known="q1b0", against="final")
    console = Console(width=140, record=True, file=StringIO())
    for part in report.shown:
        console.print(part)
    said = console.export_text()
    for text in (
        "v0:clicks of user=ann is 1.",
        "window  (2026-03-01T11:30:00Z, 2026-03-01T12:00:00Z]",
        "1 event of it counts.",
        "Not counted: 1 left edge, 1 not yet known, 1 refused.",
        "event_time is missing",
        "Known final, the value is 2. 1 event makes the difference:",
        "not yet known (q1b0)",
    ):
        assert text in said, said


@pytest.fixture(scope="module")
def every_aggregate(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """A repo with a view for every aggregate and kind of column, its log in four batches, and its record files."""
    declared = [drawn(views(*case), 1, number)[0] for number, case in enumerate(COMBINATIONS)]
    repo = generated.declare(tmp_path_factory.mktemp("every") / "repo", declared)
    storage = repo.storage(CLICKS.name)
    events = generated.together([history for history, _ in drawn(histories(), 12, 7)])
    order = np.random.default_rng(7).permutation(len(events))
    batches = np.array_split(order, 4)
    for batch, numbers in enumerate(batches):
        land(storage, batch, [events[number] for number in numbers], clock=0)
    place = {int(number): known.place(Fence(1, batch)) for batch, numbers in enumerate(batches) for number in numbers}
    build(repo, [(event, place[number]) for number, event in enumerate(events)])
    return repo


def build(repo: Repo, events: Sequence[tuple[dict[str, Any], int]]) -> None:
    """The record files of the repo's views, as the batch path makes them, of events and the places of their batches."""
    history, storage = History(repo.root), repo.storage(CLICKS.name)
    every = list(repo.views.values())
    made: dict[tuple[str, str], list[dict[str, Any]]] = {}
    texts: dict[int, str] = {}
    given = [event for event, _ in events]
    for view in every:
        for event, (_, batch) in zip(evaluated(view, given), events, strict=True):
            day = str(np.datetime64(event["arrival_time"], "us"))[:10]
            for entity, words in zip(*preview.records(view, [event]), strict=True):
                row = {"entity": entity, "words": words.tolist(), "arrived": event["arrival_time"], "batch": batch}
                made.setdefault((view_version(view), day), []).append(row)
            found = preview.dictionary(view, [event])
            texts |= dict(zip(found.codes.tolist(), found.texts.to_pylist(), strict=True))
    digests = storage.digests(record_salt(CLICKS.name))
    for view in every:
        name = view_version(view)
        for (version, day), rows in made.items():
            if version == name:
                write(repo.root / "made" / name / f"arrival_day={day}", pa.Table.from_pylist(rows, RECORDS))
        rows_made = sum(len(rows) for (version, _), rows in made.items() if version == name)
        (repo.root / "made" / name).mkdir(parents=True, exist_ok=True)
        history.publish(name, repo.root / "made" / name, digests, rows_made)
        history.note_complete(view, Fence(1, 3))
    dictionary = f"{DICTIONARY}/{CLICKS.name}"
    parts = storage.digests(dictionary_salt(CLICKS.name, every))
    day = min(parts)
    rows = [{"code": code, "text": text} for code, text in texts.items()]
    write(repo.root / "made/dictionary" / f"arrival_day={day}", pa.Table.from_pylist(rows, TEXTS))
    history.publish(dictionary, repo.root / "made/dictionary", {day: parts[day]}, len(rows))


@pytest.mark.parametrize("number", range(len(COMBINATIONS)), ids=[f"{a} of {kind}" for a, kind in COMBINATIONS])
def test_the_value_has_the_bits_of_a_training_set_and_of_the_oracle(every_aggregate: Repo, number: int) -> None:
    repo, random = every_aggregate, np.random.default_rng(number)
    view, log = repo.views[f"v{number}"], read(repo.storage(CLICKS.name), CLICKS)
    mine = log.filter(pa.compute.and_(log["user"].is_valid(), log["shop"].is_valid()))
    for knowledge in ("final", "arrived", "token"):
        picked = mine.slice(int(random.integers(len(mine))), 1).to_pylist()[0]
        entity = {key: picked[key] for key in view.keys}
        as_of = pd.Timestamp(picked["event_time"]) + pd.Timedelta(int(random.choice([0, 1, 3_600])), "s")
        arrived = pd.Timestamp(picked["arrival_time"])
        frame = pd.DataFrame([entity | {"event_timestamp": as_of}])
        asked: Any = None
        if knowledge == "arrived":
            asked, frame["known_at"] = arrived, [arrived]
        if knowledge == "token":
            asked = f"q1b{random.integers(4)}"
            frame[view.known_feature] = [asked]
        refs = [f"{view.name}:{feature.name}" for feature in view.features]
        trained = repo.store.get_historical_features(frame, refs).to_arrow()
        columns = {f.name: trained[f.name].to_pylist(maps_as_pydicts="strict") for f in view.features}
        found = {f.name: [explain(repo, f"{view.name}:{f.name}", entity, as_of, asked).value] for f in view.features}
        assert differences(found, columns) == []
        if knowledge != "token":
            at = int(pd.DatetimeIndex([as_of]).as_unit("us").asi8[0])
            limit = int(pd.DatetimeIndex([arrived]).as_unit("us").asi8[0]) if asked is not None else None
            [truth] = answers(view, [log], [(tuple(entity.values()), at)], [limit])
            assert all(same(truth[name], each) for name, [each] in found.items())


def test_a_long_report_shows_some_rows_and_says_how_many_there_are(repo: Repo) -> None:
    storage = repo.storage(CLICKS.name)
    land(storage, 0, [event(f"e{number}", -number) for number in range(30)])
    report = command.run(repo, "v0:clicks", ["user=ann"], AT_NOON, against="q0b0")
    tables = [part.row_count for part in report.shown if isinstance(part, Table)]
    assert tables == [command.SHOWN, command.SHOWN]
    said = [part for part in report.shown if isinstance(part, str)]
    assert "30 events of it count, of which these are the last 20:" in said
    assert "Known q0b0, the value is 0. 30 events make the difference, of which these are the first 20:" in said
    assert (len(report.data["counted"]), len(report.data["against"]["events"])) == (30, 30)


def test_the_picture_has_a_row_for_what_counts_and_for_each_cause(repo: Repo) -> None:
    storage = repo.storage(CLICKS.name)
    land(storage, 0, [event("a", -9), event("near", -31), event("far", -500)], dead=[('{"user": "ann"}', "no time")])
    land(storage, 1, [event("b", -8, arrived=-2)])
    figure = timeline(explain(repo, "v0:clicks", ANN, AT_NOON, known="q1b0"))
    [axes] = figure.axes
    labels = ["counts (1)", "left edge (1 of 2)", "not yet known (1)", "refused (0 of 1)"]
    assert [label.get_text() for label in axes.get_yticklabels()] == labels
    assert axes.get_title(loc="left").splitlines()[0] == "v0:clicks of user=ann is 1"
    marks = [len(line.get_xdata()) for line in axes.lines if line.get_marker() == "|"]
    assert marks == [1, 1, 1, 0]
