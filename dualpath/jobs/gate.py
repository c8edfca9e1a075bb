"""The nightly job's quality gate: a day of the event log is published only if it is what was declared.

Admission judges single rows as they come; the gate judges the stored day, so that a defect of admission,
of deduplication or of the storage stops at the log and never becomes a feature.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import great_expectations as gx
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.datasource.fluent.interfaces import Batch
from great_expectations.execution_engine.sparkdf_execution_engine import SparkDFExecutionEngine
from great_expectations.expectations.core.expect_column_values_to_be_between import (
    ExpectColumnValuesToBeBetween,
)
from great_expectations.expectations.core.expect_column_values_to_be_in_set import ExpectColumnValuesToBeInSet
from great_expectations.expectations.core.expect_column_values_to_be_unique import (
    ExpectColumnValuesToBeUnique,
)
from great_expectations.expectations.core.expect_column_values_to_not_be_null import (
    ExpectColumnValuesToNotBeNull,
)
from great_expectations.expectations.core.expect_table_columns_to_match_set import (
    ExpectTableColumnsToMatchSet,
)
from great_expectations.expectations.core.expect_table_row_count_to_be_between import (
    ExpectTableRowCountToBeBetween,
)
from great_expectations.expectations.expectation import ColumnPairMapExpectation, Expectation
from great_expectations.expectations.metrics.map_metric_provider.column_pair_condition_partial import (
    column_pair_condition_partial,
)
from great_expectations.expectations.metrics.map_metric_provider.column_pair_map_metric_provider import (
    ColumnPairMapMetricProvider,
)
from pyspark.sql import Column, DataFrame
from pyspark.sql.functions import expr

from dualpath.errors import DualpathError
from dualpath.schema import DECIMAL_BOUND, IDENTIFIER_BOUND, EventSource, Field
from dualpath.spark.admit import AHEAD
from dualpath.steps import Step, step

EXAMPLES = 3
"""How many offending rows a failure shows."""

KEY = "event_id"
PRUNING = "spark.sql.inMemoryColumnarStorage.partitionPruning"
LIMITS = {"double": sys.float_info.max, "integer": DECIMAL_BOUND, "identifier": IDENTIFIER_BOUND}
# Asked for every rule, examples would cost a scan each; so the first look only says which rules fail.
VERDICT = {"result_format": "BOOLEAN_ONLY"}
DETAIL = {
    "result_format": "SUMMARY",
    "partial_unexpected_count": EXAMPLES,
    "unexpected_index_column_names": [KEY],
}


class _NotFarAhead(ColumnPairMapMetricProvider):
    """Whether A is at most a day after B, by the same rule as admission; null is never ahead."""

    condition_metric_name = "column_pair_values.not_far_ahead"
    condition_domain_keys = ("batch_id", "table", "column_A", "column_B")
    condition_value_keys = ()

    @column_pair_condition_partial(engine=SparkDFExecutionEngine)
    def _spark(cls, column_A: Column, column_B: Column, **_: Any) -> Column:  # noqa: N803, N805 - their interface
        return column_A <= column_B + expr(AHEAD)


class ExpectColumnPairNotFarAhead(ColumnPairMapExpectation):
    """Expect instants in `column_A` to be at most a day after those in `column_B`."""

    map_metric = _NotFarAhead.condition_metric_name


@dataclass(frozen=True)
class Failure:
    """One expectation the day does not meet.

    `expectation` is its name in Great Expectations, `column` is None if it concerns the whole table,
    `unexpected_count` the number of rows that break it (0 for the whole table), `sentence` what it demands,
    `examples` up to three offenders: values with their event id, instants in UTC.
    """

    expectation: str
    column: str | None
    unexpected_count: int
    sentence: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class GateReport:
    """What the gate found: `checked` is the number of rows it looked at; `failures` is empty if `passed`."""

    passed: bool
    checked: int
    failures: tuple[Failure, ...]


class GateError(DualpathError):
    """The quality gate refuses days of the event log, which are not published.

    The message names the days and every failed expectation.
    """

    code = "quality-gate"

    def __init__(self, source: EventSource, days: Sequence[str], report: GateReport) -> None:
        self.report = report
        found = "; ".join(_clause(failure) for failure in report.failures)
        which, those = (f"day {days[0]}", "that day") if len(days) == 1 else (f"days {', '.join(days)}", "those days")
        super().__init__(
            f"{source.name}, arrival {which}: the quality gate refuses the {report.checked} stored events "
            f"because {found}. Nothing was published; repair {those} of the event log and run the job again."
        )


def suite(source: EventSource, day: date) -> gx.ExpectationSuite:
    """Everything the declaration promises about one arrival day (UTC) of the source's event log.

    Made for a frame of `event_id` string, `event_time` and `arrival_time` timestamp, every declared field in
    its Spark type and `late` boolean, in any order. Each expectation says what it demands in its `notes`.
    """
    columns = [KEY, "event_time", "arrival_time", *source.by_name, "late"]
    expectations: list[Expectation] = [
        ExpectTableRowCountToBeBetween(min_value=1, notes=f"{source.name} has at least one event on {day}"),
        ExpectTableColumnsToMatchSet(
            column_set=columns, exact_match=True, notes=f"the columns are exactly {', '.join(columns)}"
        ),
        ExpectColumnValuesToBeUnique(column=KEY, notes="no event is stored twice"),
        ExpectColumnPairNotFarAhead(
            column_A="event_time",
            column_B="arrival_time",
            notes="no event_time is more than a day after its arrival_time",
        ),
    ]
    required = [KEY, "event_time", "arrival_time", *(field.name for field in source.fields if field.required)]
    expectations += [
        ExpectColumnValuesToNotBeNull(column=name, notes=f"every event has its {name}") for name in required
    ]
    for field in source.fields:
        expectations += _within(field)
    return gx.ExpectationSuite(f"{source.name} {day}", expectations=expectations)


@step(Step.CHECK_QUALITY)
def check(events: DataFrame, source: EventSource, day: date) -> GateReport:
    """Hold one arrival day (UTC) of the event log, shaped as `suite` says, against its declaration.

    Reads `events` once and keeps it in Spark's cache while it looks, unless the caller already does. A rule
    that cannot be evaluated at all, say on a column of the wrong type, fails for every row. Examples assume
    a session in UTC, as `dualpath.spark.session` makes. Opens no connection beyond Spark's own.
    """
    wanted = suite(source, day)
    with _cached(events):
        checked = events.count()
        batch = _batch(events)
        verdict = batch.validate(wanted, result_format=VERDICT)
        failed: list[Any] = [each.expectation_config for each in verdict.results if not each.success]
        # An empty or misshapen table says it all; the rules on its columns would only echo it.
        failed = [each for each in failed if not _column(each.kwargs)] or failed
        again = gx.ExpectationSuite(wanted.name, expectations=[each.to_domain_obj() for each in failed])
        detail = batch.validate(again, result_format=DETAIL)
        failures = tuple(_failure(each, checked) for each in detail.results)
    return GateReport(not failures, checked, failures)


def _within(field: Field) -> list[Expectation]:
    """The bounds a declaration sets on a field's values; null is never out of bounds."""
    if field.choices:
        notes = f"every {field.name} is one of {', '.join(field.choices)}"
        return [ExpectColumnValuesToBeInSet(column=field.name, value_set=list(field.choices), notes=notes)]
    # The division is exact: a scale has at most nine digits, and the bound is a power of ten with fifteen.
    limit = DECIMAL_BOUND // 10**field.scale if field.kind == "decimal" else LIMITS.get(field.kind)
    if limit is None:
        return []
    reach = "finite" if field.kind == "double" else f"within +-{limit}"
    notes = f"every {field.name} is {reach}"
    # Spark orders NaN above every number, so the upper bound refuses it too.
    return [ExpectColumnValuesToBeBetween(column=field.name, min_value=-limit, max_value=limit, notes=notes)]


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
        examples = [_example(row, column) for row in found.result["partial_unexpected_index_list"]]
    else:
        count = checked
        raised = [each["exception_message"] for each in found.exception_info.values() if isinstance(each, dict)]
        examples = [f"not evaluated: {message}" for message in raised]
    return Failure(config.type, column, count, config.notes, tuple(examples[:EXAMPLES]))


def _example(row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if isinstance(value, datetime):
        # Spark hands instants to Python without a zone, in the zone of this process.
        value = value.astimezone(UTC).isoformat()
    return f"{column} {value}" if column == KEY else f"{column} {value} of event {row[KEY]}"


def _clause(failure: Failure) -> str:
    example = f", for example {failure.examples[0]}" if failure.examples else ""
    if failure.column is None:
        return f"{failure.expectation} does not hold ({failure.sentence}){example}"
    return (
        f"{failure.expectation} does not hold on {failure.column} ({failure.sentence}): "
        f"{failure.unexpected_count} events{example}"
    )
