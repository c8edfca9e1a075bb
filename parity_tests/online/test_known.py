"""What a read says it knew: never less than it saw, whenever it reads; and how stale the stream is."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from pyspark.sql import SparkSession
from redis import Redis

from dualpath.aggregates import Count
from dualpath.errors import DeclarationError, InputError, StaleStreamError
from dualpath.feast.offline import DualpathOfflineStoreConfig
from dualpath.feast.online import DualpathRedisOnlineStoreConfig
from dualpath.jobs.build import build
from dualpath.jobs.metrics import Meter, Metrics
from dualpath.jobs.sink import Sink
from dualpath.online import high_water_mark, writer
from dualpath.online.connection import connect
from dualpath.online.high_water_mark import HighWaterMark
from dualpath.online.manifest import Manifest
from dualpath.online.reader import Format, Lookup, Reader
from dualpath.parity.compare import differences
from dualpath.parity.events import read
from dualpath.record import UNFENCED, Fence, layout
from dualpath.repo import Repo
from dualpath.steps import Step
from dualpath.view import Feature, View
from dualpath.windows import hours
from parity_tests import faults
from parity_tests.conftest import SOURCE, drain
from parity_tests.filled import NAMESPACE, fill
from parity_tests.parity.test_edges import bought
from parity_tests.strategies import CLICKS, at

NOON = at(2026, 3, 5, 12)
DAY = 86_400_000_000
USERS = [f"u{number}" for number in range(6)]
VIEW = "user_activity"
FEATURES = ["actions_30min", "spend_today", "last_active", "interests_1h"]
REFS = [f"{VIEW}:{name}" for name in FEATURES]
KNOWN, ARRIVED = f"known_{VIEW}", f"arrived_{VIEW}"
EVENT = {"user_id": "ann", "action": "view_item", "event_time": "2026-03-01T12:00:00Z"}


def post(repo: Repo, number: int, *days: int) -> None:
    """A file with events of every user, all of noon, that arrive on several days."""
    found = [bought(user, NOON - number, f"{number + day}.50", delay=day * DAY) for user in USERS for day in days]
    faults.post(repo, [line for _, line in found], files=1)


def ask(repo: Repo) -> dict[str, list[Any]]:
    rows = {"user_id": [*USERS, "nobody", None], "event_timestamp": [np.datetime64(NOON, "us")] * (len(USERS) + 2)}
    return repo.store.get_online_features([*REFS, f"{VIEW}:{KNOWN}", f"{VIEW}:{ARRIVED}"], rows).to_dict()


def again(repo: Repo, served: dict[str, list[Any]]) -> list[Any]:
    """Where a training set with the tokens of what was served differs from it."""
    frame = pa.table(
        {name: served[name] for name in ("user_id", KNOWN)} | {"event_timestamp": [NOON] * len(served[KNOWN])}
    )
    frame = frame.set_column(2, "event_timestamp", frame["event_timestamp"].cast(pa.timestamp("us", "UTC")))
    trained = repo.store.get_historical_features(frame, REFS).to_arrow()
    return differences(
        {name: served[name] for name in FEATURES}, {name: trained[name].to_pylist() for name in FEATURES}
    )


@pytest.mark.parametrize("small", [True, False], ids=["by the driver", "by Spark"])
def test_a_read_in_the_middle_of_a_batch_says_exactly_what_it_saw(
    small: bool, spark: SparkSession, new_repo: Callable[[], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read after each write of one entity, and one between the last write and the high-water mark."""
    repo, seen = new_repo(), []
    post(repo, 0, 0)
    drain(spark, repo)
    post(repo, 1, 0, 1)
    monkeypatch.setattr(writer, "ENTITIES_PER_CALL", 1)
    if small:
        append = writer._Writer.append

        def watched(self: Any, *arguments: Any) -> None:
            append(self, *arguments)
            seen.append(ask(repo))

        monkeypatch.setattr(writer._Writer, "append", watched)
    else:
        monkeypatch.setattr("dualpath.jobs.sink.SMALL_BATCH", -1)
    faults.crash_at(monkeypatch, Step.ADVANCE_MARK, fault=lambda: seen.append(ask(repo)))
    drain(spark, repo)
    seen.append(ask(repo))
    build(spark, repo, repo.sources[SOURCE])
    assert [again(repo, found) for found in seen] == [[]] * len(seen)
    said = [tuple(found[KNOWN]) for found in seen]
    between, after = (*["q1b1"] * 6, "q1b0", "q1b0"), ("q1b1",) * 8
    assert said[-2:] == [between, after]
    assert not small or len({*said}) == len(USERS) + 1, "reads must meet the batch at every user"


