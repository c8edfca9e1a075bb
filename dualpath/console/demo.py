"""`demo`: the whole platform on a shop's events, one function a step; `run` has them in their order."""

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd

from dualpath.console import demo_broker, jobs, land, poison, repos, status, stream
from dualpath.console.report import Report, busy, table
from dualpath.console.story import Story
from dualpath.errors import DualpathError, InputError
from dualpath.files.places import local
from dualpath.online.connection import configured, connect, embedded_folder
from dualpath.online.removal import remove_project
from dualpath.parity.events import read
from dualpath.plural import plural
from dualpath.repo import Repo
from dualpath.runtime import jars, redis
from dualpath.schema import EventSource
from dualpath.sources.kafka import Kafka
from dualpath.spark.session import session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

GENERATED = 60_000
ORACLE_CELLS = 2_000
FILES_PER_BATCH = 4
OPEN_DAYS = 3
"""Arrival days after the one that the nightly job publishes; serving reads them as the stream's arrival days."""

MARK = ".demo"
"""A file in the data folder that says: a demo made this, another may empty it."""

ACTIVE_USER = """
    WITH ends AS (SELECT user_id, max(event_time) AS "end" FROM events GROUP BY user_id)
    SELECT user_id, "end" FROM events JOIN ends USING (user_id)
    WHERE event_time > "end" - INTERVAL 5 MINUTE
    GROUP BY ALL ORDER BY count(DISTINCT category) BETWEEN 2 AND 4 DESC, count(*) DESC, user_id LIMIT 1
"""
IMPRESSIONS = """
    SELECT user_id, product_id, event_time AS event_timestamp FROM events
    WHERE action = 'view_item' AND product_id IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY event_time DESC, event_id) = 1
    ORDER BY count(*) OVER (PARTITION BY user_id) DESC, user_id LIMIT 5
"""
TRAINED = ("actions_30min", "product_views_last_hour", "engagement_level")
"""The features of the training set that fit on the screen."""


def run(repo: Repo, *, fresh: bool | None, cells: int, data: Path | None, kafka: bool = False) -> Report:
    """Show every step; well only if the parity check passes and every row is accounted for."""
    story, began = Story(), time.perf_counter()
    prepare(repo, fresh)
    conf = None
    if kafka:
        with busy("Fetching Kafka's jars"):
            conf = jars.settings(os.environ)
    with ThreadPoolExecutor(1) as background, ExitStack() as held:
        starting = background.submit(session, "dualpath-demo", conf=conf)  # it takes seconds; the first steps need none
        declare(story, repo)
        source = repos.source(repo, None)
        deliver(story, repo, source, data)
        inputs = stream.landed(repo, [source], FILES_PER_BATCH)
        if kafka:
            inputs = [(source, send(story, repo, source, held))]
        spark = drain(story, repo, source, inputs, starting)
    publish(story, repo, source, spark)
    events = read(repo.storage(source.name), source)
    serve(story, repo, events)
    train(story, repo, events)
    proof = prove(story, repo, cells)
    counts = account(story, repo)
    ok, seconds = proof.ok and counts.ok, time.perf_counter() - began
    found = {
        "passed": ok,
        "seconds": round(seconds, 1),
        "steps": story.steps,
        "parity": proof.data,
        "status": counts.data,
    }
    return Report(found, farewell(repo, seconds, kafka) if ok else [], ok, [*proof.errors, *counts.errors])


def prepare(repo: Repo, fresh: bool | None) -> None:
    """Empty the repo's data if `fresh`, or if a demo made them; raises `InputError` where neither is said."""
    root = local(repo.root, "the demo")
    known = ("progress.json", "query=*", "blocks")  # the last two of the previous version
    holds, mark = any(any(root.glob(f"*/ledger/{each}")) for each in known), root / MARK
    if fresh is None and holds and not mark.exists():
        raise InputError(
            f"{repos.shown(root)} holds events that no demo made; pass --fresh to delete them, --keep to go on."
        )
    if fresh is False and holds:
        return
    empty(repo)
    root.mkdir(parents=True)
    mark.touch()


def empty(repo: Repo) -> None:
    """Delete the repo's data: its folder, and the project's keys in a configured Redis."""
    config = repo.store.config
    redis.stop(embedded_folder(config))
    if address := configured(config):
        remove_project(connect(address), repo.project)
    shutil.rmtree(local(repo.root, "the demo"), ignore_errors=True)


def declare(story: Story, repo: Repo) -> None:
    """Run `feast apply`, and show a feature of each view."""
    with story.step("Declare the features: `feast apply`"):
        with busy("feast apply"):
            repo.apply()
        features = [f for view in repo.views.values() for f in view.features]
        story.say(f"The registry has {plural(len(features), 'windowed feature')} in {plural(len(repo.views), 'view')}.")
        story.say(*(f"[dim]{view.name}.{f.name}: {f}[/dim]" for view in repo.views.values() for f in view.features[:1]))


def deliver(story: Story, repo: Repo, source: EventSource, data: Path | None) -> None:
    """Land real or generated events, and some that must be refused."""
    with story.step("Deliver events to the landing folder"):
        if any(repo.storage(source.name).folder("landing").glob("*.jsonl")):
            story.say("Events are there already; no more are delivered.")
            return
        if data is not None:
            report, what = land.ingest(repo, source, ["ga4_shop_events"], data), "of a real web shop (GA4 export)"
        else:
            start = datetime(2026, 3, 2, tzinfo=UTC)
            report = land.generate(repo, source, events=GENERATED, users=2_000, days=7, seed=1, start=start)
            what = "generated, with repeated, late and disordered ones among them"
        story.say(f"{plural(report.data['rows'], 'event')} {what}.")
        story.say(f"{plural(poisoned(repo, source), 'poisoned line')}: no user, absurd times, NaN, no JSON, ...")


