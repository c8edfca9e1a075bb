"""Publication in proportion to the day: what a night writes, reads and scans, and what it leaves wherever it dies."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from pyspark.sql import SparkSession
from redis import Redis

from dualpath.errors import RunningError
from dualpath.jobs import snapshot
from dualpath.jobs.handover import hand_over
from dualpath.jobs.nightly import Night, nightly
from dualpath.offline.history import History, view_version
from dualpath.online import keys, manifest
from dualpath.online.connection import connect, embedded_folder
from dualpath.online.manifest import Manifest
from dualpath.online.removal import GRACE
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.steps import Step
from parity_tests import faults
from parity_tests.conftest import SOURCE, drain
from parity_tests.jobs.stream import leave_out_half

LINES = faults.payloads(faults.events())
DAY_1, DAY_2, DAY_3 = (date(2026, 3, day) for day in (1, 2, 3))
DUMP = "appendonly.aof"


def night(spark: SparkSession, repo: Repo, day: date) -> Night:
    return nightly(spark, repo, repo.sources[SOURCE], day)


@pytest.fixture(scope="module")
def after_one_night(spark: SparkSession, new_repo: Callable[[], Repo]) -> Repo:
    """A repo whose stream has served all events, and whose first day is published."""
    repo = new_repo()
    faults.post(repo, LINES)
    drain(spark, repo)
    night(spark, repo, DAY_1)
    return repo


@pytest.fixture
def shop(after_one_night: Repo, tmp_path: Path) -> Iterator[Repo]:
    """A copy of it, with what its Redis holds."""
    folder, of_redis = tmp_path / "feature_repo", embedded_folder(after_one_night.store.config)
    shutil.copytree(after_one_night.folder, folder, ignore=shutil.ignore_patterns(of_redis.name))
    repo = Repo(folder)
    own = embedded_folder(repo.store.config)
    own.mkdir()
    shutil.copy(of_redis / DUMP, own)
    yield repo
    redis.stop(own)


def manifests(repo: Repo) -> dict[str, Manifest]:
    client = connect(repo.redis_address)
    found = {name: manifest.read(client, repo.project, name) for name in repo.views}
    return {name: known for name, known in found.items() if known}


def in_files(repo: Repo, *days: date) -> dict[str, Counter[str]]:
    """How many records entities have in the record files of some days, by view."""
    found = {}
    for view in repo.views.values():
        history = History(repo.root)
        records = history.table(view_version(view))
        files = records.snapshot().files(arrival_day=[day.isoformat() for day in days])
        table = ds.dataset([str(records.folder / file.path) for file in files], format="parquet").to_table(["entity"])
        found[view.name] = Counter(table["entity"].to_pylist())
    return found


def unexpired(repo: Repo) -> tuple[set[bytes], set[bytes]]:
    """The keys of parts that manifests name, and of parts that stay for ever or for longer than a read takes."""
    client, known = connect(repo.redis_address), manifests(repo)
    states = dict(keys.states(client, repo.project))
    served = {
        key
        for key, found in states.items()
        if found.namespace == known[found.view].namespace and found.part in known[found.view].parts
    }
    return served, {key for key in states if not 0 < client.pttl(key) <= GRACE}


def whole(repo: Repo, before: tuple[Any, ...], day: date) -> None:
    """The snapshot of a day is served: the same records and values as before, and nothing beside them stays."""
    assert {known.snapshot for known in manifests(repo).values()} == {day.isoformat()}
    assert seen(repo) == before
    served, left = unexpired(repo)
    assert left == served


def seen(repo: Repo) -> tuple[Any, ...]:
    return faults.bits(repo), faults.values(repo, faults.log(repo), rows=120)


# --- in proportion to the day


def test_a_night_writes_the_entities_of_its_day_reads_the_files_of_its_day_and_scans_no_key(
    spark: SparkSession, shop: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, stored, read = seen(shop), faults.stored(shop), []
    paths = History.paths

    def noted(*args: Any, **kwargs: Any) -> list[str]:
        read.extend(found := paths(*args, **kwargs))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Redis, "scan_iter", lambda *args, **kwargs: pytest.fail("a scan"))
        patch.setattr(History, "paths", noted)
        done = night(spark, shop, DAY_2)
    expected = in_files(shop, DAY_2)
    for each in done.published:
        assert (each.records, each.entities) == (expected[each.view].total(), len(expected[each.view]))
    assert read and all("/arrival_day=2026-03-02/" in path for path in read)
    whole(shop, before, DAY_2)
    assert {known.base for known in manifests(shop).values()} == {"2026-03-01"}
    for name, entities in expected.items():
        client = connect(shop.redis_address)
        found = keys.states(client, shop.project, views=[name], part="s2026-03-01")
        assert all(client.dump(key) == stored[key] for key, each in found if each.entity not in entities)
    assert faults.misserved(shop, faults.log(shop), rows=200) == []


def test_nights_one_after_another_write_each_record_once(spark: SparkSession, shop: Repo) -> None:
    before = seen(shop)
    done = [night(spark, shop, day) for day in (DAY_2, DAY_3)]
    written = Counter[str]()
    for each in (published for found in done for published in found.published):
        written[each.view] += each.records
    assert written == {view: found.total() for view, found in in_files(shop, DAY_2, DAY_3).items()}
    whole(shop, before, DAY_3)


def test_a_snapshot_is_written_as_a_whole_if_record_files_of_published_days_are_others(
    spark: SparkSession, shop: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seen(shop)
    with monkeypatch.context() as patch:
        patch.setattr("dualpath.jobs.build.record_salt", lambda source: f"{source} otherwise")
        done = night(spark, shop, DAY_2)
        assert [p.changed for p in night(spark, shop, DAY_2).published] == [False] * len(shop.views)
    everything = in_files(shop, DAY_1, DAY_2)
    assert all((p.records, p.entities) == (everything[p.view].total(), len(everything[p.view])) for p in done.published)
    assert {(known.snapshot, known.base) for known in manifests(shop).values()} == {("2026-03-02", "")}
    whole(shop, before, DAY_2)


def test_a_snapshot_is_written_as_a_whole_if_more_of_the_past_may_be_asked(spark: SparkSession, shop: Repo) -> None:
    night(spark, shop, DAY_2)
    settings = shop.folder / "feature_store.yaml"
    text = settings.read_text()
    settings.write_text(text.replace("online_lookback_seconds: null", "online_lookback_seconds: 864000000"))
    longer = Repo(shop.folder)
    [changed] = {p.changed for p in night(spark, longer, DAY_2).published}
    assert changed
    assert {(known.snapshot, known.base) for known in manifests(longer).values()} == {("2026-03-02", "")}
    assert {known.earliest_as_of is None for known in manifests(longer).values()} == {False}


def test_of_two_nights_at_once_one_is_refused(spark: SparkSession, shop: Repo) -> None:
    with shop.storage(SOURCE).publishing(), pytest.raises(RunningError, match="another night is publishing"):
        night(spark, shop, DAY_2)


# --- nights that die


def half_of_the_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the entities are written, then the process dies."""
    leave_out_half(monkeypatch, snapshot, "in_writing_order")
    faults.crash_at(monkeypatch, Step.WRITE_SNAPSHOT, after=True)


STEPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "before its records": lambda m: faults.crash_at(m, Step.WRITE_SNAPSHOT),
    "with half of its records": half_of_the_entities,
    "after its records": lambda m: faults.crash_at(m, Step.WRITE_SNAPSHOT, after=True),
    "between two manifests": lambda m: faults.crash_at(m, Step.MOVE_MANIFEST, nth=2),
    "before the old parts expire": lambda m: faults.crash_at(m, Step.EXPIRE_SUPERSEDED),
    "before it is noted": lambda m: faults.crash_at(m, Step.EXPIRE_SUPERSEDED, after=True),
}
CASES = [(DAY_2, [DAY_2], step) for step in STEPS] + [
    (died, then, step)
    for died, then in ((DAY_2, [DAY_3]), (DAY_3, [DAY_2, DAY_3]))
    for step in ("with half of its records", "between two manifests")
]


def dies(spark: SparkSession, repo: Repo, day: date, step: str) -> None:
    with pytest.MonkeyPatch.context() as faulty:
        STEPS[step](faulty)
        with pytest.raises(faults.Crash):
            night(spark, repo, day)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("died", "then", "step"),
    CASES,
    ids=[f"{died.day} {step}, then {[d.day for d in then]}" for died, then, step in CASES],
)
def test_a_night_that_dies_changes_no_answer_and_the_next_one_makes_up_for_it(
    died: date, then: list[date], step: str, spark: SparkSession, shop: Repo
) -> None:
    before = seen(shop)
    dies(spark, shop, died, step)
    assert seen(shop) == before
    for day in then:
        night(spark, shop, day)
        assert seen(shop) == before
    whole(shop, before, max(died, *then))


def test_a_publication_as_a_whole_that_dies_before_its_scan_is_scanned_for_by_the_next_night(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    repo = new_repo()
    faults.post(repo, LINES)
    drain(spark, repo)
    before = seen(repo)
    dies(spark, repo, DAY_1, "before the old parts expire")
    night(spark, repo, DAY_2)
    whole(repo, before, DAY_2)


def test_what_a_rebuild_has_left_that_died_before_its_scan_is_scanned_for_by_the_next_night(
    spark: SparkSession, shop: Repo
) -> None:
    before = seen(shop)
    with pytest.MonkeyPatch.context() as faulty:
        faults.crash_at(faulty, Step.EXPIRE_SUPERSEDED)
        with shop.storage(SOURCE).alone(), pytest.raises(faults.Crash):
            hand_over(spark, shop, shop.sources[SOURCE])
    assert {known.namespace for known in manifests(shop).values()} == {"n2"}
    night(spark, shop, DAY_2)
    whole(shop, before, DAY_2)


def test_a_night_is_done_again_in_a_redis_that_came_back_as_it_was_before_it(
    spark: SparkSession, shop: Repo, tmp_path: Path
) -> None:
    before, dump = seen(shop), shutil.copy(embedded_folder(shop.store.config) / DUMP, tmp_path / "dump")
    night(spark, shop, DAY_2)
    faults.kill_redis(shop, dump=Path(dump))
    assert seen(Repo(shop.folder)) == before
    night(spark, shop, DAY_2)
    whole(Repo(shop.folder), before, DAY_2)
