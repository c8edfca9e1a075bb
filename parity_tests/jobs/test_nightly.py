"""The nightly job: it changes no value, publishes nothing bad, and loses nothing beside a running stream."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyspark.errors.exceptions.base import StreamingQueryException
from pyspark.sql import SparkSession

from dualpath.console import jobs
from dualpath.errors import DualpathError, InputError, StateError
from dualpath.files import durable
from dualpath.jobs.build import build
from dualpath.jobs.gate_report import GateError
from dualpath.jobs.nightly import Night, nightly, settle
from dualpath.jobs.stream import start
from dualpath.log.storage import Storage
from dualpath.offline.history import History, view_version
from dualpath.online import keys, manifest
from dualpath.online.connection import connect
from dualpath.online.removal import GRACE
from dualpath.parity.compare import differences
from dualpath.parity.views import serve, train, view_groups
from dualpath.repo import Repo
from dualpath.sources.directory import Directory
from dualpath.steps import Step
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE, drain
from parity_tests.saved import Saved

EVENTS = faults.events()
LINES = faults.payloads(EVENTS)
DAY_1, DAY_2, DAY_3 = (date(2026, 3, day) for day in (1, 2, 3))


@pytest.fixture(scope="module")
def streamed(spark: SparkSession, new_repo: Callable[[], Repo], tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A repo whose stream has served all events."""
    repo = new_repo()
    faults.post(repo, LINES)
    drain(spark, repo)
    return Saved(repo, tmp_path_factory.mktemp("streamed"))


@pytest.fixture
def shop(streamed: Saved) -> Repo:
    """It, as it was before any night."""
    return streamed.again()


def night(spark: SparkSession, repo: Repo, day: date) -> Night:
    return nightly(spark, repo, repo.sources[SOURCE], day)


def manifests(repo: Repo) -> dict[str, manifest.Manifest]:
    redis = connect(repo.redis_address)
    return {name: manifest.read(redis, repo.project, name) for name in repo.views}


