"""`dualpath explain`: what it refuses, what it notes, its report and its picture."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from dualpath.console import explain as command
from dualpath.errors import InputError, NotFoundError, StaleRecordsError
from dualpath.offline.history import view_version
from dualpath.online import manifest
from dualpath.online.connection import connect, embedded_folder
from dualpath.online.manifest import Manifest
from dualpath.parity.explain import explain
from dualpath.parity.timeline import timeline
from dualpath.repo import Repo
from dualpath.runtime import redis
from parity_tests.parity.explained import ANN, AT_NOON, event, land
from parity_tests.strategies import CLICKS


def test_a_value_that_nothing_gives_fails_the_command(repo: Repo) -> None:
    land(repo.storage(CLICKS.name), 0, [event("a", -9)])
    report = command.run(repo, "v0:clicks", ["user=ann"], AT_NOON, against="value:17")
    assert (report.ok, report.data["against"]) == (False, {"known": None, "value": 17, "events": []})
    assert report.errors[0].startswith("nothing gives 17: neither the whole log nor")


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
