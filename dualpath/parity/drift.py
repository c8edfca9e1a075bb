"""Drift: how far what was served is from what the model was trained on, feature by feature, and why.

The rows are those that `dualpath.feast.served_log` has written. The answer to each is derived twice more: with *final*
knowledge, which is what a training set of today has, and *by arrival*, with the events that had arrived by the read.
Between the three values are the causes; a row can have both of the middle ones:

| cause | what is found |
|---|---|
| same | the final value was served |
| not yet streamed | the value by arrival is another: an event had arrived, but the stream had not served it |
| late | the final value is not the one by arrival: an event arrived after the read |
| definition changed | the view was declared otherwise when it was served, so the values do not compare |
| real drift | the final values are distributed otherwise than those of a saved training set: the world has changed |

Values are compared by bits; `dualpath.parity.distribution` says what the PSI is. Features of ordinary views are left
out, because no event log tells when they changed. An instant as a feature moves with time, so it always drifts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast import OnDemandFeatureView
from feast.feature_logging import LOG_TIMESTAMP_FIELD

from dualpath.errors import InputError
from dualpath.feast.served_log import declaration_column
from dualpath.instants import iso
from dualpath.kinds import INSTANT
from dualpath.parity.audit import LoggedService, derivable_rows, services
from dualpath.parity.compare import same
from dualpath.parity.distribution import Distance, distance, median, null_share
from dualpath.repo import Repo
from dualpath.times import LAST
from dualpath.view import KNOWN_AT, digest

SAME, NOT_YET_STREAMED, LATE = "same", "not yet streamed", "late"
DEFINITION_CHANGED, REAL_DRIFT = "definition changed", "real drift"
NO_VALUES = pa.chunked_array([], pa.null())
THRESHOLD = 0.2
"""The PSI from which on a change counts as significant, by the usual rule of thumb; Wu and Olson, Enterprise risk
management, Journal of the Operational Research Society 61, 2010. What chance gives is taken off before."""


@dataclass(frozen=True)
class Side:
    """The values of one side; `null_share` and `median` are None of no values, `median` also if they are no numbers."""

    rows: int
    null_share: float | None
    median: float | None


@dataclass(frozen=True)
class Day:
    """A UTC day of the log."""

    day: str
    rows: int
    psi: float | None


@dataclass(frozen=True)
class FeatureDrift:
    """One feature of a service.

    `psi` is between training and served values. `final_psi` is between a training file and the final values of the
    rows; `by_chance` is what it would be on average if the world had not changed. They are None where a side has no
    values. `causes` are rows by cause, and `main_cause` is what to look at first.
    """

    service: str
    feature: str
    training: Side
    served: Side
    psi: float | None
    final_psi: float | None
    by_chance: float | None
    causes: dict[str, int]
    main_cause: str
    days: tuple[Day, ...]


@dataclass(frozen=True)
class Age:
    """How old the newest event that a view had served was at the reads, seconds from its arrival."""

    service: str
    view: str
    rows: int
    p50: float
    p99: float


@dataclass(frozen=True)
class Drift:
    """What was found.

    `rows` were logged. Of these `waiting` are of batches that the record files do not have yet, and `untold` have no
    token; both are left out of the rest.
    """

    rows: int
    waiting: int
    untold: int
    features: tuple[FeatureDrift, ...]
    ages: tuple[Age, ...]


@dataclass(frozen=True)
class Answers:
    """Rows of a service, as they were logged and as they are derived; the derived columns are `view__feature`."""

    logged: pa.Table
    by_arrival: pa.Table
    final: pa.Table


class TrainingFile:
    """A training set saved as Parquet, with columns named `view__feature` or, where only one view has it, `feature`.

    Raises `InputError` if it cannot be read.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self.table = pq.read_table(file)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{file} cannot be read as Parquet ({error}); name a saved training set.") from None

    def column(self, each: LoggedService, name: str) -> pa.ChunkedArray:
        """The values of a service's feature, by its name `view__feature`; none if the model does not use it."""
        feature = each.columns[name].split(":")[1]
        if name in self.table.column_names:
            return self.table[name]
        alone = sum(ref.split(":")[1] == feature for ref in each.columns.values()) == 1
        return self.table[feature] if alone and feature in self.table.column_names else NO_VALUES


def drift(
    repo: Repo, since: int, until: int | None = None, service: str | None = None, training: Path | None = None
) -> Drift:
    """How far services (by default all) that log their answers have drifted, in [since, until), microseconds UTC.

    training: the Parquet file of a saved training set. Without it, training values are the final ones of the same rows,
    and nothing can be told of real drift.

    Raises `InputError` if nothing was logged, for a training file that does not fit, and `StaleRecordsError` if the
    record files lack events.
    """
    saved = None if training is None else TrainingFile(training)
    rows = waiting = untold = 0
    features: list[FeatureDrift] = []
    ages: list[Age] = []
    for each in services(repo, service):
        parts = []
        for logged in _logged(each, since, until):
            rows += len(logged)
            ready, late, silent = derivable_rows(each, logged)
            waiting, untold = waiting + late, untold + silent
            if len(ready):
                parts.append((ready, _derived(each, ready, ready[LOG_TIMESTAMP_FIELD]), _derived(each, ready, None)))
        if parts:
            whole = Answers(*(pa.concat_tables(side, promote_options="default") for side in zip(*parts, strict=True)))
            features += _features(each, whole, saved)
            ages += _ages(each, whole.logged)
    if not rows:
        span = f"since {iso(since)}" + (f" and before {iso(until)}" if until else "")
        raise InputError(f"nothing was logged {span}; ask a service that has a logging_config.")
    if saved and features and not any(each.training.rows for each in features):
        names = ", ".join(each.feature.replace(":", "__") for each in features)
        raise InputError(f"{saved.file} has no column of a feature that was served; it may have {names}.")
    return Drift(rows, waiting, untold, tuple(features), tuple(ages))


