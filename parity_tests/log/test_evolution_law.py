"""After any chain of allowed changes a log reads as if the last declaration had written all of it."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from dualpath.field import Field
from dualpath.log import forms
from dualpath.log.storage import Storage
from dualpath.parity import events
from dualpath.schema import EventSource, decimal, integer, text
from dualpath.spark.log import read_log
from parity_tests.evolved import append, orders, payload, storage


def a_wider(draw: st.DrawFn, old: Field) -> Field:
    """A form that is the same or wider."""
    match old.kind:
        case "integer":
            made: list[Callable[[], Field]] = [
                lambda: old,
                lambda: replace(old, kind="identifier"),
                lambda: replace(old, kind="double"),
                lambda: replace(old, kind="decimal", scale=draw(st.integers(0, 9))),
            ]
            return draw(st.sampled_from(made))()
        case "decimal":
            return replace(old, scale=draw(st.integers(old.scale, 9)))
        case "text" if old.choices:
            return replace(old, choices=draw(st.sampled_from([old.choices, ("a", "b", "c"), ()])))
    return old


@st.composite
def chains(draw: st.DrawFn) -> "Chain":
    """Declarations, each one that is allowed after the one before it, with the payloads of its time."""
    names = iter([f"f{number}" for number in range(40)])
    fields = [integer(next(names)), decimal(next(names), scale=1), text(next(names), choices=["a"])]
    found, number = [], 0
    for _ in range(draw(st.integers(2, 5))):
        source, payloads = orders(*fields), []
        for _ in range(draw(st.integers(1, 3))):
            values = {each.name: value for each in fields if (value := _value(draw, each)) is not None}
            payloads.append(payload(number := number + 1, **values))
        found.append((source, payloads))
        changed = [a_wider(draw, each) for each in fields if draw(st.integers(0, 9)) > 0]
        for at, each in enumerate(changed):
            if draw(st.integers(0, 3)) == 0:
                changed[at] = replace(each, name=next(names), fallbacks=each.places, former=(each.name, *each.former))
        if draw(st.booleans()):
            kind = draw(st.sampled_from(["integer", "text", "boolean", "double"]))
            changed.append(Field(next(names), kind))
        fields = changed
    return found


def _value(draw: st.DrawFn, field: Field) -> Any:
    if draw(st.integers(0, 3)) == 0:
        return None
    match field.kind:
        case "text":
            return draw(st.sampled_from(field.choices or ("a", "zz", "")))
        case "boolean":
            return draw(st.booleans())
        case "decimal":
            return str(Decimal(draw(st.integers(-99_999, 99_999))).scaleb(-field.scale))
        case "double":
            return draw(st.sampled_from([0.1, -2.5, 1e-3]))
    return draw(st.integers(-99_999, 99_999))


Chain = list[tuple[EventSource, list[dict[str, Any]]]]


def written(chain: Chain, make: Callable[[str], Path]) -> tuple[Storage, Storage]:
    """A log that each declaration of a chain wrote a part of, and one that the last wrote all of."""
    evolved, fresh = (storage(make(name)) for name in ("evolved", "fresh"))
    last, _ = chain[-1]
    for source, payloads in chain:
        forms.check(evolved, source)
        append(evolved, source, payloads)
    known = {place[0] for field in (*last.fields, *last.members.values()) for place in field.places}
    append(fresh, last, [{n: v for n, v in each.items() if n in known} for _, payloads in chain for each in payloads])
    return evolved, fresh


def same(one: pa.Table, other: pa.Table) -> bool:
    """Whether two tables have the same columns, types and bits."""
    assert one.schema == other.schema and one.num_rows > 1
    return repr(one.sort_by("event_id").to_pylist()) == repr(other.sort_by("event_id").to_pylist())


@given(chain=chains())
@settings(max_examples=60, deadline=None)
def test_after_any_chain_of_changes_events_are_those_of_the_last_declaration_from_the_beginning(
    chain: Chain, tmp_path_factory: pytest.TempPathFactory
) -> None:
    evolved, fresh = written(chain, tmp_path_factory.mktemp)
    last, _ = chain[-1]
    found = events.read(evolved, last)
    assert same(found, events.read(fresh, last))
    assert found.num_rows == sum(len(payloads) for _, payloads in chain)


@pytest.mark.slow
@given(chain=chains())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_spark_reads_after_any_chain_of_changes_what_is_read_without_it(
    spark: SparkSession, chain: Chain, tmp_path_factory: pytest.TempPathFactory
) -> None:
    evolved, _ = written(chain, tmp_path_factory.mktemp)
    last, _ = chain[-1]
    found = read_log(spark, evolved, last).select(*(f"`{name}`" for name in last.stored.names)).toArrow()
    assert same(found.cast(last.stored), events.read(evolved, last))
