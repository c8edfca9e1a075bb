"""Record files: what a training set is made from is all that the log has, or it is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore
from pyspark.sql import SparkSession

from dualpath.aggregates import Count, Max
from dualpath.errors import InputError, StateError
from dualpath.jobs.build import build
from dualpath.known import place
from dualpath.log import forms
from dualpath.log.accounts import Entry
from dualpath.log.storage import Storage
from dualpath.offline.history import RECORDS, History, StaleWarning, record_salt, view_version
from dualpath.offline.record_files import Part
from dualpath.record import UNFENCED, Fence
from dualpath.repo import Repo
from dualpath.view import Feature, View
from dualpath.windows import hours
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE, drain
from parity_tests.strategies import CLICKS

VIEW = View("activity", ("user",), CLICKS, (Feature("clicks", Count(), hours(1)),))
OTHER = View("activity", ("user",), CLICKS, (Feature("most", Max("quantity"), hours(1)),))
DAYS = ("2026-03-01", "2026-03-02")


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def stream(history: History, batch: int, *arrival_days: str) -> None:
    """Let the log have a batch with rows of some days."""
    storage = Storage(history.root, CLICKS.name)
    storage.table.ensure(forms.schema(forms.Forms.of(CLICKS)))
    logged.commit(storage, Entry(1, batch, rows_read=1, accepted=1, arrival_days=arrival_days))


def publish(history: History, *, lost: int = 0, staged: str = "staged") -> None:
    """Publish two records for each day whose part is not current, of `lost` more that were written."""
    digests = Storage(history.root, CLICKS.name).digests(record_salt(CLICKS.name))
    parts = history.stale(view_version(VIEW), digests, digests)
    for arrival_day in parts:
        folder = history.root / staged / f"arrival_day={arrival_day}"
        folder.mkdir(parents=True)
        words = [[1, 2, 3]] * 2
        pq.write_table(
            pa.table({"entity": ["ann", "bob"], "words": words, "arrived": [1, 2], "batch": [3, 4]}, RECORDS),
            folder / "part-0.parquet",
        )
    history.publish(view_version(VIEW), history.root / staged, parts, 2 * len(parts) + lost)


def test_a_view_is_complete_once_every_day_of_the_log_is_built(history: History) -> None:
    stream(history, 0, *DAYS)
    publish(history)
    history.require(VIEW)
    assert len(history.paths(view_version(VIEW))) == 2


def test_days_with_events_that_were_not_built_are_named_with_the_remedy(history: History) -> None:
    stream(history, 0, *DAYS)
    publish(history)
    stream(history, 1, DAYS[1])
    stream(history, 2)  # it accepted nothing
    stream(history, 3, "2026-03-04")
    with pytest.raises(StateError) as refusal:
        history.require(VIEW)
    assert refusal.value.message == (
        "view 'activity': its record files lack events of 2026-03-02, 2026-03-04; run `dualpath batch`, or set "
        "offline_store.stale to warn to train without them."
    )
    with pytest.warns(StaleWarning, match="view 'activity': its record files lack events of 2026-03-02, 2026-03-04"):
        history.require(VIEW, stale="warn")
    publish(history, staged="again")
    history.require(VIEW)


def test_where_nothing_has_arrived_the_remedy_is_a_stream(history: History) -> None:
    with pytest.raises(StateError, match="source 'clicks': nothing has arrived yet; run `dualpath stream` first"):
        history.require(VIEW)


@pytest.mark.parametrize("stale", ["refuse", "warn"])
def test_record_files_of_another_declaration_are_not_taken_for_a_views_own(history: History, stale: str) -> None:
    stream(history, 0, *DAYS)
    publish(history)
    with pytest.raises(StateError, match="view 'activity' has no record files for its present declaration"):
        history.require(OTHER, stale=stale)  # type: ignore[arg-type]


def test_a_part_with_fewer_records_than_were_written_is_not_published(history: History) -> None:
    stream(history, 0, DAYS[0])
    publish(history)
    before = history.index(view_version(VIEW))
    stream(history, 1, DAYS[1])
    with pytest.raises(StateError, match="3 records were written and 2 are there, so they were not published"):
        publish(history, lost=1, staged="short")
    assert history.index(view_version(VIEW)) == before


def test_a_part_that_lost_a_file_or_has_one_of_another_size_is_built_again(history: History) -> None:
    stream(history, 0, *DAYS)
    publish(history)
    [lost] = history.table(view_version(VIEW)).snapshot().files(arrival_day=DAYS[0])
    (history.folder(view_version(VIEW)) / lost.path).unlink()
    with pytest.raises(StateError, match=f"its record files lack events of {DAYS[0]}; run"):
        history.require(VIEW)
    publish(history, staged="again")
    history.require(VIEW)
    [cut, *_] = map(Path, history.paths(view_version(VIEW)))
    cut.write_bytes(cut.read_bytes()[:-1])
    with pytest.raises(StateError, match="run `dualpath batch`"):
        history.require(VIEW)


def test_a_day_without_records_has_no_rows_and_is_complete(history: History) -> None:
    stream(history, 0, DAYS[0])
    digests = Storage(history.root, CLICKS.name).digests(record_salt(CLICKS.name))
    history.publish(view_version(VIEW), history.root / "staged", digests, 0)
    history.require(VIEW)
    assert history.index(view_version(VIEW)) == {DAYS[0]: Part(digests[DAYS[0]], 0)}


def test_a_reader_beside_a_build_has_all_records_of_every_day(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build replaces a part after the reader has looked which files there are."""
    stream(history, 0, *DAYS)
    publish(history)
    look, looks = History.paths, 0

    def overtaken(self: History, *given: Any) -> Any:
        nonlocal looks
        found, looks = look(self, *given), looks + 1
        if looks == 1:
            stream(history, 1, DAYS[0])
            publish(history, staged="again")
        return found

    monkeypatch.setattr(History, "paths", overtaken)
    assert history.records(VIEW, pa.array(["ann"])).num_rows == len(DAYS)


