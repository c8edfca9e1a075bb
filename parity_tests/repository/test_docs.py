"""The documentation says what is: its examples run, its tables are the code's, and nothing is left out."""

import ast
import re
from doctest import DocTestParser, DocTestRunner

import pytest

from dualpath.aggregates import Aggregate
from dualpath.parity.compare import same
from dualpath.record import layout
from dualpath.view import Feature, View
from dualpath.windows import hours
from parity_tests.conftest import CHECKOUT
from parity_tests.strategies import CLICKS, COMBINATIONS, OF

AGGREGATES = (CHECKOUT / "docs/aggregates.md").read_text()
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", AGGREGATES, re.MULTILINE | re.DOTALL))
OPTIONS = {"SumBy": {"by": "action"}}


def row(name: str, head: str) -> str:
    """A line of an aggregate's table."""
    [found] = re.findall(rf"^\| {head} \| (.*) \|$", SECTIONS[name], re.MULTILINE)
    return found


def example(name: str, kind: str | None) -> View:
    """A view of nothing but the aggregate, over one kind of column."""
    of = {"of": OF[kind][0]} if kind else {}
    made = Aggregate.registry[name](**of, **OPTIONS.get(name, {}))
    return View("example", ("user",), CLICKS, (Feature("value", made, hours(1)),))


def test_every_aggregate_has_a_section_and_every_section_an_aggregate() -> None:
    assert set(SECTIONS) == set(Aggregate.registry)


@pytest.mark.parametrize(
    ("document", "least"),
    [("docs/aggregates.md", len(Aggregate.registry)), ("docs/dimensions.md", 10), ("docs/events.md", 10)],
)
def test_every_example_gives_what_is_written_below_it(document: str, least: int) -> None:
    # A fence would be read as what the example before it prints.
    plain = re.sub(r"^```.*$", "", (CHECKOUT / document).read_text(), flags=re.MULTILINE)
    runner, said = DocTestRunner(), []
    runner.run(DocTestParser().get_doctest(plain, {}, document, None, 0), out=said.append)
    assert runner.failures == 0, "".join(said)
    assert runner.tries > least


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_shows_its_aggregate_at_work(name: str) -> None:
    assert re.search(rf"^>>> value\({name}\(", SECTIONS[name], re.MULTILINE)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_says_what_the_aggregate_takes(name: str) -> None:
    assert row(name, "takes") == (", ".join(Aggregate.registry[name].kinds) or "no column")
    assert row(name, "SQL").startswith("`")


@pytest.mark.parametrize(("name", "kind"), COMBINATIONS, ids=lambda each: each or "rows")
def test_every_section_says_what_an_empty_window_gives(name: str, kind: str | None) -> None:
    """The zero of a sum is a double where the sum is."""
    view, said = example(name, kind), row(name, "empty")
    output = view.output(view.features[0])
    value = None if said == "null" else ast.literal_eval(said.strip("`"))
    assert same(float(value) if value == 0 and output.type.kind == "double" else value, output.empty)


@pytest.mark.parametrize(("name", "kind"), COMBINATIONS, ids=lambda each: each or "rows")
def test_every_section_says_what_state_costs(name: str, kind: str | None) -> None:
    made, record = Aggregate.registry[name], layout(example(name, kind))
    words, records = row(name, "words"), row(name, "coarse records")
    if kind == "double":
        words, records = words.rpartition("of doubles ")[2], records.rpartition("of doubles ")[2]
    assert int(words.partition(";")[0]) == record.width - record.header
    assert ("refused" in records) == (made.needs == "events")
    assert any(cell.splits for cell in record.cells) <= ("`D`" in records)


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{file.name}" for file in (CHECKOUT / "docs").glob("*.md"))])
def test_every_file_that_a_document_names_is_there(document: str) -> None:
    named = re.findall(r"`((?:dualpath|parity_tests|feature_repo|docs)/[\w./]+)`", (CHECKOUT / document).read_text())
    assert [name for name in named if not (CHECKOUT / name).exists()] == []


def test_a_word_of_the_glossary_has_one_line() -> None:
    words = re.findall(r"^\| (.+?) \|", (CHECKOUT / "docs/glossary.md").read_text(), re.MULTILINE)
    assert len(words) == len({*words}) > 40
