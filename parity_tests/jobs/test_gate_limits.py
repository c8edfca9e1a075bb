"""The limits of a night: just inside is published, just outside is refused, with figures; users' own rules."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import great_expectations as gx
import pytest
from great_expectations.expectations.core.expect_column_values_to_be_in_set import ExpectColumnValuesToBeInSet
from pyspark.sql import SparkSession

from dualpath.console.status import report as status
from dualpath.errors import DeclarationError, InputError
from dualpath.jobs.gate import check
from dualpath.jobs.gate_limits import volume
from dualpath.jobs.gate_own import own_expectations
from dualpath.jobs.gate_report import GateError
from dualpath.jobs.nightly import nightly
from dualpath.limits import Limits, NullLimit
from dualpath.log import batches, checks, forms
from dualpath.log.accounts import Entry
from dualpath.log.storage import Storage
from dualpath.log.table import BATCH
from dualpath.repo import Repo
from dualpath.schema import EventSource, text
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE, drain
from parity_tests.jobs.test_gate import DAY, a_day, orders
from parity_tests.saved import Saved

DAY_1, DAY_2 = date(2026, 3, 1), date(2026, 3, 2)


def test_a_source_without_limits_is_declared_as_before_and_limits_travel_with_the_declaration() -> None:
    assert "limits" not in orders.to_dict()
    limited = replace(orders, limits=Limits(refused=0.1, nulls=[NullLimit("quantity", 0.3)], least=0.5, most=2, days=3))
    assert EventSource.from_dict(json.loads(json.dumps(limited.to_dict()))) == limited
    with pytest.raises(DeclarationError, match="limits name the field 'colour', which it does not have"):
        EventSource("a", (text("u"),), limits=Limits(nulls=[NullLimit("colour", 0.1)]))


@pytest.mark.parametrize(("nulls", "passed"), [(7, True), (8, False)])
def test_a_share_of_nulls_is_refused_just_above_its_limit(spark: SparkSession, nulls: int, passed: bool) -> None:
    limited = replace(orders, limits=Limits(nulls=[NullLimit("quantity", 0.7)]))
    report = check(a_day(spark, limited, *[{"quantity": None}] * nulls, *[{}] * (10 - nulls)), limited, DAY)
    assert report.passed is passed
    if not passed:
        said = GateError(limited, [f"{DAY}"], report).message
        assert "at most 70.00% of the events have no quantity" in said and ": 8 events" in said
        assert "raise the limit of 'quantity'" in said


@pytest.mark.parametrize(("rows", "which"), [(5, None), (4, "least"), (30, None), (31, "most")])
def test_a_volume_outside_the_multiples_of_the_median_is_refused(rows: int, which: str | None) -> None:
    limits = Limits(least=0.5, most=3, days=3)
    found = volume(limits, {"2026-03-09": rows}, [1_000, 9, 10, 30])
    assert [f.sentence.split("at ")[1].split()[0] for f in found] == ([which] if which else [])
    assert volume(limits, {"2026-03-09": rows}, [10, 10]) == []


@pytest.mark.parametrize("summed_up", [False, True])
def test_refused_rows_count_on_the_days_of_their_batch_also_after_accounts_are_summed_up(
    tmp_path: Path, summed_up: bool
) -> None:
    storage = Storage(tmp_path, orders.name)
    storage.table.ensure(forms.schema(forms.known(storage, orders)))
    noon = 1_772_366_400_000_000  # of 2026-03-01
    entries = [
        Entry(1, 0, rows_read=10, accepted=10, arrival_days=("2026-03-01",)),
        Entry(1, 1, rows_read=10, accepted=5, dead_letter=5, arrival_days=("2026-03-01", "2026-03-02")),
        Entry(1, 2, rows_read=4, dead_letter=4, clock=noon),
        Entry(1, 3),
    ]
    for each in entries:
        logged.commit(storage, each)
    if summed_up:
        batches.sum_up(storage.table)
        assert len(storage.table.snapshot().files(outcome=BATCH)) == 2
    assert storage.accounts().refused() == {"2026-03-01": (24, 9), "2026-03-02": (10, 5)}


def suite_of(repo: Path, *values: str) -> Path:
    file = repo / "expectations" / "orders.json"
    file.parent.mkdir(exist_ok=True)
    rule = ExpectColumnValuesToBeInSet(column="user_id", value_set=list(values), notes="only known users")
    file.write_text(json.dumps(gx.ExpectationSuite("mine", expectations=[rule]).to_json_dict()))
    return file


def test_a_users_own_expectation_passes_and_fails_beside_the_generated_ones(
    spark: SparkSession, tmp_path: Path
) -> None:
    events = a_day(spark, orders, {}, {"channel": "fax"})
    for values, columns in ((["ann"], {"channel"}), (["bob"], {"channel", "user_id"})):
        suite_of(tmp_path, *values)
        report = check(events, orders, DAY, own_expectations(tmp_path, "orders", ["orders"]))
        assert {f.column for f in report.failures} == columns
    said = GateError(orders, [f"{DAY}"], report).message
    assert "only known users" in said and "change expectations/orders.json" in said


def test_a_broken_or_unknown_file_of_expectations_is_named(tmp_path: Path) -> None:
    assert own_expectations(tmp_path, "orders", ["orders"]) == []
    file = suite_of(tmp_path, "ann")
    for broken in ("{", "[]", file.read_text().replace("expect_column_values_to_be_in_set", "expect_wonders")):
        file.write_text(broken)
        with pytest.raises(InputError, match=r"orders\.json is no suite of Great Expectations: .*; write it as"):
            own_expectations(tmp_path, "orders", ["orders"])
    file.rename(file.with_name("order.json"))
    with pytest.raises(InputError, match=r"order\.json belongs to no source; call it orders\.json"):
        own_expectations(tmp_path, "orders", ["orders"])


@pytest.fixture(scope="module")
def streamed(spark: SparkSession, new_repo: Callable[[], Repo], tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A repo whose stream has read good rows and two hundred broken ones."""
    repo = new_repo()
    faults.post(repo, [*faults.payloads(faults.events()), *[b"no JSON"] * 200])
    drain(spark, repo)
    return Saved(repo, tmp_path_factory.mktemp("streamed"))


