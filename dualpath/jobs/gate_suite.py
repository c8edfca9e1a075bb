"""The expectations that a declaration generates for an arrival day of its source's event log."""

import sys
from datetime import date, timedelta
from typing import Any

import great_expectations as gx
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
from pyspark.sql import Column

from dualpath.clock import Future
from dualpath.field import Field
from dualpath.limits import NullLimit
from dualpath.schema import DECIMAL_BOUND, IDENTIFIER_BOUND, EventSource
from dualpath.spark.clock import is_far
from dualpath.windows import spell

KEY = "event_id"
REMEDY = "remedy"
"""Where an expectation says what to do if it fails, in its `meta`."""
LIMITS = {"double": sys.float_info.max, "integer": DECIMAL_BOUND, "identifier": IDENTIFIER_BOUND}


class _NotFarAhead(ColumnPairMapMetricProvider):
    """Whether A is at most `ahead` microseconds after B, by the same rule as admission; null is never ahead."""

    condition_metric_name = "column_pair_values.not_far_ahead"
    condition_domain_keys = ("batch_id", "table", "column_A", "column_B")
    condition_value_keys = ("ahead",)

    @column_pair_condition_partial(engine=SparkDFExecutionEngine)
    def _spark(cls, column_A: Column, column_B: Column, ahead: int, **_: Any) -> Column:  # noqa: N803, N805 - theirs
        return ~is_far(column_A, column_B, Future(timedelta(microseconds=ahead)))


class ExpectColumnPairNotFarAhead(ColumnPairMapExpectation):
    """Expect instants in `column_A` to be at most `ahead` microseconds after those in `column_B`."""

    ahead: int
    success_keys = (*ColumnPairMapExpectation.success_keys, "ahead")
    map_metric = _NotFarAhead.condition_metric_name


def suite(source: EventSource, day: date) -> gx.ExpectationSuite:
    """Everything the declaration promises about one arrival day (UTC) of the source's event log.

    Made for a frame of `event_id` string, `event_time` and `arrival_time` timestamp, the column of every declared field
    in its Spark type and `late` boolean, in any order. Each expectation says what it demands in its `notes`.
    """
    columns = [KEY, "event_time", "arrival_time", *(field.column for field in source.all_fields), "late"]
    expectations: list[Expectation] = [
        ExpectTableRowCountToBeBetween(min_value=1, notes=f"{source.name} has at least one event on {day}"),
        ExpectTableColumnsToMatchSet(
            column_set=columns, exact_match=True, notes=f"the columns are exactly {', '.join(columns)}"
        ),
        ExpectColumnValuesToBeUnique(column=KEY, notes="no event is stored twice"),
        ExpectColumnPairNotFarAhead(
            column_A="event_time",
            column_B="arrival_time",
            ahead=source.future.micros,
            notes=f"no event_time is more than {spell(source.future.micros)} after its arrival_time",
        ),
    ]
    required = [KEY, "event_time", "arrival_time", *(field.column for field in source.all_fields if field.required)]
    expectations += [
        ExpectColumnValuesToNotBeNull(column=name, notes=f"every event has its {name}") for name in required
    ]
    for field in source.all_fields:
        expectations += _within(field)
    expectations += [_filled(limit, source.by_name[limit.field].column) for limit in source.limits.nulls]
    return gx.ExpectationSuite(f"{source.name} {day}", expectations=expectations)


def _within(field: Field) -> list[Expectation]:
    """The bounds a declaration sets on a field's values; null is never out of bounds."""
    if field.choices:
        notes = f"every {field.name} is one of {', '.join(field.choices)}"
        return [ExpectColumnValuesToBeInSet(column=field.column, value_set=list(field.choices), notes=notes)]
    # The division is exact: a scale has at most nine digits, and the bound is a power of ten with fifteen.
    limit = DECIMAL_BOUND // 10**field.scale if field.kind == "decimal" else LIMITS.get(field.kind)
    if limit is None:
        return []
    reach = "finite" if field.kind == "double" else f"within +-{limit}"
    notes = f"every {field.name} is {reach}"
    # Spark orders NaN above every number, so the upper bound refuses it too.
    return [ExpectColumnValuesToBeBetween(column=field.column, min_value=-limit, max_value=limit, notes=notes)]


def _filled(limit: NullLimit, column: str) -> Expectation:
    """The largest share of nulls. Great Expectations asks for the smallest share of values, as `1 - share`, whose
    last digits are rounded away: 1 - 0.7 is more than 0.3."""
    notes = f"at most {limit.share:.2%} of the events have no {limit.field}"
    meta = {REMEDY: f"fix the producer, or raise the limit of '{limit.field}' in the source's `limits`"}
    return ExpectColumnValuesToNotBeNull(column=column, mostly=round(1 - limit.share, 12), notes=notes, meta=meta)
