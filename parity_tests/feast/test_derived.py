"""Maps, lists and nulls are the same Python objects online and in training, for callers and for on-demand views.

Events are folded to records in memory and written to Redis and to record files as they are: no Spark.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Field
from feast.feature_server_utils import convert_response_to_dict
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.types import Array, Bool, FeastType, Float64, Int64, Json, Map, String
from pyspark.sql import SparkSession

from dualpath.declare import MAP_OF, NEVER_NULL
from dualpath.errors import InputError
from dualpath.feast.derived import answer, plain
from dualpath.offline.history import DICTIONARY, History, view_version
from dualpath.offline.history import TEXTS as TEXT_COLUMNS
from dualpath.online import manifest
from dualpath.online.connection import connect, embedded_folder
from dualpath.online.writer import TEXTS, FencedWrite
from dualpath.parity.compare import differences, same
from dualpath.parity.views import serve, train, view_groups
from dualpath.payloads import event
from dualpath.preview import dictionary, records
from dualpath.record import Fence, layout
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.view import View
from parity_tests.conftest import REPOS
from parity_tests.served import values as sent_values

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = "2026-03-01"
WORDS = ["zebra", "10", "9", "1e3", "true", "null", "", "Ünï", "\U0001f600", "\uffee", 'a"b\\', "key", "value", None]
"""Texts that look like something else, or that UTF-16 orders otherwise than UTF-8; and none."""
USERS = [f"u{n}" for n in range(12)]


def events(count: int = 600) -> list[dict[str, Any]]:
    """Clicks of a day; `u0` never has a count or a flag, `many` has thousands of words."""
    draw = np.random.default_rng(3)
    made = []
    for n in range(count):
        user = USERS[int(draw.integers(0, len(USERS)))]
        empty = user == "u0" or n % 3 == 0
        made.append(
            {
                "event_id": f"c{n}",
                "event_time": START + timedelta(seconds=int(draw.integers(0, 86_400))),
                "user_id": user,
                "word": WORDS[int(draw.integers(0, len(WORDS)))],
                "count": None if empty else int(draw.integers(-5, 10**14)),
                "amount": None if n % 5 == 0 else f"{int(draw.integers(-999, 9_999)) / 100:.2f}",
                "flag": None if empty else bool(draw.integers(0, 2)),
            }
        )
    many = [{"event_time": START, "user_id": "many", "word": f"w{n}", "event_id": f"m{n}"} for n in range(5_000)]
    return made + many


def fill(repo: Repo, view: View, events: list[dict[str, Any]]) -> None:
    """Put the records of events where the stream and the batch job would have put them."""
    typed = [event(view, number, each) for number, each in enumerate(events)]
    owners, words = records(view, typed)
    order = sorted(range(len(owners)), key=lambda i: (owners[i], words[i, 0]))
    owners, words = [owners[i] for i in order], words[order]
    texts = dictionary(view, typed)
    width = layout(view).width

    def rows(name: str, keys: list[str], words: np.ndarray) -> pa.RecordBatch:
        offsets = pa.array(np.arange(0, words.size + 1, words.shape[1], dtype=np.int32))
        columns = [pa.array([each] * len(keys)) for each in (name, DAY)]
        lists = pa.ListArray.from_arrays(offsets, pa.array(words.ravel()))
        return pa.record_batch([*columns, pa.array(keys), lists], ["view", "arrival_day", "entity", "words"])

    target = FencedWrite(repo.redis_address, repo.project, {view.name: repo.destination(view, "n1")}, Fence(1, 1))
    of_texts = rows(TEXTS, texts.texts.to_pylist(), texts.codes.reshape(-1, 1))
    list(target.write([of_texts, rows(view.name, owners, words.reshape(-1, width))]))
    manifest.place(
        connect(repo.redis_address), repo.project, view.name, manifest.Manifest("n1").with_arrival_days([DAY])
    )
    history = History(repo.root)
    lists = rows(view.name, owners, words)["words"]
    for name, table in (
        (view_version(view), pa.table({"entity": owners, "words": lists})),
        (f"{DICTIONARY}/{view.source.name}", pa.table([pa.array(texts.codes), texts.texts], schema=TEXT_COLUMNS)),
    ):
        staged = repo.root / "staged"
        (staged / f"arrival_day={DAY}").mkdir(parents=True)
        pq.write_table(table, staged / f"arrival_day={DAY}" / "0.parquet")
        history.publish(name, staged, {DAY: "a-part"}, len(table))


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    folder = tmp_path_factory.mktemp("derived") / "derived"
    shutil.copytree(REPOS / "derived", folder, ignore=shutil.ignore_patterns("__pycache__"))
    opened = Repo(folder)
    opened.apply()
    try:
        fill(opened, opened.views["habits"], events())
        yield opened
    finally:
        redis.stop(embedded_folder(opened.store.config))


def asked(count: int = 400) -> dict[str, list[Any]]:
    """Rows of users at instants of their day; the first is of a user without anything."""
    draw = np.random.default_rng(5)
    users = ["nobody", *draw.choice([*USERS, "nobody"], count - 1)]
    return {
        "user_id": [str(user) for user in users],
        "event_timestamp": [START + timedelta(seconds=int(s)) for s in draw.integers(0, 100_000, count)],
        "limit": [int(n) for n in draw.integers(0, 9, count)],
        "rate": [float(n) for n in draw.random(count)],
        "since": [START - timedelta(microseconds=int(n)) for n in draw.integers(0, 10**12, count)],
    }


def refs(repo: Repo) -> list[str]:
    """Every declared feature."""
    views = [*repo.views.values(), *repo.store.list_on_demand_feature_views()]
    return [f"{view.name}:{field.name}" for view in views for field in view.features]


def part(rows: dict[str, list[Any]], some: slice) -> dict[str, list[Any]]:
    return {name: column[some] for name, column in rows.items()}


def served(repo: Repo, rows: dict[str, list[Any]], *, full: bool = True) -> Any:
    return repo.store.get_online_features(refs(repo), rows, full_feature_names=full)


def trained(repo: Repo, rows: dict[str, list[Any]], *, full: bool = True) -> Any:
    return repo.store.get_historical_features(pd.DataFrame(rows), refs(repo), full_feature_names=full)


def columns(repo: Repo, answer: Any, *, full: bool = True) -> dict[str, list[Any]]:
    """The features of an Arrow table or a dict of lists."""
    names = [ref.replace(":", "__") if full else ref.split(":")[1] for ref in refs(repo)]
    if isinstance(answer, pa.Table):
        return {name: answer[name].to_pylist(maps_as_pydicts="strict") for name in names}
    return {name: [*answer[name]] for name in names}


def assert_same(left: dict[str, list[Any]], right: dict[str, list[Any]]) -> None:
    assert [*left] == [*right]
    for name in left:
        for row, (a, b) in enumerate(zip(left[name], right[name], strict=True)):
            assert same(a, b), (name, row, a, b)


@pytest.mark.parametrize("full", [True, False])
def test_what_a_function_is_given_and_answers_is_the_same_online_and_in_training(repo: Repo, full: bool) -> None:
    rows = asked()
    online = columns(repo, served(repo, rows, full=full).to_dict(), full=full)
    assert_same(online, columns(repo, trained(repo, rows, full=full).to_arrow(), full=full))
    prefix = "frame__" if full else ""
    assert None in online[f"{prefix}frame_more"] and any(online[f"{prefix}frame_more"])
    assert {None, True, False} <= {*online[f"{prefix}frame_flagged"]}


def test_on_spark_functions_answer_the_same_and_types_that_depend_on_values_are_refused(
    repo: Repo, spark: SparkSession
) -> None:
    rows = asked() | {"n": [*range(400)]}
    here = trained(repo, rows).to_arrow()
    given = spark.createDataFrame(pa.table(rows)).repartition(3)
    fields = {f"{v.name}:{f.name}": f for v in repo.store.list_on_demand_feature_views() for f in v.features}
    some = [ref for ref in refs(repo) if ref not in fields or plain(fields[ref].dtype)]
    assert {"frame", "lists", "row"} <= {ref.split(":")[0] for ref in some}
    there = repo.store.get_historical_features(given, some, full_feature_names=True).to_spark_df()
    names = [ref.replace(":", "__") for ref in some]
    assert there.columns[: len(rows) + len(some)] == [*rows, *names]
    found = there.toArrow().sort_by("n")
    expected = columns(repo, here)
    for name in names:
        assert same(found[name].to_pylist(maps_as_pydicts="strict"), expected[name]), name
    job = repo.store.get_historical_features(given, refs(repo), full_feature_names=True)
    assert_same(columns(repo, job.to_arrow().sort_by("n")), expected)
    with pytest.raises(InputError, match="is declared Map, which cannot be computed on Spark; use to_arrow or to_df"):
        job.to_spark_df()


def test_the_asynchronous_read_answers_the_same(repo: Repo) -> None:
    rows = asked(30)
    response = asyncio.run(repo.store.get_online_features_async(refs(repo), rows, full_feature_names=True))
    assert_same(columns(repo, response.to_dict()), columns(repo, served(repo, rows).to_dict()))


def test_what_a_function_is_given_depends_on_no_other_row(repo: Repo) -> None:
    rows = asked(80)
    whole = columns(repo, served(repo, rows).to_dict())
    for some in [slice(i, i + 1) for i in range(20)] + [slice(20, 27), slice(27, 80)]:
        alone = part(rows, some)
        expected = {name: column[some] for name, column in whole.items()}
        assert_same(columns(repo, served(repo, alone).to_dict()), expected)
        assert_same(columns(repo, trained(repo, alone).to_arrow()), expected)


def test_functions_see_dicts_in_order_lists_and_nulls_of_one_type(repo: Repo) -> None:
    answer = served(repo, asked(60)).to_dict()
    types = {"by_word": "dict", "spent_by_word": "dict", "words": "list", "counts": "list", "clicks_1h": "int"}
    for name in ("lists__lists_seen", "row__row_seen"):
        for told, map_ in zip(answer[name], answer["habits__by_word"], strict=True):
            seen = {name: (kind, value) for name, kind, value in eval(told)}
            assert {name: seen[name][0] for name in types} == types
            assert [*eval(seen["by_word"][1]).items()] == [*map_.items()] == sorted(map_.items())
    for told in answer["frame__frame_seen"]:
        kinds = {name: (dtype, kind) for name, dtype, kind, _ in eval(told, {"dtype": str, "array": list})[0]}
        assert kinds["by_word"] == ("object", "dict") and kinds["words"] == ("object", "ndarray")
        assert kinds["clicks_1h"][0] == "int64" and kinds["last_count"][0] == "Int64"
        assert kinds["last_flag"][0] == "boolean" and kinds["mean_1h"][0] == "float64"


def test_tables_and_frames_have_the_same_columns_types_and_values(repo: Repo) -> None:
    rows = asked(50)
    for some in (slice(0, 50), slice(0, 1)):
        alone = part(rows, some)
        online, training = served(repo, alone), trained(repo, alone)
        left, right = online.to_arrow(), training.to_arrow()
        names = [ref.replace(":", "__") for ref in refs(repo)]
        for name in names:
            assert left.schema.field(name).type == right.schema.field(name).type, name
        frames = online.to_df(), training.to_df()
        for name in names:
            ours, theirs = (frame[name] for frame in frames)
            assert ours.dtype == theirs.dtype, name
            assert [type(value) for value in ours] == [type(value) for value in theirs]
            assert same([*ours], [*theirs]), name
        assert isinstance(frames[0]["habits__by_word"][0], dict)


def test_only_features_that_have_no_null_are_said_to_have_none(repo: Repo) -> None:
    table = trained(repo, asked()).to_arrow()
    [view] = repo.store.list_feature_views()
    never = {field.name for field in view.features if field.tags.get(NEVER_NULL)}
    assert never == {"words", "counts", "amounts", "clicks_1h"}
    for field in view.features:
        if field.name in repo.views["habits"].own_names:
            continue
        nulls = table[f"habits__{field.name}"].null_count
        assert (nulls == 0) == (field.name in never or MAP_OF in field.tags), field.name


def told(repo: Repo) -> str:
    """Every answer about forty rows, as a text that keeps its order."""
    rows = asked(40) | {"user_id": ["many", *asked(40)["user_id"][1:]]}
    online, training = served(repo, rows), trained(repo, rows)
    tables = [str(each.to_arrow().to_pydict()) + str(each.to_df().to_dict()) for each in (online, training)]
    return json.dumps([online.to_dict(), convert_response_to_dict(online.proto), *tables], default=str)


TOLD = """
import sys
from pathlib import Path
from dualpath.repo import Repo
from parity_tests.feast.test_derived import told
print(told(Repo(Path(sys.argv[1]))))
"""


def test_order_is_the_same_in_every_process_and_over_http(repo: Repo) -> None:
    here = told(repo)
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"  # texts in a set have another order there
    there = subprocess.run(
        [sys.executable, "-c", TOLD, str(repo.folder)],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.splitlines()[-1] == here
    answer, over_http = json.loads(here)[:2]
    sent = sent_values(over_http, maps=[name for name, column in answer.items() if isinstance(column[0], dict)])
    assert [*answer["habits__by_word"][0]] == sorted(f"w{n}" for n in range(5_000))
    for name, column in answer.items():
        assert same(sent[name], column), name


def test_parity_compares_maps_and_what_is_derived_from_them(repo: Repo) -> None:
    [group] = view_groups(repo)
    rows = asked(100)
    as_of = np.array([when.timestamp() * 1e6 for when in rows["event_timestamp"]], dtype=np.int64)
    keys = [pa.array(rows["user_id"])]
    assert {"ranking:ranked", "habits:by_word"} <= {*group.refs}
    left, right = serve(repo, group, keys, as_of), train(repo, group, keys, as_of)
    assert differences(left, right) == []
    [row, *_] = [row for row, value in enumerate(left["ranking:ranked"]) if len(value) > 1]
    right["ranking:ranked"][row] = dict(reversed(right["ranking:ranked"][row].items()))
    assert [(d.row, d.feature) for d in differences(left, right)] == [(row, "ranking:ranked")]


def test_a_training_set_that_was_written_holds_its_maps_in_their_order(repo: Repo, tmp_path: Path) -> None:
    job = trained(repo, asked(30))
    job.persist(SavedDatasetFileStorage(str(tmp_path / "set.parquet")))
    table = pq.read_table(tmp_path / "set.parquet")
    assert_same(columns(repo, table), columns(repo, job.to_arrow()))


WRONG: list[tuple[FeastType, Any, str]] = [
    (Int64, [1, 2.5], "declared Int64"),
    (Int64, ["x"], "declared Int64"),
    (Float64, [1.0, [2.0]], "declared Float64"),
    (Map, [{1: 2}], "declared Map"),
    (Map, [{"a": 1}, {"b": "c"}], "declared Map"),
    (Array(String), [["a"], "b"], "declared Array"),
    (String, 5, "declared String"),
]


@pytest.mark.parametrize(("dtype", "values", "said"), WRONG, ids=str)
def test_an_answer_of_another_type_is_refused(dtype: FeastType, values: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"on-demand view 'v': 'f' is {re.escape(said)}"):
        answer(values, Field(name="f", dtype=dtype), "v")


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (Int64, pd.Series([1.0, float("nan")]), [1, None]),
        (Int64, [np.int64(2**62), None], [2**62, None]),
        (Float64, [1, None], [1.0, None]),
        (Float64, pd.Series([float("nan")]), [None]),
        (Bool, pd.Series([True, None], dtype="boolean"), [True, None]),
        (String, pd.Series(["a", "b"], dtype="category"), ["a", "b"]),
        (Array(Float64), [np.array([1.0]), [], None], [[1.0], [], None]),
        (Map, [{"b": 1, "a": 2}, None, {}], [{"b": 1, "a": 2}, None, {}]),
        (Json, ['{"b": 1}'], [{"b": 1}]),
        (Json, [[1, 2], None], [[1, 2], None]),
    ],
    ids=str,
)
def test_answers_become_the_declared_type(dtype: FeastType, values: Any, expected: list[Any]) -> None:
    assert same(answer(values, Field(name="f", dtype=dtype), "v").to_pylist(maps_as_pydicts="strict"), expected)
