"""Which combination of micro-batches of several sources gives a value: the one that trying them one by one finds."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dualpath.aggregates import Count, Distinct, Last, Sum
from dualpath.errors import InputError
from dualpath.parity import contrast, question
from dualpath.parity.compare import same
from dualpath.parity.contrast import giving
from dualpath.parity.explain import explain
from dualpath.parity.question import ALL, Knowledge, Question, served
from dualpath.record import UNFENCED
from dualpath.repo import Repo
from dualpath.view import Feature, View
from dualpath.windows import minutes
from parity_tests import generated
from parity_tests.parity.explained import ANN, AT_NOON, DEEDS, NOON, event, land
from parity_tests.strategies import CHANGED, CLICKS

VERSIONS = replace(CHANGED, name="versions", lookups=())
WINDOW = minutes(30)
BOTH = View(
    "both",
    ("user",),
    CLICKS,
    (
        Feature("count", Count(), WINDOW),
        Feature("bought", Sum("shop", where="action = 'buy'"), WINDOW),
        Feature("notes", Distinct("note"), WINDOW),
        Feature("last", Last("note"), WINDOW),
    ),
    others=(DEEDS, VERSIONS),
)
BATCHES = 4


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Events of a user in four micro-batches of three sources; those of the third are versions of two rows."""
    made = generated.declare(tmp_path_factory.mktemp("contrast") / "repo", [BOTH])
    random = np.random.default_rng(4)
    for source in BOTH.sources:
        for batch in range(BATCHES):
            rows = []
            for number in range(3):
                row: dict[str, Any] = {"action": str(random.choice(["buy", "view"])), "note": f"{random.integers(3)}"}
                row |= {"place": int(random.integers(2)), "edition": batch, "shop": int(random.integers(3))}
                rows.append(event(f"{source.name} {batch} {number}", -float(random.integers(1, 40)), **row))
            land(made.storage(source.name), batch, rows, schema=source.stored, source=source)
    return made


def asked(repo: Repo, feature: str) -> Question:
    view = repo.views["v0"]
    [found] = [each for each in view.features if each.name == feature]
    return Question(repo, view, found, ["ann"], NOON)


def every(found: Question) -> Iterator[Knowledge]:
    yield ALL
    of_parts = [{row.batch for row in found.reached if row.view == part} for part in found.parts]
    for fences in product(*([*sorted(each, reverse=True), UNFENCED] for each in of_parts)):
        yield served([storage.source for storage in found.storages], fences)


@pytest.mark.parametrize("feature", [each.name for each in BOTH.features])
@pytest.mark.parametrize("cells", [100, contrast.CELLS])
def test_the_first_of_all_combinations_is_found(
    feature: str, cells: int, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrast, "CELLS", cells)
    found = asked(repo, feature)
    one_by_one = [(each, found.value(found.has(each))) for each in every(found)]
    answers = {repr(value): value for _, value in one_by_one}
    assert len(answers) > 2
    for value in answers.values():
        assert giving(found, value, ALL) == next(each for each, given in one_by_one if same(given, value))
    assert giving(found, {"notes": ["none"], "last": "none"}.get(feature, 999), ALL) is None


def test_what_a_read_has_follows_from_what_it_has_of_each_source(repo: Repo) -> None:
    found, replaced = asked(repo, "bought"), 0
    for each in [*every(found)][1:]:
        fences = [each.batches[part.source.name] for part in found.parts] if each.batches else []
        has = [found.has_after(part, [fence])[0] for part, fence in zip(found.parts, fences, strict=True)]
        assert (np.logical_or.reduce(has) == found.has(each)).all()
        replaced += sum(found.lacked(row, each) == question.REPLACED for row in found.reached)
    assert replaced


def test_combinations_are_computed_many_at_once(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    honest = question.values_of
    monkeypatch.setattr(question, "values_of", lambda *given: (calls.append(len(given[3])), honest(*given))[1])
    found = asked(repo, "count")
    assert giving(found, 999, ALL) is None
    assert calls == [1, 1, len([*every(found)]) - 1] and calls[-1] > 50


def test_more_combinations_than_can_be_tried_are_refused(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrast, "MOST", 20)
    with pytest.raises(InputError, match=r"against: \d+ combinations of micro-batches may .* at most 20 are tried"):
        explain(repo, "v0:count", ANN, AT_NOON, against="value:999")
    every_one = explain(repo, "v0:count", ANN, AT_NOON).value
    told = explain(repo, "v0:count", ANN, AT_NOON, against=f"value:{every_one}").against
    assert told and told.known == "final"