def poisoned(repo: Repo, source: EventSource) -> int:
    """Land lines that must end in the dead-letter table; return how many."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "poison.jsonl"
        lines = poison.lines(datetime(2026, 3, 5, 12, tzinfo=UTC))
        file.write_text("\n".join(lines) + "\n")
        land.ingest(repo, source, [str(file)], None)
    return len(lines)


def send(story: Story, repo: Repo, source: EventSource, held: ExitStack) -> Kafka:
    """Send the landed events to a topic of a broker, which runs until `held` is closed."""
    with story.step("Send them to a Kafka broker, which the stream reads from"):
        topic, said = demo_broker.send(repo, source, held)
        story.say(*said)
    return topic


def drain(
    story: Story, repo: Repo, source: EventSource, inputs: stream.Inputs, starting: "Future[SparkSession]"
) -> "SparkSession":
    """Stream to the end of what is there, and show why rows were refused."""
    with story.step("Stream them: every row into the event log, its state into Redis, or to the dead letters"):
        with busy("Starting Spark") as say:
            spark = starting.result()
            done = stream.drain(spark, repo, inputs, say=say)
        story.say(*done.shown)
        storage, why = repo.storage(source.name), table("rows", "refused because", numbers=("rows",))
        for reason, rows in storage.accounts().reasons().items():
            why.add_row(str(rows), reason)
        story.say(why)
    return spark


def publish(story: Story, repo: Repo, source: EventSource, spark: "SparkSession") -> None:
    """Run the nightly job for one day, and build the record files of the days after it."""
    arrival_days = repo.storage(source.name).arrival_days()
    day = date.fromisoformat(arrival_days[-1 - min(OPEN_DAYS, len(arrival_days) - 1)])
    with story.step(f"Close {day}: gate, records, snapshot, manifest; then build the records of the days after it"):
        night = jobs.nightly(spark, repo, [source], day)
        if not night.ok:
            raise DualpathError(" ".join(night.errors))
        story.say(*night.shown)
        story.say(*jobs.batch(spark, repo, [source], None).shown)
        story.say("Serving reads the snapshot and the stream's later days; training reads the record files.")


def serve(story: Story, repo: Repo, events: Any) -> None:
    """Serve the profile of an active user after the last event, and 31 minutes later."""
    [(user, last)] = _ask(events, ACTIVE_USER).fetchall()
    instants = [last, last + timedelta(minutes=31)]
    with story.step(f"Serve the profile of {user} with `get_online_features`"):
        service = repo.store.get_feature_service("user_profile")
        rows = [{"user_id": user, "event_timestamp": instant} for instant in instants]
        answer = repo.store.get_online_features(service, rows).to_dict()
        shown = table("feature", f"at {last:%Y-%m-%d %H:%M:%S}", "31 minutes later")
        for name in (f.name for view in service.feature_view_projections for f in view.features):
            shown.add_row(name, *map(_text, answer[name]))
        story.say(shown, "No event came to say so: the value is computed from state at the instant of the read.")


def train(story: Story, repo: Repo, events: Any) -> None:
    """Make a training set of five impressions."""
    with story.step("Make a training set with `get_historical_features`"):
        impressions = _ask(events, IMPRESSIONS).to_arrow_table().to_pandas()
        service = repo.store.get_feature_service("ranking_training")
        trained: pd.DataFrame = repo.store.get_historical_features(impressions, service).to_df()
        shown = table("user_id", "product_id", "event_timestamp", *TRAINED)
        for row in trained.to_dict("records"):
            when = row["event_timestamp"].strftime("%Y-%m-%d %H:%M:%S")
            shown.add_row(row["user_id"], row["product_id"], when, *(_text(row[name]) for name in TRAINED))
        story.say(
            shown, f"Some of its {len(trained.columns)} columns: the rows asked for and the features at their instants."
        )


def prove(story: Story, repo: Repo, cells: int) -> Report:
    """Run the parity check."""
    with story.step("Compare what is served with what is trained on, bit by bit"):
        found = jobs.parity(repo, cells=cells, oracle_cells=ORACLE_CELLS, seed=0)
        story.say(*found.shown)
    return found


def account(story: Story, repo: Repo) -> Report:
    """Show where every row went."""
    with story.step("Account for every row"):
        found = status.report(repo, files=True)
        story.say(found.shown[0])
    return found


def farewell(repo: Repo, seconds: float, kafka: bool) -> Sequence[str]:
    """What to try next."""
    folder = repos.shown(repo.folder)
    option = "" if folder in ("feature_repo", ".") else f" --repo {folder}"
    more = {
        f"dualpath generate --seed 2{option}": "more events, for ...",
        f"dualpath stream{option}": "... the stream, which runs until Ctrl-C",
    }
    tries = {
        f"dualpath status{option}": "the accounts in full",
        # The checkpoint of a stream from Kafka knows no files.
        **({} if kafka else more),
        f"feast --chdir {folder} ui": "the features in a browser",
        f"dualpath stop{option}": "ends the embedded Redis",
    }
    width = max(map(len, tries))
    return [f"Done in {seconds:.0f} s. Try next:", *(f"   {line:{width}}   {why}" for line, why in tries.items())]


def _ask(events: Any, query: str) -> duckdb.DuckDBPyRelation:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("events", events)
    return connection.sql(query)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "null"
    return ", ".join(map(str, value)) or "(empty)" if isinstance(value, list) else str(value)