def test_two_jobs_do_not_build_the_record_files_of_a_source_at_once(history: History) -> None:
    storage = Storage(history.root, CLICKS.name)
    with (
        storage.building(),
        pytest.raises(StateError, match="another job is building its record files"),
        storage.building(),
    ):
        pass


@pytest.mark.parametrize("path", ["ftp://host/data", "file:///data"])
def test_a_path_of_no_store_is_refused_before_a_folder_is_made(path: str, applied: Path, tmp_path: Path) -> None:
    settings = (applied / "feature_store.yaml").read_text()
    assert "  path: data\n" in settings
    (tmp_path / "feature_store.yaml").write_text(settings.replace("  path: data\n", f"  path: {path}\n"))
    with pytest.raises(
        InputError, match=f"feature_store.yaml: offline_store.path is {path}: data can be in a folder, or at"
    ):
        FeatureStore(str(tmp_path))
    assert [f.name for f in tmp_path.iterdir()] == ["feature_store.yaml"]


@pytest.fixture(scope="module")
def half(spark: SparkSession, new_repo: Callable[[], Repo]) -> Repo:
    """A repo whose record files have the first half of the events that its stream has read."""
    repo, lines = new_repo(), faults.payloads(faults.events())
    for some in (lines[: len(lines) // 2], lines[len(lines) // 2 :]):
        faults.post(repo, some)
        drain(spark, repo)
        if not repo.root.joinpath("records").exists():
            build(spark, repo, repo.sources[SOURCE])
    return repo


def train(repo: Repo, *, stale: str = "refuse", above: int = 1_000) -> pd.DataFrame:
    """Everybody's features after the last event."""
    config = repo.store.config.offline_store
    config.stale, config.spark_above_rows = stale, above
    users = sorted(set(faults.log(repo)["user_id"].drop_null().to_pylist()))
    frame = pd.DataFrame({"user_id": users, "event_timestamp": pd.Timestamp("2026-03-08", tz="UTC")})
    return repo.store.get_historical_features(frame, repo.store.get_feature_service("user_profile")).to_df()


@pytest.mark.parametrize("above", [0, 1_000])
def test_training_on_record_files_that_lack_events_is_refused_in_process_and_on_spark(half: Repo, above: int) -> None:
    with pytest.raises(StateError, match=r"view 'user_\w+': its record files lack events of .*2026-03-0\d; run"):
        train(half, above=above)
    with pytest.warns(StaleWarning, match="its record files lack events of"):
        assert len(train(half, stale="warn", above=above))


@pytest.mark.filterwarnings("ignore::dualpath.offline.history.StaleWarning")
def test_a_build_that_loses_files_publishes_nothing_and_the_next_one_is_complete(
    spark: SparkSession, half: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = train(half, stale="warn")
    with monkeypatch.context() as faulty:
        for victim in ("dictionary/shop_events", "user_activity-"):
            faulty.setattr(History, "publish", losing(victim))
            with pytest.raises(StateError, match=rf"{victim}.*: [\d,]+ records were written and [\d,]+ are there"):
                build(spark, half, half.sources[SOURCE])
    pd.testing.assert_frame_equal(train(half, stale="warn"), before)
    build(spark, half, half.sources[SOURCE])
    after = train(half)
    assert after["user_7d_orders"].sum() > before["user_7d_orders"].sum()
    assert faults.disagreements(half, rows=100) == []


PUBLISH = History.publish


def losing(victim: str) -> Callable[..., None]:
    """A publication before which a view version loses one of its files."""

    def publish(self: History, name: str, staged: Path, *rest: Any) -> None:
        if name.startswith(victim):
            next(staged.rglob("*.parquet")).unlink()
        PUBLISH(self, name, staged, *rest)

    return publish


def test_files_that_are_complete_up_to_a_batch_answer_for_it_whatever_came_later(history: History) -> None:
    stream(history, 0, *DAYS)
    publish(history)
    history.note_complete(VIEW, Fence(1, 0))
    stream(history, 1, DAYS[0])
    history.require(VIEW, through=[place(Fence(1, 0))])
    for through in (None, [place(Fence(1, 1))]):
        with pytest.raises(StateError, match=f"lack events of {DAYS[0]}"):
            history.require(VIEW, through=through)
    [lost, *_] = history.paths(view_version(VIEW))
    Path(lost).unlink()
    with pytest.raises(StateError, match="lack events"):
        history.require(VIEW, through=[place(Fence(1, 0))])


def test_what_is_noted_as_complete_is_read_back(history: History) -> None:
    assert history.complete(VIEW) == UNFENCED
    history.note_complete(VIEW, Fence(2, 7))
    assert history.complete(VIEW) == Fence(2, 7)