def times(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*")}


def live(repo: Repo, view: str) -> list[bytes]:
    """The keys of the parts that are served."""
    redis, known = connect(repo.redis_address), manifest.read(connect(repo.redis_address), repo.project, view)
    states = keys.states(redis, repo.project, namespace=known.namespace, views=[view])
    return [key for key, found in states if found.part in known.parts]


def test_a_night_moves_the_manifests_and_no_value_and_the_second_run_changes_nothing(
    spark: SparkSession, shop: Repo
) -> None:
    known, arrival_days = faults.log(shop), shop.storage(SOURCE).arrival_days()
    before, bits = faults.values(shop, known, rows=200), faults.bits(shop)
    first = night(spark, shop, DAY_2)
    assert [p.changed for p in first.published] == [True] * len(shop.views)
    assert first.built == tuple(e for e in arrival_days if e <= "2026-03-02")
    for each in manifests(shop).values():
        assert (each.snapshot, each.arrival_days) == ("2026-03-02", tuple(e for e in arrival_days if e > "2026-03-02"))
    assert faults.values(shop, known, rows=200) == before
    assert faults.bits(shop) == bits

    stored, files = faults.stored(shop), times(shop.root / "records")
    second = night(spark, shop, DAY_2)
    assert (second.built, [p.changed for p in second.published]) == ((), [False] * len(shop.views))
    assert [p.changed for p in night(spark, shop, DAY_1).published] == [False] * len(shop.views)
    assert (faults.stored(shop), times(shop.root / "records")) == (stored, files)

    build(spark, shop, shop.sources[SOURCE])
    night(spark, shop, DAY_3)
    assert faults.values(shop, known, rows=200) == before
    assert faults.bits(shop) == bits
    assert faults.disagreements(shop, rows=200) == []


def test_parts_that_are_no_longer_served_expire_and_those_that_are_do_not(spark: SparkSession, shop: Repo) -> None:
    for day in (DAY_1, DAY_2):
        night(spark, shop, day)
    redis = connect(shop.redis_address)
    served = {key for view in shop.views for key in live(shop, view)}
    states = [key for key, _ in keys.states(redis, shop.project, namespace="n1")]
    assert served < set(states)
    assert {redis.pttl(key) for key in served} == {-1}
    assert all(0 < redis.pttl(key) <= GRACE for key in set(states) - served)


def test_a_day_that_has_not_come_or_has_no_events_yet_is_not_closed(spark: SparkSession, shop: Repo) -> None:
    storage, source = shop.storage(SOURCE), shop.sources[SOURCE]
    last = date.fromisoformat(storage.arrival_days()[-1])
    tomorrow = last + timedelta(days=1)
    with pytest.raises(InputError, match=f"{tomorrow} has not come yet, today is {last} UTC"):
        nightly(spark, shop, source, tomorrow, today=last)
    with pytest.raises(InputError, match="has not come yet, today is"):
        shop.store.materialize(datetime(2026, 3, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
    with pytest.raises(InputError, match=f"nothing has arrived on {tomorrow} and it is not over, today is {tomorrow}"):
        nightly(spark, shop, source, tomorrow, today=tomorrow)
    assert storage.closed_through == ""


def test_a_quiet_day_moves_the_snapshot_on_and_no_value(spark: SparkSession, shop: Repo) -> None:
    """Days on which nothing has arrived, before and after which something has, and after all that has."""
    known, storage = faults.log(shop), shop.storage(SOURCE)
    before, last = faults.values(shop, known, rows=200), date.fromisoformat(storage.arrival_days()[-1])
    quiet = last + timedelta(days=9)
    found = jobs.nightly(spark, shop, [shop.sources[SOURCE]], quiet)
    assert (found.ok, found.shown[1:]) == (True, [f"{SOURCE}: nothing arrived on {quiet}; the snapshot goes on to it."])
    told = found.data["sources"][SOURCE]
    assert told["quiet"] and told["checked"] == len(known) and len(told["built"]) == len(storage.arrival_days())
    assert {(p.snapshot, p.arrival_days) for p in manifests(shop).values()} == {(quiet.isoformat(), ())}
    assert storage.closed_through == quiet.isoformat()
    assert faults.values(shop, known, rows=200) == before

    again = night(spark, shop, quiet + timedelta(days=1))
    assert (again.quiet, again.gate.passed, again.gate.checked, again.built) == (True, True, 0, ())
    assert {p.changed for p in again.published} == {True}
    assert faults.misserved(shop, known, rows=200) == []


def test_feasts_materialize_is_a_night_and_finds_the_work_of_one_done(
    spark: SparkSession, shop: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr("dualpath.jobs.nightly.nightly", lambda *given: calls.append(given[2:]) or nightly(*given))
    shop.store.materialize(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC))
    assert calls == [(shop.sources[SOURCE], DAY_2)], "one night for all views of the source"
    assert {p.snapshot for p in manifests(shop).values()} == {"2026-03-02"}
    shop.store.materialize(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, 23, tzinfo=UTC))
    assert len(calls) == 1
    assert not any(p.changed for p in night(spark, shop, DAY_2).published)


@pytest.mark.parametrize("day", [DAY_1, DAY_2])
def test_a_day_that_fails_its_gate_is_not_published_nor_are_the_days_with_it(
    day: date, spark: SparkSession, shop: Repo
) -> None:
    """Whichever of the days a night is the first to publish has the fault."""
    storage = shop.storage(SOURCE)
    [path, *_] = storage.paths(arrival_days=[f"{day}"])
    rows = pq.ParquetFile(path).read()
    logged.repeat(storage, path)
    stored = faults.stored(shop)
    with pytest.raises(GateError, match="expect_column_values_to_be_unique") as refusal:
        night(spark, shop, DAY_2)
    assert rows["event_id"][0].as_py() in str(refusal.value)
    with pytest.raises(DualpathError, match="expect_column_values_to_be_unique"):
        shop.store.materialize(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC))
    assert faults.stored(shop) == stored
    assert not (shop.root / "records").exists()


def test_rows_of_a_closed_day_that_come_later_belong_to_the_first_open_one(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    repo = new_repo()
    closed_through = pc.less(EVENTS["arrival_time"], pa.scalar(datetime(2026, 3, 3, tzinfo=UTC)))
    held = pa.array(np.flatnonzero(closed_through.to_numpy())[::5])
    rest = EVENTS.take(pa.array(np.setdiff1d(np.arange(len(EVENTS)), held.to_numpy())))
    faults.post(repo, faults.payloads(rest))
    drain(spark, repo)
    night(spark, repo, DAY_2)
    faults.post(repo, faults.payloads(EVENTS.take(held)))
    drain(spark, repo)
    late = [entry for entry in logged.entries(repo.storage(SOURCE)) if entry.closed_through]
    assert {arrival_day for entry in late for arrival_day in entry.arrival_days} == {"2026-03-03"}
    assert sum(entry.accepted for entry in late) > 40
    assert faults.misserved(repo, faults.log(repo), rows=200) == []
    build(spark, repo, repo.sources[SOURCE])
    assert faults.disagreements(repo, rows=200) == []
    night(spark, repo, DAY_3)
    assert faults.misserved(repo, faults.log(repo), rows=200) == []


def test_closing_waits_for_the_batch_a_running_stream_is_in(tmp_path: Path) -> None:
    storage = Storage(tmp_path, "clicks")
    entry = storage.begin(1, 0)
    with storage.alone(), ThreadPoolExecutor(1) as pool:
        settling = pool.submit(settle, storage, DAY_1)
        faults.until(lambda: storage.closed_through)
        assert storage.begin(1, 0) == entry and not settling.done()
        storage.finish(entry)
        assert settling.result(30) is None
        assert storage.begin(1, 1).closed_through == "2026-03-01"


def test_a_batch_that_begins_while_a_day_is_closed_is_waited_for_or_has_seen_the_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, reached, go, real = Storage(tmp_path, "clicks"), Event(), Event(), durable.write_atomically

    def held(file: Path, text: str) -> None:
        reached.set()
        assert go.wait(30)
        real(file, text)

    monkeypatch.setattr(durable, "write_atomically", held)

    def close_day() -> bool:
        storage.close_day(DAY_1)
        return storage.unfinished(DAY_1)

    with ThreadPoolExecutor(2) as pool:
        beginning = pool.submit(storage.begin, 1, 0)
        assert reached.wait(30)
        sealing = pool.submit(close_day)
        wait([sealing], timeout=0.3)
        go.set()
        assert (beginning.result(30).closed_through == "2026-03-01") != sealing.result(30)


def test_a_stream_that_died_in_a_batch_must_finish_it_before_the_night(
    spark: SparkSession, new_repo: Callable[[], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = new_repo()
    faults.post(repo, LINES, files=2)
    with monkeypatch.context() as faulty:
        faults.crash_at(faulty, Step.STAGE, nth=2)
        with pytest.raises(StreamingQueryException, match="Crash"):
            drain(spark, repo, files_per_batch=1)
    with pytest.raises(StateError, match="the stream stopped in the middle of a batch; run `dualpath stream --once`"):
        night(spark, repo, DAY_1)
    drain(spark, repo)
    night(spark, repo, DAY_2)
    assert faults.counts(repo)["rows_read"] == len(LINES)
    assert faults.misserved(repo, faults.log(repo)) == []


@pytest.mark.slow
def test_nights_beside_a_running_stream_lose_and_double_nothing(
    spark: SparkSession, new_repo: Callable[[], Repo], shop: Repo
) -> None:
    repo = new_repo()
    storage = repo.storage(SOURCE)
    landing = Directory(storage.folder("landing"), files_per_batch=1)
    pieces = [LINES[i : i + 50] for i in range(0, len(LINES), 50)]
    watched: list[dict[str, list[Any]]] = []
    with storage.alone(), ThreadPoolExecutor(2) as pool:
        query = start(spark, repo, repo.sources[SOURCE], landing, interval=timedelta(0))

        def feed() -> None:
            for number, piece in enumerate(pieces, 1):
                faults.post(repo, piece)
                faults.until(lambda: faults.counts(repo)["rows_read"] >= 50 * (number - 1) or not query.isActive)  # noqa: B023

        def watch() -> None:
            reader = Repo(repo.folder)
            while not feeding.done():
                watched.append(faults.values(reader, EVENTS, rows=50))

        feeding = pool.submit(feed)
        watching = pool.submit(watch)
        for day in (DAY_1, DAY_2, DAY_3):
            faults.until(lambda: (storage.arrival_days() or [""])[-1] > day.isoformat() or not query.isActive)  # noqa: B023
            night(spark, repo, day)
        feeding.result(120)
        watching.result(120)
        faults.until(lambda: faults.counts(repo)["rows_read"] == len(LINES) or not query.isActive)
        query.stop()
    assert {p.snapshot for p in manifests(repo).values()} == {"2026-03-03"}
    assert any(entry.closed_through and entry.accepted for entry in logged.entries(storage))
    assert faults.bits(repo) == faults.bits(shop)
    assert faults.misserved(repo, faults.log(repo), rows=200) == []
    # What is known of a past instant only grows: a reader who saw half a publication would see it shrink.
    for name in ("user_activity:actions_30min", "product_activity:product_views_last_hour"):
        seen = np.array([*(found[name] for found in watched), faults.values(repo, EVENTS, rows=50)[name]])
        assert len(seen) > 5 and (np.diff(seen, axis=0) >= 0).all()


def test_a_finite_online_lookback_forgets_only_what_no_answer_needs(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    """The events end in the present, because Redis expires keys by its own clock."""
    repo = new_repo()
    settings = repo.folder / "feature_store.yaml"
    settings.write_text(settings.read_text().replace("online_lookback_seconds: null", "online_lookback_seconds: 86400"))
    now = datetime.now(UTC).replace(microsecond=0)
    events = faults.events(now - timedelta(days=4))
    faults.post(repo, faults.payloads(events.filter(pc.less(events["arrival_time"], pa.scalar(now)))))
    drain(spark, repo)
    # Ahead of the clock of Redis for longer than a test may take: `timeout` in pyproject.toml is five minutes.
    clock = int(now.timestamp() + 600) * 1_000_000
    online = repo.store._get_provider().online_store
    online.clock = lambda: clock
    for days in (3, 2, 1):  # the first writes the snapshot as a whole, the others extend it
        night(spark, repo, now.date() - timedelta(days=days))
    assert {known.base for known in manifests(repo).values()} == {(now.date() - timedelta(days=3)).isoformat()}
    build(spark, repo, repo.sources[SOURCE])
    history = History(repo.root)
    files = [file for view in repo.views.values() for file in history.paths(view_version(view))]
    assert sum(faults.records(repo).values()) < sum(pq.read_metadata(file).num_rows for file in files)
    known, floor = faults.log(repo), clock - 86_400_000_000
    time = known["event_time"].cast(pa.int64())
    for group in view_groups(repo):
        [key] = group.views[0].keys
        names = pc.drop_null(pc.unique(known[key]))
        recent = known.filter(pc.and_(known[key].is_valid(), pc.greater(time, floor)))
        within = recent["event_time"].cast(pa.int64()).to_numpy()
        for entities, as_of in (
            (names, np.full(len(names), clock)),
            (names, np.full(len(names), floor)),
            (recent[key].combine_chunks(), within),
            (recent[key].combine_chunks(), np.minimum(within + 1_800_000_000, clock)),
        ):
            assert differences(serve(repo, group, [entities], as_of), train(repo, group, [entities], as_of)) == []
        present = repo.store.get_online_features(list(group.refs), {key: names.to_pylist()}, full_feature_names=True)
        trained = train(repo, group, [names], np.full(len(names), clock))
        answer = present.to_dict()
        assert differences({ref: answer[ref.replace(":", "__")] for ref in group.refs}, trained) == []
        with pytest.raises(InputError, match="further back than the online store remembers"):
            serve(repo, group, [names.slice(0, 1)], np.array([floor - 1]))

    redis = connect(repo.redis_address)
    for view in repo.views.values():
        left = {redis.pttl(key) for key in live(repo, view.name)}
        assert left and (left == {-1} if view.lookback is None else min(left) > 0), view.name
