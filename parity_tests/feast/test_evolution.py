"""What a plan says of a changed declaration, and what names the records that it makes."""

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from dualpath.aggregates import Count, Last, Sum
from dualpath.feast import declared, evolution
from dualpath.offline.history import dictionary_salt, view_version
from dualpath.repo import Repo
from dualpath.schema import EventSource, boolean, integer, text
from dualpath.view import Feature, View
from dualpath.windows import days, window
from parity_tests.conftest import REPOS
from parity_tests.evolved import append, orders, payload


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    """An applied repo whose log has two events of a day."""
    made = Repo(tmp_path_factory.mktemp("evolving") / "repo")
    shutil.copytree(REPOS / "evolving", made.folder, ignore=shutil.ignore_patterns("__pycache__"))
    made.apply()
    append(made.storage("orders"), made.sources["orders"], [payload(1, amount=1), payload(2, amount=2)])
    yield made


def planned(repo: Repo, source: EventSource) -> list[str]:
    """The plan for the repo's views of another source of the same name."""
    return evolution.lines(
        evolution.changes(repo.store.config, {n: replace(v, source=source) for n, v in repo.views.items()})
    )


def test_a_plan_of_what_is_applied_says_so(repo: Repo) -> None:
    assert declared.views(repo.folder) == repo.views
    assert evolution.lines(evolution.changes(repo.store.config, declared.views(repo.folder))) == [evolution.NOTHING]


def test_a_plan_that_changes_no_record_asks_for_a_new_start_of_the_stream(repo: Repo) -> None:
    source = repo.sources["orders"]
    more = replace(source, fields=(*source.fields[:4], replace(source.fields[4], path=("shop",)), source.fields[5]))
    assert planned(repo, replace(more, fields=(*more.fields, boolean("gift")), arrival_time="received")) == [
        "orders: channel is read from payloads in another way; stored events are as they are.",
        "orders: gift is new; it is null in stored events.",
        "orders: what it says of all events differs; events to come go by it, and stored ones are as they are.",
        evolution.RESTART,
    ]


def test_a_plan_names_the_views_that_are_removed_and_leaves_out_what_is_refused(repo: Repo) -> None:
    seen = repo.views["seen"]
    assert evolution.lines(evolution.changes(repo.store.config, {"seen": seen})) == [
        "orders: records of spent are removed."
    ]
    fewer = [replace(f, choices=f.choices[:1]) if f.name == "state" else f for f in seen.source.fields]
    narrow = replace(seen, source=replace(seen.source, fields=tuple(fewer)))
    [refused] = evolution.changes(repo.store.config, {"seen": narrow})
    assert "it was text(choices=['new', 'paid']) and is text(choices=['new'])" in refused.refused
    assert evolution.lines([refused]) == []


def test_records_of_a_field_that_had_another_name_have_a_version_of_their_own() -> None:
    def view(source: EventSource, of: str = "sku") -> View:
        features = (Feature("last", Last(of), window(days(1))), Feature("all", Count(), window(days(1))))
        return View("v", ("user",), source, features)

    plain = orders(text("sku"), integer("amount"))
    renamed = orders(text("sku").was("product_id"), integer("amount"))
    elsewhere = orders(text("sku"), integer("amount").was("price"))
    assert view_version(view(plain)) != view_version(view(renamed))
    assert dictionary_salt("orders", [view(plain)]) != dictionary_salt("orders", [view(renamed)])
    assert view_version(view(plain)) == view_version(view(elsewhere))
    total = Feature("total", Sum("amount"), window(days(1)))
    assert view_version(replace(view(plain), features=(total,))) != view_version(
        replace(view(elsewhere), features=(total,))
    )
    key = replace(plain, fields=(replace(plain.fields[0], former=("buyer",)), *plain.fields[1:]))
    assert view_version(view(plain)) != view_version(view(key))
