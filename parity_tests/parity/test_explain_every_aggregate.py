"""`explain` of every aggregate and kind of column: the bits of a training set and of the oracle."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualpath import known, preview
from dualpath.evaluation import evaluated
from dualpath.offline.history import DICTIONARY, RECORDS, TEXTS, History, dictionary_salt, record_salt, view_version
from dualpath.parity.compare import differences, same
from dualpath.parity.events import read
from dualpath.parity.explain import explain
from dualpath.parity.oracle_runner import answers
from dualpath.record import Fence
from dualpath.repo import Repo
from parity_tests import generated
from parity_tests.generated import drawn
from parity_tests.parity.explained import land
from parity_tests.strategies import CLICKS, COMBINATIONS, histories, views


def write(folder: Path, table: pa.Table) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "part-0.parquet", store_decimal_as_integer=True, store_schema=False)


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