def _logged(each: LoggedService, since: int, until: int | None) -> Iterator[pa.Table]:
    end = pa.scalar(LAST if until is None else until, INSTANT)
    for rows in each.batches(since):
        yield rows.filter(pc.less(rows[LOG_TIMESTAMP_FIELD], end))


def _derived(each: LoggedService, logged: pa.Table, known_at: pa.ChunkedArray | None) -> pa.Table:
    """The answers that the same rows get, with the events that had arrived by `known_at`; None: with all."""
    # Said even where all count, because a repo may have a `known_lag`.
    known = pa.repeat(pa.scalar(LAST, INSTANT), len(logged)) if known_at is None else known_at
    return each.derived(logged, {KNOWN_AT: known})


def _features(each: LoggedService, answers: Answers, saved: TrainingFile | None) -> Iterator[FeatureDrift]:
    logged = answers.logged
    day = np.asarray(logged[LOG_TIMESTAMP_FIELD].cast(pa.date32()))
    other = {
        name: np.asarray(pc.not_equal(logged[declaration_column(name)], digest(view)).fill_null(True))
        for name, view in each.views.items()
    }
    for name in answers.final.column_names:
        ref, served, final = each.columns[name], logged[name], answers.final[name]
        changed = np.any([other[view] for view in _views(each, ref)], axis=0)
        trained = saved.column(each, name) if saved else final
        real = _distance(ref, trained, final.filter(pa.array(~changed))) if saved else None
        causes = _causes(changed, served, answers.by_arrival[name], final)
        days = []
        for of in np.unique(day):
            rows = pa.array(day == of)
            found = _distance(ref, trained if saved else final.filter(rows), served.filter(rows))
            days.append(Day(str(of), int(np.sum(day == of)), found and found.psi))
        whole = _distance(ref, trained, served)
        yield FeatureDrift(
            each.service.name,
            ref,
            _side(trained),
            _side(served),
            whole and whole.psi,
            real and real.psi,
            real and real.by_chance,
            causes,
            _main(causes, real),
            tuple(days),
        )


def _views(each: LoggedService, ref: str) -> list[str]:
    """The windowed views that a feature is computed from, by their names in the service."""
    [name, _] = ref.split(":")
    for projection in each.service.feature_view_projections:
        if projection.name_to_use() == name and name not in each.views:
            declared = each.repo.store.registry.get_any_feature_view(projection.name, each.repo.project)
            assert isinstance(declared, OnDemandFeatureView), "nothing else can be derived"
            sources = {source.name for source in declared.source_feature_view_projections.values()}
            return [name for name, view in each.views.items() if view.name in sources]
    return [name]


def _causes(
    changed: np.ndarray, served: pa.ChunkedArray, by_arrival: pa.ChunkedArray, final: pa.ChunkedArray
) -> dict[str, int]:
    """The rows of each cause."""
    kept = pa.array(~changed)
    sides = (side.filter(kept).to_pylist(maps_as_pydicts="strict") for side in (served, by_arrival, final))
    different = [(s, a, f) for s, a, f in zip(*sides, strict=True) if not same(s, f)]
    return {
        SAME: int((~changed).sum()) - len(different),
        NOT_YET_STREAMED: sum(not same(s, a) for s, a, _ in different),
        LATE: sum(not same(a, f) for _, a, f in different),
        DEFINITION_CHANGED: int(changed.sum()),
    }


def _main(causes: dict[str, int], real: Distance | None) -> str:
    """Real drift if there is any; else the cause of most rows that are not the same."""
    if real and real.psi - real.by_chance > THRESHOLD:
        return REAL_DRIFT
    found = max((DEFINITION_CHANGED, NOT_YET_STREAMED, LATE), key=lambda cause: causes[cause])
    return found if causes[found] else SAME


def _distance(ref: str, training: pa.ChunkedArray, served: pa.ChunkedArray) -> Distance | None:
    try:
        return distance(training, served)
    except InputError as error:
        raise InputError(f"feature '{ref}': {error.message}") from None


def _side(values: pa.ChunkedArray) -> Side:
    return Side(len(values), null_share(values), median(values))


def _ages(each: LoggedService, logged: pa.Table) -> Iterator[Age]:
    """The ages of every view whose `arrived_VIEW` was served; a row that does not know it has none."""
    read = np.asarray(logged[LOG_TIMESTAMP_FIELD].cast(pa.int64()))
    for name, view in each.views.items():
        column = f"{name}__{view.arrived_feature}"
        if column in logged.column_names:
            arrived = np.asarray(logged[column].fill_null(0))
            if ages := ((read - arrived)[arrived > 0] / 1e6).tolist():
                p50, p99 = np.quantile(ages, [0.5, 0.99]).tolist()
                yield Age(each.service.name, name, len(ages), p50, p99)
