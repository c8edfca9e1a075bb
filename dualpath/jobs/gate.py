"""The nightly job's quality gate: a day of the event log is published only if it is what was declared.

Admission judges single rows as they come; the gate judges the stored day, so that a defect of admission,
of deduplication or of the storage stops at the log and never becomes a feature.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import great_expectations as gx
from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.datasource.fluent.interfaces import Batch
from great_expectations.expectations.expectation import Expectation
from pyspark.sql import DataFrame

from dualpath.jobs.gate_report import Failure, GateReport
from dualpath.jobs.gate_suite import KEY, REMEDY, suite
from dualpath.schema import EventSource
from dualpath.steps import Step, step

EXAMPLES = 3
"""How many offending rows a failure shows."""

PRUNING = "spark.sql.inMemoryColumnarStorage.partitionPruning"
# Asked for every rule, examples would cost a scan each; so the first look only says which rules fail.
VERDICT = {"result_format": "BOOLEAN_ONLY"}
DETAIL = {
    "result_format": "SUMMARY",
    "partial_unexpected_count": EXAMPLES,
    "unexpected_index_column_names": [KEY],
}


@dataclass(frozen=True)
class Checked:
    """The report, and the same as Great Expectations' own results, which `dualpath.jobs.gate_docs` renders."""

    report: GateReport
    results: ExpectationSuiteValidationResult


def check(events: DataFrame, source: EventSource, day: date, own: Sequence[Expectation] = ()) -> GateReport:
    """The report of `validate`."""
    return validate(events, source, day, own).report


@step(Step.CHECK_QUALITY)
def validate(events: DataFrame, source: EventSource, day: date, own: Sequence[Expectation] = ()) -> Checked:
    """Hold one arrival day (UTC) of the event log, shaped as `suite` says, against its declaration, and against the
    user's `own` expectations.

    Reads `events` once and keeps it in Spark's cache while it looks, unless the caller already does. A rule
    that cannot be evaluated at all, say on a column of the wrong type, fails for every row. Examples assume
    a session in UTC, as `dualpath.spark.session` makes. Opens no connection beyond Spark's own.
    """
    declared = suite(source, day)
    shape = {each.expectation_type for each in declared.expectations if _column(each.configuration.kwargs) is None}
    wanted = gx.ExpectationSuite(declared.name, expectations=[*declared.expectations, *own])
    with _cached(events):
        checked = events.count()
        batch = _batch(events)
        verdict = batch.validate(wanted, result_format=VERDICT)
        failed: list[Any] = [each.expectation_config for each in verdict.results if not each.success]
        # An empty or misshapen table says it all; the rules on its columns would only echo it.
        failed = [each for each in failed if each.type in shape and each.notes in _notes(declared)] or failed
        detail = []
        if failed:
            again = gx.ExpectationSuite(wanted.name, expectations=[each.to_domain_obj() for each in failed])
            detail = batch.validate(again, result_format=DETAIL).results
        failures = tuple(_failure(each, checked) for each in detail)
    named = {_named(each): each for each in detail}
    verdict.results = [named.get(_named(each), each) for each in verdict.results]
    return Checked(GateReport(not failures, checked, failures), verdict)


def _notes(declared: gx.ExpectationSuite) -> set[Any]:
    return {each.notes for each in declared.expectations if _column(each.configuration.kwargs) is None}


def _named(found: ExpectationValidationResult) -> tuple[str, str]:
    config: Any = found.expectation_config
    return config.type, repr(sorted(config.kwargs.items()))


@contextmanager
def _cached(events: DataFrame) -> Iterator[None]:
    level, settings = events.storageLevel, events.sparkSession.conf
    before = settings.get(PRUNING) or "true"
    # Spark 4.2 leaves NaN out of a cached column's bounds, so a filter that prunes by them never finds one.
    settings.set(PRUNING, "false")
    kept = level.useMemory or level.useDisk
    if not kept:
        events.persist()
    try:
        yield
    finally:
        settings.set(PRUNING, before)
        if not kept:
            events.unpersist()


def _batch(events: DataFrame) -> Batch:
    """The frame as Great Expectations takes it, in a context that lives in memory and shows nothing."""
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_or_update_spark("event log", persist=False).add_dataframe_asset("day")
    return asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": events})


def _column(arguments: Mapping[str, Any]) -> str | None:
    return arguments.get("column") or arguments.get("column_A")


def _failure(found: ExpectationValidationResult, checked: int) -> Failure:
    config: Any = found.expectation_config
    column = _column(config.kwargs)
    if column is None:
        count = 0
        mismatched = found.result.get("details", {}).get("mismatched", {})
        examples = [f"{how} {name}" for how, names in mismatched.items() for name in names]
    elif "unexpected_count" in found.result:
        count = found.result["unexpected_count"]
        examples = [_example(row, column) for row in found.result["partial_unexpected_index_list"] or ()]
    elif "observed_value" in found.result:  # of an aggregate, such as a mean
        count, examples = 0, [f"{column} has {found.result['observed_value']}"]
    else:
        count = checked
        raised = [each["exception_message"] for each in found.exception_info.values() if isinstance(each, dict)]
        examples = [f"not evaluated: {message}" for message in raised]
    meta = config.meta or {}
    sentence = config.notes or ", ".join(
        f"{name}={value}" for name, value in config.kwargs.items() if name != "batch_id"
    )
    return Failure(config.type, column, count, sentence, tuple(examples[:EXAMPLES]), meta.get(REMEDY, ""))


def _example(row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if isinstance(value, datetime):
        # Spark hands instants to Python without a zone, in the zone of this process.
        value = value.astimezone(UTC).isoformat()
    return f"{column} {value}" if column == KEY else f"{column} {value} of event {row[KEY]}"
