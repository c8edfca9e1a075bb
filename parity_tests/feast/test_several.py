"""Views of several sources, from files through every job to every answer."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from dualpath.console.stream import new_generation
from dualpath.errors import InputError, LostStateError, StaleRecordsError, StaleStreamError
from dualpath.jobs.build import build
from dualpath.jobs.nightly import nightly
from dualpath.jobs.publish import served as manifests
from dualpath.jobs.rebuild import rebuild
from dualpath.online import high_water_mark, keys
from dualpath.online.connection import connect, embedded_folder
from dualpath.online.health import check_health
from dualpath.parity.check import check
from dualpath.parity.events import read
from dualpath.parity.explain import explain
from dualpath.preview import preview
from dualpath.repo import Repo
from dualpath.runtime import redis
from parity_tests.both_ways import served_and_trained
from parity_tests.conftest import REPOS
from parity_tests.console.commands import run, run_json
from parity_tests.feast.several import USERS, World

START = datetime(2026, 3, 1, tzinfo=UTC)
VIEW = "activity"


def refs(repo: Repo, *views: str) -> list[str]:
    return [f"{view}:{feature.name}" for view in views for feature in repo.views[view].features]


def answers(found: pa.Table, names: Any) -> list[dict[str, Any]]:
    return found.select([*names]).to_pylist(maps_as_pydicts="strict")


def rows_of(asked: pd.DataFrame) -> pd.DataFrame:
    return asked[["user", "as_of"]].rename(columns={"as_of": "event_timestamp"})


def both(repo: Repo, asked: pd.DataFrame, *views: str) -> tuple[pa.Table, pa.Table]:
    """Served and trained values with the tokens that the served ones bring."""
    rows = rows_of(asked)
    tokens = [f"{view}:known_{view}" for view in views]
    served = repo.store.get_online_features([*refs(repo, *views), *tokens], rows.to_dict("records")).to_arrow()
    known = {f"known_{view}": served[f"known_{view}"].to_pylist() for view in views}
    trained = repo.store.get_historical_features(rows.assign(**known), refs(repo, *views)).to_arrow()
    names = [ref.split(":")[1] for ref in refs(repo, *views)]
    assert answers(served, names) == answers(trained, names)
    return served, trained


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "several"
    shutil.copytree(REPOS / "several", folder, ignore=shutil.ignore_patterns("__pycache__"))
    made = World(folder)
    made.repo.apply()
    yield made
    redis.stop(embedded_folder(made.repo.store.config))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_events_of_all_sources_count_on_every_path_as_in_sql(spark: SparkSession, world: World) -> None:
    world.land(spark, 120, "clicks")
    repo = world.repo
    with pytest.raises(LostStateError, match="view 'activity@orders': the online store has no state"):
        repo.store.get_online_features(refs(repo, VIEW), [{"user": "ann"}])
    world.stream(spark, "orders", "returns")
    with pytest.raises(StaleRecordsError, match="run `dualpath batch`"):
        repo.store.get_historical_features(rows_of(world.questions()), refs(repo, VIEW)).to_df()
    for source in repo.sources.values():
        build(spark, repo, source)
    asked = world.questions()
    first, _ = both(repo, asked, VIEW, "everything")
    assert {*first["known_activity"].to_pylist()} == {"clicks:q1b0/orders:q1b0"}
    assert {*first["known_everything"].to_pylist()} == {"clicks:q1b0/orders:q1b0/returns:q1b0"}
    in_sql(world, asked)
    proven(repo)

    # The stream of orders stands still, and that of clicks goes on; what was served is derived again from its token.
    world.land(spark, 80, "clicks")
    build(spark, repo, repo.sources["clicks"])
    later = world.questions()
    uneven, _ = both(repo, later, VIEW)
    assert {*uneven["known_activity"].to_pylist()} == {"clicks:q1b1/orders:q1b0"}
    again = rows_of(asked).assign(known_activity=first["known_activity"].to_pylist())
    names = [feature.name for feature in repo.views[VIEW].features]
    for rows_above in (2_000_000, 0):  # in this process, and on Spark
        repo.store.config.offline_store.spark_above_rows = rows_above
        derived = repo.store.get_historical_features(again, refs(repo, VIEW)).to_arrow()
        assert answers(derived, names) == answers(first, names)
        mixed = pd.concat([again, rows_of(later).assign(known_activity=uneven["known_activity"].to_pylist())])
        derived = repo.store.get_historical_features(mixed, refs(repo, VIEW)).to_arrow()
        assert answers(derived, names) == answers(first, names) + answers(uneven, names)
    final = repo.store.get_historical_features(rows_of(asked), refs(repo, VIEW)).to_arrow()
    assert answers(final, names) != answers(first, names), "else the tokens would prove nothing"
    in_sql_on_spark, repo.store.config.offline_store.spark_above_rows = final, 2_000_000
    assert repo.store.get_historical_features(rows_of(asked), refs(repo, VIEW)).to_arrow() == in_sql_on_spark
    for wrong, said in (
        ("q1b0", "is not a token; .* such as 'clicks:q1b204/orders:q1b204'"),
        ("orders:q1b0/clicks:q1b0", "is not a token"),
    ):
        with pytest.raises(InputError, match=said):
            repo.store.get_historical_features(again.assign(known_activity=wrong), refs(repo, VIEW)).to_df()
    with pytest.raises(StaleRecordsError, match="the log of source 'orders' has no finished batch 'q1b1'"):
        ahead = again.assign(known_activity="clicks:q1b1/orders:q1b1")
        repo.store.get_historical_features(ahead, refs(repo, VIEW)).to_df()

    # Nights of one source and not yet of the others, a rebuild of one.
    world.stream(spark, "orders", "returns")
    with pytest.raises(StaleRecordsError, match="view 'activity@orders': its record files lack events of"):
        repo.store.get_historical_features(rows_of(later), refs(repo, VIEW)).to_df()
    assert nightly(spark, repo, repo.sources["clicks"], START.date()).gate.passed
    for source in repo.sources.values():
        build(spark, repo, source)
    published = {
        view: known.snapshot for n in repo.sources for view, known in manifests(repo, repo.views_of(n)).items()
    }
    assert published["activity@clicks"] == published["clicked"] == "2026-03-01" and not published["activity@orders"]
    in_sql(world, later)
    proven(repo)
    repo.store.materialize(START, START + timedelta(days=1), ["everything"])  # the nights of the other two
    for name in repo.sources:
        assert {known.snapshot for known in manifests(repo, repo.views_of(name)).values()} == {"2026-03-01"}
    client, parts = connect(repo.redis_address), repo.views_of("orders")
    rebuild(spark, repo, repo.sources["orders"], check_health(client, repo.project, repo.storage("orders"), parts))
    in_sql(world, later)
    whole = later.assign(as_of=later["as_of"].dt.floor("min") - pd.Timedelta(microseconds=1))  # minutes
    everywhere = both(repo, whole, VIEW, "everything", "by_minute", "clicked")[0]
    at = START + timedelta(days=3)
    previewed = preview(repo.views[VIEW], world.sent_to(repo, VIEW), at)
    assert (previewed, previewed) == served_and_trained(repo, repo.views[VIEW], previewed, at)
    end = START + timedelta(days=90)
    events = repo.store.get_historical_features(None, refs(repo, VIEW), start_date=START, end_date=end).to_df()
    happened = {(row["user"], row["time"]) for table in world.tables().values() for row in table.to_pylist()}
    assert len(events) == len(happened) and events["actions_30min"].min() >= 1
    up_to_date(repo)
    commands(world, whole, everywhere)
    declared_anew(spark, world)


def in_sql(world: World, asked: pd.DataFrame) -> None:
    """What is served and trained is what SQL answers, with everything known and with what had arrived."""
    repo, expected = world.repo, world.truth(asked.assign(known_at=pd.Timestamp("2099-01-01", tz="UTC")))
    names = expected[0].keys()
    served = repo.store.get_online_features(refs(repo, VIEW), rows_of(asked).to_dict("records")).to_arrow()
    assert answers(served, names) == expected
    assert answers(repo.store.get_historical_features(rows_of(asked), refs(repo, VIEW)).to_arrow(), names) == expected
    early = rows_of(asked).assign(known_at=asked["known_at"])
    found = answers(repo.store.get_historical_features(early, refs(repo, VIEW)).to_arrow(), names)
    assert found == world.truth(asked) != expected


def proven(repo: Repo) -> None:
    proof = check(repo, cells=4_000, oracle_cells=1_000, seed=0)
    assert (proof.differing, proof.oracle_differing) == (0, 0)


def up_to_date(repo: Repo) -> None:
    """The newest arrival is that of all sources; an answer is as stale as the stream that is silent longest."""
    arrived = [pc.max(read(repo.storage(name), repo.sources[name])["arrival_time"]) for name in ("clicks", "orders")]
    newest = max(each.cast(pa.int64()).as_py() for each in arrived)
    rows = [{"user": "ann"}]
    told = repo.store.get_online_features(["activity:arrived_activity", "activity:actions_30min"], rows).to_dict()
    assert told["arrived_activity"] == [newest]
    client = connect(repo.redis_address)
    namespace = manifests(repo, repo.views_of("orders"))["activity@orders"].namespace
    key = keys.high_water_mark(repo.project, namespace, "orders")
    mark, settings = client.get(key), repo.store.config.online_store
    assert mark is not None
    client.set(key, mark[: -high_water_mark.WIDTH] + (1).to_bytes(high_water_mark.WIDTH, "big"))
    settings.max_staleness = timedelta(days=1)
    with pytest.raises(StaleStreamError, match="view 'activity@orders': the stream of source 'orders' said"):
        repo.store.get_online_features(["activity:actions_30min"], rows)
    assert repo.store.get_online_features(["clicked:clicks"], rows).to_dict()["clicks"] is not None
    client.set(key, mark)
    settings.max_staleness = None


def commands(world: World, asked: pd.DataFrame, served: pa.Table) -> None:
    """What the commands say of such views."""
    folder = world.folder
    found = run_json("parity", "--repo", folder, "--cells", "500")
    assert found["differing"] == found["oracle_differing"] == 0
    repo = world.repo
    service = repo.store.get_feature_service("audited")
    repo.store.get_online_features(service, [{"user": user} for user in USERS]).to_df()
    repo.store._get_provider().online_store.served_log.flush()
    found = run_json("audit", "--repo", folder, "--since", "2000-01-01")
    assert (found["rows"], found["differing"], found["untold"]) == (len(USERS), 0, 0)
    found = run_json("drift", "--repo", folder, "--since", "2000-01-01")
    assert {each["main_cause"] for each in found["features"]} == {"same"}
    at = next(place for place, value in enumerate(served["actions_30min"].to_pylist()) if value > 1)
    token, value, row = served["known_activity"][at].as_py(), served["actions_30min"][at].as_py(), asked.iloc[at]
    told = run_json(
        *("explain", "activity:actions_30min", "--repo", folder, "--entity", f"user={row['user']}"),
        *("--as-of", row["as_of"].isoformat(), "--known", token, "--against", "clicks:q0b0/orders:q0b0"),
    )
    assert told["value"] == value == len(told["counted"]) == len(told["against"]["events"])
    assert {each["source"] for each in told["counted"]} <= {"clicks", "orders"}
    seen = explain(repo, "activity:refs", {"user": "ann"}, START + timedelta(days=9), token, against="value:0")
    assert seen.against is not None and seen.against.value == 0
    status = run_json("status", "--repo", folder)
    assert status["online_store"] == dict.fromkeys(repo.sources, "whole")
    assert status["snapshots"]["activity@orders"] == "2026-03-01" and "activity" not in status["snapshots"]
    page = run("catalogue", "--repo", folder).output
    assert "orders" in page and "clicks" in page
    assert run_json("plan", "--repo", folder)["sources"]["orders"]["views"]["activity@orders"] == "as it is"
    planned = subprocess.run(
        [sys.executable, "-m", "feast.cli.cli", "--chdir", str(folder), "plan"], capture_output=True, text=True
    )
    assert planned.returncode == 0 and "The repo's files declare what is applied." in planned.stdout, planned.stderr


def declared_anew(spark: SparkSession, world: World) -> None:
    """A second source for a view of one, and one source less for a view of two: both are built anew, and the state of
    before goes."""
    file = world.folder / "activity.py"
    for old, new in (
        ("source=clicks, features", "source=[clicks, orders], features"),
        ("entity=user,\n    source=[clicks, orders],", "entity=user,\n    source=orders,"),
        ('        feature("last_page", Last("page"), over=days(1)),\n', ""),
    ):
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
    found = run_json("plan", "--repo", world.folder)["sources"]
    assert found["clicks"]["views"]["clicked"] == found["clicks"]["views"]["by_minute@clicks"] == "removed"
    assert found["clicks"]["views"]["clicked@clicks"] == found["orders"]["views"]["clicked@orders"] == "built anew"
    assert found["orders"]["views"]["by_minute"] == "built anew" and found["orders"]["rebuilds"]
    assert found["returns"]["views"] == {"everything@returns": "as it is"}
    world.repo.apply()
    repo = world.repo
    client = connect(repo.redis_address)
    with pytest.raises(LostStateError, match="view 'clicked@clicks': the online store has no state"):
        repo.store.get_online_features(["clicked:clicks"], [{"user": "ann"}])
    new_generation(spark, repo, repo.sources["clicks"])
    assert client.ttl(keys.manifest(repo.project, "clicked")) == -1, "a reader of before still has it"
    new_generation(spark, repo, repo.sources["orders"])
    assert client.ttl(keys.manifest(repo.project, "clicked")) > 0
    assert client.ttl(keys.manifest(repo.project, "by_minute@clicks")) > 0
    for source in repo.sources.values():
        build(spark, repo, source)
    both(repo, world.questions(), VIEW, "clicked")
    proven(repo)
    file.write_text("")
    world.repo.apply()
    assert {*keys.views(client, repo.project)} == set()
