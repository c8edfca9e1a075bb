"""`drift`: how far what was served is from what the model was trained on, and why."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, values, write_to_textfile
from rich.console import RenderableType
from rich.table import Table

from dualpath import instants
from dualpath.console.live import spell
from dualpath.console.report import Report, busy, table
from dualpath.console.repos import shown
from dualpath.errors import InputError
from dualpath.parity.drift import Drift, FeatureDrift, drift
from dualpath.plural import plural
from dualpath.repo import Repo

DAYS = 7
"""The last days of the log that are shown; --json has all."""
WAITING = "of batches that the record files do not have yet; run `dualpath batch`"
UNTOLD = "without a token; declare the views of the service `with_known`"


def run(
    repo: Repo, since: str, until: str | None, service: str | None, training: Path | None, metrics: Path | None
) -> Report:
    """Measure the drift of what was logged in [since, until), ISO-8601; see `dualpath.parity.drift`.

    With `metrics`, write the numbers there for Prometheus, too. The report is always ok: drift is no failure. Raises
    `InputError` if nothing was logged.
    """
    ends = _instant("--since", since), None if until is None else _instant("--until", until)
    with busy("Deriving again what was served"):
        found = drift(repo, *ends, service, training)
    said = [*parts(found)]
    if metrics:
        write(found, metrics)
        said.append(f"The numbers for Prometheus are in {shown(metrics)}.")
    return Report(asdict(found), said)


def parts(found: Drift) -> list[RenderableType]:
    """The report for people."""
    left_out = [f"{count:,} {why}" for count, why in ((found.waiting, WAITING), (found.untold, UNTOLD)) if count]
    said: list[RenderableType] = [f"{plural(found.rows, 'row')} logged.", *(f"Left out: {each}." for each in left_out)]
    for service in dict.fromkeys(each.service for each in found.features):
        features = [each for each in found.features if each.service == service]
        said += [f"Service {service}, from training to what was served:", _distributions(features)]
        said += ["Rows by cause:", _causes(features)]
        days = [day.day for day in features[0].days][-DAYS:]
        if len(days) > 1:
            said += ["PSI by day of the log, UTC:", _days(features, days)]
    if found.ages:
        ages = table("service", "view", "rows", "p50", "p99", numbers=("rows", "p50", "p99"))
        for each in found.ages:
            ages.add_row(each.service, each.view, f"{each.rows:,}", spell(each.p50), spell(each.p99))
        said += ["Age of the newest event at the read:", ages]
    return said


def _distributions(features: Sequence[FeatureDrift]) -> Table:
    against_file = any(each.final_psi is not None for each in features)
    numbers = ["PSI", *(["of final", "by chance"] if against_file else []), "nulls", "median"]
    made = table("feature", *numbers, "main cause", numbers=numbers)
    for each in features:
        final = [_short(each.final_psi), _short(each.by_chance)] if against_file else []
        sides = each.training, each.served
        nulls = " → ".join(_share(side.null_share) for side in sides)
        medians = " → ".join(_short(side.median) for side in sides)
        made.add_row(each.feature, _short(each.psi), *final, nulls, medians, each.main_cause)
    return made


def _causes(features: Sequence[FeatureDrift]) -> Table:
    causes = [*features[0].causes]
    made = table("feature", *causes, numbers=causes)
    for each in features:
        made.add_row(each.feature, *(f"{rows:,}" for rows in each.causes.values()))
    return made


def _days(features: Sequence[FeatureDrift], days: Sequence[str]) -> Table:
    made = table("feature", *days, numbers=days)
    for each in features:
        made.add_row(each.feature, *(_short(day.psi) for day in each.days if day.day in days))
    return made


def write(found: Drift, file: Path) -> None:
    """Write the numbers in Prometheus' text format, whole; raises `InputError` if the file cannot be written.

    A number that is not known is not there.
    """
    values.ValueClass = values.MutexValue  # Feast sets up numbers that live in files, for servers
    registry = CollectorRegistry()

    def gauge(name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(f"dualpath_{name}", documentation, labels, registry=registry)

    psi = gauge("drift_psi", "Population stability index between training and served values", "service", "feature")
    nulls = gauge("drift_null_share", "Share of nulls among training or served values", "service", "feature", "side")
    rows = gauge("drift_rows", "Served rows by the cause of their difference", "service", "feature", "cause")
    age = gauge("served_age_seconds", "Age of the newest event of a view at the reads", "service", "view", "quantile")
    for each in found.features:
        of = each.service, each.feature
        _set(psi, each.psi, *of)
        for side, its in (("training", each.training), ("served", each.served)):
            _set(nulls, its.null_share, *of, side)
        for cause, count in each.causes.items():
            rows.labels(*of, cause).set(count)
    for view in found.ages:
        for quantile, seconds in (("0.5", view.p50), ("0.99", view.p99)):
            age.labels(view.service, view.view, quantile).set(seconds)
    try:
        write_to_textfile(str(file), registry)
    except OSError as error:
        raise InputError(f"--metrics: {file} cannot be written ({error.strerror}); name another file.") from None


def _set(gauge: Gauge, value: float | None, *labels: str) -> None:
    if value is not None:
        gauge.labels(*labels).set(value)


def _instant(option: str, text: str) -> int:
    try:
        return int(instants.parse([text])[0])
    except InputError:
        raise InputError(f"{option}: '{text}' is not an instant; write it as 2026-03-04T12:00:00Z.") from None


def _short(value: float | None) -> str:
    """A number in four digits.

    >>> _short(0.123456), _short(17.0), _short(1772712000000000.0), _short(None)
    ('0.1235', '17', '1.773e+15', '-')
    """
    return "-" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