@pytest.fixture
def shop(streamed: Saved) -> Repo:
    """It, as it was before any night."""
    return streamed.again()


def test_a_day_of_too_many_refused_rows_is_not_published_and_its_page_and_status_say_so(
    spark: SparkSession, shop: Repo
) -> None:
    storage, source = shop.storage(SOURCE), shop.sources[SOURCE]
    read, dead = storage.accounts().refused()[f"{DAY_1}"]
    assert dead >= 200
    stored = faults.stored(shop)
    strict = replace(source, limits=Limits(refused=(dead - 1) / read))
    with pytest.raises(GateError) as refusal:
        nightly(spark, shop, strict, DAY_1)
    said = refusal.value.message
    for part in (f"of the {read:,} rows read on {DAY_1}, {dead:,} were refused", "not a JSON object", "the limit is"):
        assert part in said
    assert "raise `limits.refused`" in said and "repair that day" not in said
    assert faults.stored(shop) == stored and not (shop.root / "records").exists()
    kept = checks.last(storage)
    assert kept and (kept["day"], kept["passed"]) == (f"{DAY_1}", False)
    page = Path(kept["page"]).read_text()
    assert "refused share" in page and f"{dead:,} were refused" in page
    assert status(shop).data["sources"][SOURCE]["gate"] == kept
    assert any("FAILED, 1 rule" in str(each) for each in status(shop).shown)

    nightly(spark, shop, replace(source, limits=Limits(refused=dead / read)), DAY_1)
    assert checks.last(storage)["passed"] is True  # type: ignore[index]
    assert any("passed" in str(each) and "gate" in str(each) for each in status(shop).shown)


def test_a_night_of_another_volume_than_the_nights_before_is_refused(spark: SparkSession, shop: Repo) -> None:
    storage, source = shop.storage(SOURCE), shop.sources[SOURCE]
    for ago in (1, 2, 3):
        day = f"{DAY_1 - timedelta(days=ago)}"
        checks.keep(storage, day, {"passed": True, "checked": 1, "failures": [], "days": {day: 1}}, "")
    limited = replace(source, limits=Limits(most=2, days=3))
    with pytest.raises(GateError, match=r"events, and the limit is at most 2, 2 times 1, the median of the last 3"):
        nightly(spark, shop, limited, DAY_1)
    nightly(spark, shop, replace(limited, limits=Limits(most=2, days=4)), DAY_1)


def test_the_page_names_the_failed_rule_and_takes_nothing_from_other_machines(spark: SparkSession, shop: Repo) -> None:
    file = shop.folder / "expectations" / f"{SOURCE}.json"
    file.parent.mkdir()
    rule = ExpectColumnValuesToBeInSet(column="event_id", value_set=["x"], notes="only x")
    file.write_text(json.dumps(gx.ExpectationSuite("mine", expectations=[rule]).to_json_dict()))
    with pytest.raises(GateError, match="only x"):
        nightly(spark, shop, shop.sources[SOURCE], DAY_1)
    page = Path(checks.last(shop.storage(SOURCE))["page"]).read_text()  # type: ignore[index]
    assert "expect_column_values_to_be_in_set" in page and "only x" in page
    assert "must belong to this set" in page, "Great Expectations' own words"
    for icon, mark in (("fa-check-circle", "✓"), ("fa-times", "✗")):
        assert f'.{icon}::before {{ content: "{mark}"' in page and f'class="fas {icon}' in page
    for asset in ("<script", "<link", "<img", "@import", "@font-face", "url("):
        assert asset not in page
    # Nothing there needs a script or another page; what is folded up unfolds without one.
    assert "<details>" in page
    for control in ("<a ", "<button", "<input", "onclick", "<nav"):
        assert control not in page


def test_storage_without_a_check_has_no_last_one(tmp_path: Path) -> None:
    assert checks.last(Storage(tmp_path, "clicks")) is None
