"""The texts behind codes: a training set looks up those that it holds, in its own source, and no others."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualpath import kernel
from dualpath.aggregates import Count, Distinct, Last
from dualpath.errors import CollisionError, StaleRecordsError, StateError
from dualpath.known import Known
from dualpath.offline import training
from dualpath.offline.history import DICTIONARY, RECORDS, TEXTS, History
from dualpath.values import Dictionary
from dualpath.view import Feature, View
from dualpath.windows import hours
from parity_tests.strategies import CLICKS

FEATURES = (Feature("clicks", Count(), hours(1)), Feature("kinds", Distinct("action"), hours(1)))
VIEW = View("activity", ("user",), CLICKS, FEATURES)
LATEST = View("latest", ("user",), CLICKS, (*FEATURES, Feature("latest", Last("action"), hours(1))))
DAYS = ("2026-03-01", "2026-03-02")


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def not_asked(codes: np.ndarray) -> Dictionary:
    raise AssertionError(f"it looked for {codes}")


def place_texts(history: History, source: str, day: str, texts: dict[int, str]) -> None:
    """Let a source's dictionary have a day with these texts."""
    name, folder = f"{DICTIONARY}/{source}", history.root / "staged" / f"arrival_day={day}"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"code": [*texts], "text": [*texts.values()]}, TEXTS), folder / "part-0.parquet")
    history.publish(name, history.root / "staged", {day: f"{day}-x"}, len(texts))


def test_a_lookup_takes_the_texts_of_its_codes_in_its_own_source(history: History) -> None:
    place_texts(history, "clicks", DAYS[0], {1: "one", 2: "two", 3: "three"})
    place_texts(history, "clicks", DAYS[1], {2: "two", -4: "four"})
    place_texts(history, "other", DAYS[0], {1: "uno", 5: "cinco"})
    found = history.texts(["clicks"], np.array([2, -4, 9]))
    assert (found.codes.tolist(), found.texts.to_pylist()) == ([-4, 2], ["four", "two"])
    with pytest.raises(StateError, match="no text for the code 5; the dictionary is incomplete"):
        history.texts(["clicks"], np.array([5])).find(np.array([5]))


def test_two_texts_of_one_code_are_refused_when_it_is_looked_up(history: History) -> None:
    place_texts(history, "clicks", DAYS[0], {1: "one", 2: "two"})
    place_texts(history, "clicks", DAYS[1], {1: "another"})
    assert history.texts(["clicks"], np.array([2])).texts.to_pylist() == ["two"]
    with pytest.raises(CollisionError, match="have the same 64-bit code 1"):
        history.texts(["clicks"], np.array([1, 2]))


def test_a_training_set_without_texts_opens_no_dictionary() -> None:
    table = pa.table({"entity": ["ann"], "words": [[1, 2, 1, 7, 1]]})
    found = training.values(VIEW, ["clicks"], pa.array(["ann", "bob"]), np.array([5, 5]), table, not_asked)
    assert found["clicks"].to_pylist() == [1, 0]


def test_a_training_set_looks_up_each_text_that_it_holds_once() -> None:
    words = [[1, 2, 1, 7, 1], [2, 3, 1, 8, 1], [9, 4, 1, 9, 1]]
    records = pa.table({"entity": ["ann", "ann", "bob"], "words": words})
    asked = []

    def texts(codes: np.ndarray) -> Dictionary:
        asked.append(codes.tolist())
        return Dictionary.of(pa.array(codes), pa.array([f"text {code}" for code in codes.tolist()]))

    found = training.values(VIEW, ["kinds"], pa.array(["ann", "ann", "bob"]), np.array([5, 1, 5]), records, texts)
    assert found["kinds"].to_pylist() == [["text 7", "text 8"], ["text 7"], []]
    assert asked == [[7, 8]]


@pytest.mark.parametrize(("name", "type"), [("kinds", pa.list_(pa.string())), ("latest", pa.string())])
def test_a_feature_of_texts_keeps_its_type_where_no_row_has_a_text(name: str, type: pa.DataType) -> None:
    found = training.values(LATEST, [name], pa.array(["ann"]), np.array([5]), RECORDS.empty_table(), not_asked)
    assert found[name].type == type


def test_a_training_set_without_records_compiles_no_kernel_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    given, real = [], kernel.fold

    def fold(words: np.ndarray, *rest: Any) -> Any:
        given.append(words)
        return real(words, *rest)

    monkeypatch.setattr(kernel, "fold", fold)
    training.values(VIEW, ["clicks"], pa.array(["ann"]), np.array([5]), RECORDS.empty_table(), not_asked)
    assert [words.flags.writeable for words in given] == [True]


def test_records_of_an_earlier_version_do_not_say_what_was_known() -> None:
    column = pa.nulls(1, pa.int64())
    table = pa.table({"entity": ["ann"], "words": [[1, 2, 1, 7, 1]], "arrived": column})
    known = Known("arrived", np.array([5]))
    with pytest.raises(StaleRecordsError, match="view 'activity': its record files are of an earlier version"):
        training.values(VIEW, ["clicks"], pa.array(["ann"]), np.array([5]), table, not_asked, known)
