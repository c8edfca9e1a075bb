"""The catalogue: what is committed is what the declarations say, and the declarations say it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dualpath.aggregates import ApproxDistinctCount, Count, CountBy, Distinct, Last, LastK, Mean, Ratio, SumBy
from dualpath.cli import app
from dualpath.console import catalogue
from dualpath.dimension import dimension, lookup
from dualpath.repo import Repo
from dualpath.schema import decimal, text
from dualpath.view import Feature, View
from dualpath.windows import DAY, SECOND, Window, days, hours, lifetime, today
from parity_tests.conftest import CHECKOUT
from parity_tests.strategies import CLICKS

COMMITTED = CHECKOUT / "docs/features.md"


def view(*features: Feature, resolution: int = 1) -> View:
    return View("clicks_by_user", ("user",), CLICKS, features or (Feature("n", Count(), hours(1)),), resolution)


def run(*words: str | Path) -> tuple[int, dict]:
    """A command's exit code and JSON."""
    result = CliRunner().invoke(app, ["catalogue", *map(str, words), "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_the_committed_catalogue_is_what_the_declarations_say(applied: Path) -> None:
    """If this fails: `dualpath catalogue --repo feature_repo --output docs/features.md`."""
    assert COMMITTED.read_text() == catalogue.text(Repo(applied))


def test_everything_public_in_the_feature_repo_is_described(applied: Path) -> None:
    repo = Repo(applied)
    said = {f"{v.name}:{f.name}": f.description for v in repo.views.values() for f in v.features}
    said |= {v.name: v.description for v in repo.views.values()} | {
        s.name: s.description for s in repo.sources.values()
    }
    store = repo.store
    others = [*store.list_on_demand_feature_views(), *store.list_entities(), *store.list_feature_services()]
    said |= {each.name: each.description for each in others}
    assert [name for name, description in said.items() if not description.endswith(".")] == []
    assert [name for name in said if name.rpartition(":")[2] not in COMMITTED.read_text()] == []


def test_the_command_writes_the_catalogue_and_says_whether_a_file_is_current(applied: Path, tmp_path: Path) -> None:
    file = tmp_path / "features.md"
    assert run("--repo", applied, "--output", file, "--check")[0] == 1
    assert not file.exists()
    assert run("--repo", applied, "--output", file)[0] == 0
    assert file.read_text() == COMMITTED.read_text()
    assert run("--repo", applied, "--output", file, "--check") == (
        0, {"views": 3, "features": 10, "file": str(file), "current": True},
    )  # fmt: skip
    file.write_text(file.read_text().replace("half hour", "hour"))
    code, told = run("--repo", applied, "--output", file, "--check")
    assert (code, told["current"]) == (1, False)
    assert told["error"].endswith(f"run `dualpath catalogue --output {file}`.")
    assert "half hour" not in file.read_text()


def test_without_a_file_the_catalogue_is_shown(applied: Path) -> None:
    assert run("--repo", applied)[1]["markdown"] == COMMITTED.read_text()
    shown = CliRunner().invoke(app, ["catalogue", "--repo", str(applied)]).stdout
    assert "actions_30min" in shown and "| ---" not in shown
    assert run("--repo", applied, "--check") == (
        1,
        {"error": "name the file to check with --output.", "code": "input"},
    )


@pytest.mark.parametrize(
    ("resolution", "sentence"),
    [
        (1, "exact: every window begins on its microsecond"),
        (SECOND, "1 second: the left edge of every window moves, down to the start of its second"),
        (60 * SECOND, "1 minute: the left edge of every window moves, down to the start of its minute"),
        (900 * SECOND, "15 minutes: the left edge of every window moves, down to the start of its 15 minutes"),
    ],
)
def test_a_resolution_is_said_with_what_it_moves(resolution: int, sentence: str) -> None:
    assert catalogue.resolution(view(resolution=resolution)) == sentence


def test_what_a_source_looks_up_is_said_with_where_it_is() -> None:
    brands = dimension("brands", path="lake/brands", keys=[text("shop"), text("id")], fields=[text("brand")])
    prices = dimension(
        "prices", topic="price-list", keys=[text("note")], fields=[decimal("list", scale=2), decimal("paid", scale=2)]
    )
    taken = (
        lookup(brands, on={"shop": "action", "id": "note"}, prefix="its_", required=True),
        lookup(prices),
    )
    found = catalogue.facts(replace(view(), source=replace(CLICKS, lookups=taken)), {}, None)
    assert [line for line in found.splitlines() if "looks up" in line] == [
        "| looks up | `its_brand`, by `action` and `note` in brands (lake/brands) as of the event's time; "
        "an event without a version is refused |",
        "| looks up | `list` and `paid`, by `note` in prices (the topic price-list) as of the event's time |",
    ]
    assert "looks up" not in catalogue.facts(view(), {}, None)


def test_a_record_is_an_event_or_a_bucket_for_each_combination_of_dimensions() -> None:
    by = (Feature("n", CountBy("action"), hours(1)), Feature("m", Distinct("note"), hours(1)))
    assert catalogue.record(view(*by)) == "one event that a feature looks at"
    assert catalogue.record(view(resolution=SECOND)) == "the events of 1 second"
    assert catalogue.record(view(*by, resolution=SECOND)) == "the events of 1 second, for each `action` and `note`"
    about = Feature("n", ApproxDistinctCount("note"), hours(1))
    assert catalogue.record(view(about, resolution=SECOND)) == "the events of 1 second, for each hash of `note`"


def test_how_long_state_is_kept_follows_from_windows_and_the_online_lookback() -> None:
    assert catalogue.kept(view(), DAY + 3600 * SECOND) == "25 hours from when it happened"
    assert catalogue.kept(view(), None) == "for ever: `online_lookback_seconds` is null"
    assert catalogue.kept(view(Feature("n", Count(), lifetime())), None) == "for ever: a feature looks at all time"


@pytest.mark.parametrize(
    ("feature", "declared", "type", "empty", "words", "lookback"),
    [
        (Count(), "count over the last 1 hour", "integer", "`0`", "1", "1 hour"),
        (Mean("amount"), "mean of amount over the last 1 hour", "double", "`null`", "2", "1 hour"),
        (
            Last("seen"), "last of seen over the last 1 hour", "integer, microseconds since 1970 UTC", "`null`", "3",
            "1 hour",
        ),
        (LastK("note"), "lastk of note over the last 1 hour", "list of text", "`[]`", "3", "1 hour"),
        (
            SumBy("amount", where="flag", by="note"),
            "sumby of amount where flag over the last 1 hour", "map from text to double", "`{}`", "3", "1 hour",
        ),
        (Ratio(bottom=Count()), "ratio of count to count over the last 1 hour", "double", "`null`", "1", "1 hour"),
    ],
)  # fmt: skip
def test_a_feature_is_a_line(feature: Count, declared: str, type: str, empty: str, words: str, lookback: str) -> None:
    described = Feature("f", feature, hours(1), "It counts.")
    assert catalogue.line(view(described), described) == (
        "`f`", "It counts.", declared, type, empty, words, lookback,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("over", "lookback"),
    [(lifetime(), "all time"), (today(), "31 hours"), (days(7).before(days(7)), "14 days")],
)
def test_the_lookback_is_that_of_the_window(over: Window, lookback: str) -> None:
    asked = Feature("f", Count(), over)
    assert catalogue.line(view(asked), asked)[-1] == lookback


def test_a_bar_in_a_sentence_does_not_end_its_cell() -> None:
    assert catalogue.table(("a", "b"), [("x | y", "z")]) == "| a | b |\n| --- | --- |\n| x \\| y | z |"
