"""`explain`: the value of each knowledge, and every cause for which a row does not count."""

import json
from decimal import Decimal
from typing import Any

import pytest

from dualpath.parity.explain import explain
from dualpath.repo import Repo
from dualpath.windows import SECOND
from parity_tests import logged
from parity_tests.parity.explained import (
    ANN,
    AT_NOON,
    DEEDS,
    MINUTE,
    NOON,
    counted,
    differing,
    event,
    ids,
    land,
)
from parity_tests.strategies import CLICKS


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