def test_the_newest_arrival_is_that_of_the_log_and_outlives_a_lost_redis(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    repo = new_repo()
    for number, days in enumerate([(0, 2), (1,)]):
        post(repo, number, *days)
        drain(spark, repo)
    newest = pc.max(read(repo.storage(SOURCE), repo.sources[SOURCE])["arrival_time"].cast(pa.int64())).as_py()
    assert {*ask(repo)[ARRIVED]} == {newest} == {NOON + 2 * DAY}
    faults.kill_redis(repo, kept=False)
    post(repo, 2, 0)
    drain(spark, repo)
    found = ask(Repo(repo.folder))
    assert {*found[ARRIVED]} == {newest} and {*found[KNOWN]} == {"q1b2"}
    build(spark, repo, repo.sources[SOURCE])
    assert again(repo, found) == []


def test_a_stream_with_nothing_to_read_says_that_it_is_up_to_date(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    repo = new_repo()
    post(repo, 0, 0)
    drain(spark, repo)
    client = connect(repo.redis_address)
    [before] = high_water_mark.read(client, repo.project, "n1", SOURCE)
    sink = Sink(repo, repo.sources[SOURCE], 1, Meter(Metrics(), SOURCE, repo.folder / "metrics"))
    sink.idle()
    [after] = high_water_mark.read(client, repo.project, "n1", SOURCE)
    assert before and after and after == before._replace(written=after.written) and after.written > before.written
    faults.kill_redis(repo, kept=False)
    sink.idle()  # no mark is made where there is none
    assert high_water_mark.read(connect(repo.redis_address), repo.project, "n1", SOURCE) == [None]


def server_time(client: Redis) -> int:
    """The clock of Redis, microseconds UTC."""
    seconds, microseconds = client.time()
    return seconds * 1_000_000 + microseconds


def test_a_mark_moves_only_from_where_it_was_and_keeps_the_newest_arrival(new_repo: Callable[[], Repo]) -> None:
    client = connect(new_repo().redis_address)
    place = (client, "shop", "n1", SOURCE)
    began = server_time(client)
    high_water_mark.place(*place, UNFENCED)
    high_water_mark.advance(*place, since=UNFENCED, to=Fence(1, 1), arrived=NOON, within=[])
    high_water_mark.advance(*place, since=Fence(1, 1), to=Fence(1, 2), arrived=NOON - 1, within=[])
    [found] = high_water_mark.read(*place)
    assert found and found == HighWaterMark(Fence(1, 2), NOON, found.written)
    assert began <= found.written <= server_time(client)
    with pytest.raises(high_water_mark.LostError):
        high_water_mark.advance(*place, since=Fence(1, 1), to=Fence(1, 3), arrived=NOON, within=[])
    high_water_mark.confirm(*place, Fence(1, 1))
    assert high_water_mark.read(*place) == [found]


def test_several_marks_say_what_all_of_them_say() -> None:
    client_marks = [
        high_water_mark.encode(Fence(1, 3)),
        high_water_mark.encode(Fence(1, 2)) + bytes(7) + b"\x05" + bytes(8),
    ]
    assert high_water_mark.lowest(client_marks) == HighWaterMark(Fence(1, 2), 0, 0)
    assert high_water_mark.lowest([*client_marks, None]) == HighWaterMark(UNFENCED, 0, 0)


@pytest.fixture(scope="module")
def filled(new_repo: Callable[[], Repo]) -> Repo:
    """A repo with an event in Redis, and a mark that was written now."""
    repo = new_repo()
    fill(repo, [EVENT | {"arrival_time": EVENT["event_time"]}])
    client = connect(repo.redis_address)
    high_water_mark.place(client, repo.project, NAMESPACE, SOURCE, UNFENCED)
    high_water_mark.advance(
        client, repo.project, NAMESPACE, SOURCE, since=UNFENCED, to=Fence(1, 1), arrived=1, within=[]
    )
    return repo


def read_after(filled: Repo, seconds: float, **settings: Any) -> Any:
    """What a server answers whose clock is so far after the last word of the stream."""
    repo = Repo(filled.folder)
    online: Any = repo.store._get_provider().online_store
    [mark] = high_water_mark.read(connect(repo.redis_address), repo.project, NAMESPACE, SOURCE)
    assert mark
    online.clock = lambda: mark.written + int(seconds * 1e6)
    for name, value in settings.items():
        setattr(repo.store.config.online_store, name, value)
    rows = {"user_id": ["ann", "nobody"], "event_timestamp": ["2026-03-01T12:01:00Z"] * 2}
    return repo.store.get_online_features([f"{VIEW}:actions_30min", f"{VIEW}:{KNOWN}"], rows)


def statuses(found: Any) -> dict[str, list[str]]:
    names = found.proto.metadata.feature_names.val
    return {n: [FieldStatus.Name(s) for s in v.statuses] for n, v in zip(names, found.proto.results, strict=True)}


def test_an_answer_from_a_stale_stream_is_refused_or_marked(filled: Repo) -> None:
    minute = timedelta(minutes=1)
    assert read_after(filled, 60, max_staleness=minute).to_dict()["actions_30min"] == [1, 0]
    with pytest.raises(
        StaleStreamError, match=r"said 0:01:00\.000001 ago for the last time .*max_staleness is 0:01:00;"
    ):
        read_after(filled, 60.000001, max_staleness=minute)
    marked = read_after(filled, 61, max_staleness=minute, when_stale="mark")
    assert marked.to_dict()["actions_30min"] == [1, 0]
    assert statuses(marked)["actions_30min"] == ["OUTSIDE_MAX_AGE"] * 2
    fresh = read_after(filled, 59, max_staleness=minute, when_stale="mark")
    assert statuses(fresh)["actions_30min"] == ["PRESENT", "NOT_FOUND"]
    assert read_after(filled, 10**6).to_dict()[KNOWN] == ["q1b1", "q1b1"], "nobody asked how stale"


def test_the_settings_take_seconds_and_durations() -> None:
    made = [DualpathRedisOnlineStoreConfig(max_staleness=given).max_staleness for given in (90, "PT1M30S")]
    assert made == [timedelta(seconds=90)] * 2
    for given in (-1, True, "soon", 10**12):
        with pytest.raises(InputError, match=r"feature_store.yaml: online_store.max_staleness is .*; give seconds"):
            DualpathRedisOnlineStoreConfig(max_staleness=given)
        with pytest.raises(InputError, match=r"feature_store.yaml: offline_store.known_lag is .*; give seconds"):
            DualpathOfflineStoreConfig(known_lag=given)


def test_a_view_whose_token_would_have_the_name_of_a_column_of_training_sets_is_refused() -> None:
    with pytest.raises(DeclarationError, match="training sets have a column 'known_at' of their own; rename the view"):
        View("at", ("user",), CLICKS, (Feature("clicks", Count(), hours(1)),))


@pytest.mark.parametrize("name", ["known_mine", "arrived_mine", "known_at"])
def test_a_name_that_every_view_has_of_its_own_cannot_be_declared(name: str) -> None:
    with pytest.raises(DeclarationError, match=f"feature '{name}': every view has known_mine, arrived_mine, known_at"):
        View("mine", ("user",), CLICKS, (Feature(name, Count(), hours(1)),))


def test_a_service_of_a_whole_view_has_the_declared_features_alone(filled: Repo) -> None:
    service = filled.store.get_feature_service("user_profile")
    names = {feature.name for projection in service.feature_view_projections for feature in projection.features}
    assert names.isdisjoint({KNOWN, ARRIVED}) and "actions_30min" in names


def test_in_a_cluster_a_read_with_tokens_is_repeated_if_the_manifest_moves_meanwhile() -> None:
    """The parts are read at another moment than the manifest, so the mark may speak for a day that was not read."""
    view = View("mine", ("user",), CLICKS, (Feature("clicks", Count(), hours(1)),))
    lookup = Lookup("mine", CLICKS.name, Format(layout(view)), ["ann"], tokens=True)
    first, second = (
        Manifest("n1", arrival_days=days).encode() for days in (("2026-03-01",), ("2026-03-01", "2026-03-02"))
    )
    record = layout(view).pack(np.ones((1, layout(view).width), dtype=np.int64), Fence(1, 1))
    late = layout(view).pack(np.ones((2, layout(view).width), dtype=np.int64), Fence(1, 2))
    new = high_water_mark.encode(Fence(1, 2))
    steps = Reader("shop", cluster=True).read([lookup])
    replies = iter(
        [[first, None], [first, new, record], [second], [second, new, record], [second, new, record, late], [second]]
    )
    next(steps)
    with pytest.raises(StopIteration) as done:
        while True:
            steps.send(next(replies))
    [found] = done.value.value
    assert (len(found.words), found.known) == (3, [Fence(1, 2)])
    assert [*replies] == []
