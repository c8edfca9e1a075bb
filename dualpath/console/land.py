"""`generate` and `ingest`: events into a source's landing folder, where the stream finds them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
from rich.console import RenderableType
from rich.markup import escape

from dualpath.console import repos
from dualpath.console.report import Report, busy, table
from dualpath.demo.datasets import DATASETS
from dualpath.demo.generate import generate as shop_events
from dualpath.errors import InputError, NotFoundError
from dualpath.plural import plural
from dualpath.repo import Repo
from dualpath.schema import EventSource
from dualpath.sources import files, landing
from dualpath.sources.delimited import PLAIN, Dialect
from dualpath.sources.rendering import ROWS_PER_BATCH, json_lines

ROWS_PER_FILE = 10_000
PRODUCTS, CATEGORIES = 500, 20


def generate(
    repo: Repo, source: EventSource, *, events: int, users: int, days: int, seed: int, start: datetime
) -> Report:
    """Land generated shop events."""
    with busy("Generating events"):
        made = shop_events(
            users=users, events=events, products=PRODUCTS, categories=CATEGORIES, start=start, days=days, seed=seed
        )
        payloads = _of_table(made, source, "what `generate` makes")
        return _landed(repo, source, payloads, {"generated": made.num_rows})


def ingest(repo: Repo, source: EventSource, what: Sequence[str], data: Path | None, dialect: Dialect = PLAIN) -> Report:
    """Land datasets, by their names, and files, folders and patterns of them; all of it or nothing.

    Raises `InputError` for a `dialect` where there is no CSV or TSV.
    """
    with busy("Looking for files") as say:
        inputs = _inputs(what, source, data, dialect)
        for name, opened in inputs.items():
            say(f"Looking at {escape(name)}")
            opened()  # raises before anything is written if this cannot be events
        rows = dict.fromkeys(inputs, 0)

        def payloads() -> Iterator[bytes]:
            for number, (name, opened) in enumerate(inputs.items(), 1):
                for payload in opened():
                    if rows[name] % ROWS_PER_FILE == 0:
                        place = f"{number} of {len(inputs)}"
                        say(f"Reading {escape(name)} ({place}): {plural(rows[name], 'row')}")
                    rows[name] += 1
                    yield payload

        return _landed(repo, source, payloads(), rows)


def _inputs(
    what: Sequence[str], source: EventSource, data: Path | None, dialect: Dialect
) -> dict[str, Callable[[], Iterator[bytes]]]:
    """What is meant by its name, and how it is opened."""
    datasets = [name for name in what if name in DATASETS and not Path(name).exists()]
    try:
        found = files.found(name for name in what if name not in datasets)
    except NotFoundError as error:
        raise NotFoundError(f"{error.message} The datasets are {', '.join(DATASETS)}.") from None
    if dialect != PLAIN and not any(map(files.is_delimited, found)):
        raise InputError("--delimiter, --quote, --null and --encoding are for CSV and TSV, and none is here.")
    inputs: dict[str, Callable[[], Iterator[bytes]]] = {
        name: partial(_dataset_payloads, name, source, data) for name in datasets
    }
    return inputs | {str(file): partial(files.payloads, file, source, dialect) for file in found}


def _landed(repo: Repo, source: EventSource, payloads: Iterable[bytes], rows: Mapping[str, int]) -> Report:
    """Land payloads, and report them; `rows` counts them by what they come from, once they are read."""
    folder = repo.storage(source.name).folder("landing")
    landed = landing.land_payloads(payloads, folder, rows_per_file=ROWS_PER_FILE, start=landing.next_number(folder))
    total = sum(rows.values())
    data = {"source": source.name, "rows": total, "files": [f.name for f in landed], "rows_by_input": dict(rows)}
    where = f"{plural(total, 'row')} in {plural(len(landed), 'file')} landed in {repos.shown(folder)}."
    shown: list[RenderableType] = []
    if len(rows) > 1:
        of_each = table("input", "rows", numbers=["rows"])
        for name, count in rows.items():
            of_each.add_row(escape(name), f"{count:,}")
        shown.append(of_each)
    return Report(data, [*shown, where, "Next: dualpath stream --once"])


def _dataset_payloads(name: str, source: EventSource, data: Path | None) -> Iterator[bytes]:
    if data is None:
        raise InputError(f"where is the dataset {name}? Name its folder with --data or DUALPATH_DATA.")
    yield from _of_table(DATASETS[name][0](data), source, name)


def _of_table(events: pa.Table, source: EventSource, what: str) -> Iterator[bytes]:
    columns = files.members(events.column_names, source, what)
    return json_lines(events.select(columns).to_batches(ROWS_PER_BATCH), what)
