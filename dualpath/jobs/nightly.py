"""The nightly job: close a day, check it, fold it into records, publish its snapshot."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime

import tenacity
from great_expectations.expectations.expectation import Expectation
from pyspark.sql import SparkSession

from dualpath.errors import InputError, RunningError, StateError
from dualpath.jobs.build import build
from dualpath.jobs.gate import validate
from dualpath.jobs.gate_docs import page
from dualpath.jobs.gate_limits import refused_share, volume
from dualpath.jobs.gate_own import own_expectations
from dualpath.jobs.gate_report import GateError, GateReport
from dualpath.jobs.gate_rows import moved
from dualpath.jobs.log_compaction import compact_log
from dualpath.jobs.publish import Published, publish, served
from dualpath.log import checks
from dualpath.log.storage import Storage
from dualpath.repo import Repo
from dualpath.schema import EventSource
from dualpath.spark.log import read_log
from dualpath.steps import Step, step

BATCH_TIMEOUT_SECONDS = 600
"""How long to wait for a running stream to finish the batch it is in."""


@dataclass(frozen=True)
class Night:
    """What a run did for one source: the gate's report, the arrival days built, the snapshots published.

    On a `quiet` day nothing has arrived.
    """

    source: str
    day: str
    quiet: bool
    gate: GateReport
    built: tuple[str, ...]
    published: tuple[Published, ...]


def nightly(spark: SparkSession, repo: Repo, source: EventSource, day: date, *, today: date | None = None) -> Night:
    """Run the night of one source and arrival day; twice is as good as once.

    Whoever publishes does it by this, `feast materialize` too. Earlier days that no night has published yet are checked
    and published with it; a day on which nothing has arrived has nothing to check. `today` is the present day, UTC.
    Raises `InputError` for a day that cannot be closed, and `GateError` if the events fail their expectations: then
    nothing is built or published.
    """
    storage = repo.storage(source.name)
    own = own_expectations(repo.folder, source.name, repo.sources)
    closable(storage, day, today or datetime.now(UTC).date())
    settle(storage, day)
    compact_log(spark, storage)
    report = gate(spark, repo, source, day, own)
    built = build(spark, repo, source, through=day)
    published = publish(spark, repo, repo.views_of(source.name), day)
    quiet = day.isoformat() not in storage.arrival_days()
    return Night(source.name, day.isoformat(), quiet, report, tuple(built), tuple(published))


def gate(
    spark: SparkSession, repo: Repo, source: EventSource, day: date, own: Sequence[Expectation] = ()
) -> GateReport:
    """Check the days that a night publishes, and keep what is found; raises `GateError` if they fail."""
    storage, days, iso = repo.storage(source.name), unchecked(repo, source, day), day.isoformat()
    since = min(known.snapshot for known in served(repo, repo.views_of(source.name)).values())
    counts = storage.accounts().refused()
    counts = {e: of for e, of in sorted(counts.items()) if since < e < iso or e == iso}
    results, rows, report = None, Counter[str](), GateReport(passed=True, checked=0, failures=())
    if days:
        events = read_log(spark, storage, source, days)
        rows = storage.events(days)
        results = validate(events.drop("arrival_day", "batch"), source, day, own)
        report = results.report
    failures = (
        *report.failures,
        *(moved(read_log(spark, storage, source), source, repo.views_of(source.name)) if source.changes else ()),
        *refused_share(storage, source.limits, counts),
        *volume(source.limits, dict(sorted(rows.items())), checks.volumes(storage, min([*days, iso]))),
    )
    report = GateReport(not failures, report.checked, failures)
    if days or failures:
        html = page(results.results if results else None, report, f"{source.name}, {iso}")
        checks.keep(storage, iso, {**asdict(report), "days": rows, "refused": counts}, html)
    if failures:
        raise GateError(source, sorted({*days, *counts}), report)
    return report


def unchecked(repo: Repo, source: EventSource, day: date) -> list[str]:
    """The arrival days with events that a night is the first to publish, and its own if it has some."""
    iso, arrival_days = day.isoformat(), repo.storage(source.name).arrival_days()
    since = min(known.snapshot for known in served(repo, repo.views_of(source.name)).values())
    return [e for e in arrival_days if since < e < iso or e == iso]


def closable(storage: Storage, day: date, today: date) -> None:
    """Raise `InputError` for a day that is to come, for the present one while nothing has arrived on it, and if nothing
    has ever arrived: a closing is for ever."""
    last = max(storage.arrival_days(), default="")
    if day > today:
        raise InputError(f"{day} has not come yet, today is {today} UTC; close a day that is over.")
    if not last:
        raise InputError(f"source '{storage.source}': nothing has arrived yet; run `dualpath stream` first.")
    if day == today and day.isoformat() > last:
        raise InputError(
            f"source '{storage.source}': nothing has arrived on {day} and it is not over, today is {today} UTC; "
            "close a day that is over."
        )


@step(Step.CLOSE_DAY)
def settle(storage: Storage, day: date) -> None:
    """Close a day and wait until no batch can add to it.

    Raises `StateError` if such a batch was left unfinished by a stream that no longer runs.
    """
    storage.close_day(day)
    if not storage.unfinished(day):
        return
    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda left: bool(left)),
        stop=tenacity.stop_after_delay(BATCH_TIMEOUT_SECONDS),
        wait=tenacity.wait_fixed(0.2),
    )
    try:
        waiting(_unfinished, storage, day)
    except tenacity.RetryError:
        raise StateError(
            f"source '{storage.source}': the stream's batch takes over {BATCH_TIMEOUT_SECONDS} s; look at it."
        ) from None


def _unfinished(storage: Storage, day: date) -> bool:
    if not storage.unfinished(day):
        return False
    if not running(storage):
        raise StateError(
            f"source '{storage.source}': the stream stopped in the middle of a batch; run `dualpath stream --once` "
            "so that it finishes, then run the night again."
        )
    return True


def running(storage: Storage) -> bool:
    """Whether a stream holds the source's checkpoint."""
    try:
        with storage.alone():
            return False
    except RunningError:
        return True
