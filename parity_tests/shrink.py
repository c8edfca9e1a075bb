"""From a failure to a test to paste: the fewest events that still fail, and the code that says so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pprint import pformat
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from dualpath.parity.compare import Difference, differences
from dualpath.parity.oracle import oracle
from dualpath.plan import FoldError
from dualpath.record import layout
from dualpath.spark.records import folded_records, records
from dualpath.view import View
from parity_tests.events import dictionary, entity, evaluated, values

Event = dict[str, Any]
TEST = """\
from decimal import Decimal

from pyspark.sql import SparkSession

from dualpath.view import View
from parity_tests.shrink import disagreement


def test_spark_and_the_oracle_agree(spark: SparkSession) -> None:
    view = View.from_dict(
        {view}
    )
    events = (
        {events}
    )
    assert disagreement(spark, view, events, {who!r}, {as_of}) == []
"""


def smallest(events: Sequence[Event], fails: Callable[[list[Event]], bool]) -> list[Event]:
    """The events without every one that can be left out with the failure staying (Zeller's ddmin, 2002)."""
    kept, parts = list(events), 2
    while len(kept) > 1:
        size = -(-len(kept) // parts)
        rests = [kept[:start] + kept[start + size :] for start in range(0, len(kept), size)]
        failing = next((rest for rest in rests if fails(rest)), None)
        if failing is not None:
            kept, parts = failing, max(parts - 1, 2)
        elif size == 1:
            break
        else:
            parts = min(2 * parts, len(kept))
    return kept


def disagreement(spark: SparkSession, view: View, events: Sequence[Event], who: tuple, as_of: int) -> list[Difference]:
    """Where the Spark translation, folded as the stream does and not as the batch does, leaves the oracle.

    events: as `parity_tests.events` has them. A value that the stream's fold must refuse is left out.
    """
    evaluated_events = evaluated(view, events)
    truth = {name: [value] for name, value in oracle(view, evaluated_events, who, as_of).items()}
    texts, found = dictionary(view, evaluated_events), []
    log = frame(spark, view, events)
    for made in (records(log, [view]), *([folded_records(log, view)] if view.resolution > 1 else [])):
        mine = [row["words"] for row in made.collect() if row["entity"] == entity(who)]
        words = np.array(mine, dtype=np.int64).reshape(-1, layout(view).width)
        try:
            found += differences(values(view, words, [as_of], texts), truth)
        except FoldError:
            continue
    return found


def frame(spark: SparkSession, view: View, events: Sequence[Event]) -> Any:
    """The events as a frame with the columns of the event log."""
    instant = pa.timestamp("us", tz="UTC")
    types = {"event_id": pa.string(), "event_time": instant, "arrival_time": instant}
    types |= {field.column: field.stored for field in view.source.all_fields}
    columns = {name: pa.array([event.get(name) for event in events], kind) for name, kind in types.items()}
    arrival_day = pa.array(["2024-01-01"] * len(events), pa.string())
    return spark.createDataFrame(pa.table({**columns, "arrival_day": arrival_day}))


@dataclass(frozen=True, repr=False)
class Paste:
    """A test of one case, ready to paste: its representation."""

    view: View
    events: Sequence[Event]
    who: tuple
    as_of: int

    def __repr__(self) -> str:
        names = ("event_id", "event_time", "arrival_time", *self.view.source.by_name)
        plain = [{name: event[name] for name in names if name in event} for event in self.events]
        indented = (pformat(each, width=110, sort_dicts=False) for each in (self.view.to_dict(), plain))
        declared, happened = (text.replace("\n", "\n        ") for text in indented)
        return TEST.format(view=declared, events=happened, who=self.who, as_of=self.as_of)
