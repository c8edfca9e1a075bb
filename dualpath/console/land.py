"""`generate` and `ingest`: events into a source's landing folder, where the stream finds them."""

import csv
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from dualpath.console import repos
from dualpath.console.report import Report, busy, plural
from dualpath.demo.datasets import DATASETS
from dualpath.demo.generate import generate as shop_events
from dualpath.errors import InputError
from dualpath.repo import Repo
from dualpath.schema import EventSource
from dualpath.sources import landing

ROWS_PER_FILE = 10_000
PRODUCTS, CATEGORIES = 500, 20


def generate(
    repo: Repo, source: EventSource, *, events: int, users: int, days: int, seed: int, start: datetime
) -> Report:
    """Land generated shop events."""
    with busy("Generating events"):
        table = shop_events(
            users=users, events=events, products=PRODUCTS, categories=CATEGORIES, start=start, days=days, seed=seed
        )
        return _landed(repo, source, _fitting(table, source, "what `generate` makes"))


def ingest(repo: Repo, source: EventSource, what: str, data: Path | None) -> Report:
    """Land a dataset by its name, or a file of payloads."""
    with busy(f"Reading {what}"):
        file = Path(what)
        if what in DATASETS and not file.is_file():
            return _landed(repo, source, _fitting(_dataset(what, data), source, what))
        if not file.is_file():
            raise InputError(f"{what} is neither a file nor one of the datasets {', '.join(DATASETS)}.")
        if file.suffix == ".jsonl":
            return land_lines(repo, source, file)
        readers = {".parquet": _parquet, ".csv": _csv}
        if file.suffix not in readers:
            raise InputError(f"{what} is of no known kind; pass a .jsonl, .parquet or .csv file.")
        return _landed(repo, source, _fitting(readers[file.suffix](file), source, what))


def land_lines(repo: Repo, source: EventSource, file: Path) -> Report:
    """Land a file's lines as they are."""
    folder = repo.storage(source.name).folder("landing")
    files = landing.land_lines(file, folder, rows_per_file=ROWS_PER_FILE, start=landing.next_number(folder))
    return _report(source, folder, files, sum(f.read_bytes().count(b"\n") for f in files))


def _landed(repo: Repo, source: EventSource, table: pa.Table) -> Report:
    folder = repo.storage(source.name).folder("landing")
    files = landing.land(table, folder, rows_per_file=ROWS_PER_FILE, start=landing.next_number(folder))
    return _report(source, folder, files, table.num_rows)


def _report(source: EventSource, folder: Path, files: list[Path], rows: int) -> Report:
    data = {"source": source.name, "rows": rows, "files": [f.name for f in files]}
    where = f"{plural(rows, 'row')} in {plural(len(files), 'file')} landed in {repos.shown(folder)}."
    return Report(data, [where, "Next: dualpath stream --once"])


def _dataset(name: str, data: Path | None) -> pa.Table:
    if data is None:
        raise InputError(f"where is the dataset {name}? Name its folder with --data or DUALPATH_DATA.")
    return DATASETS[name][0](data)


def _parquet(file: Path) -> pa.Table:
    try:
        return pa.parquet.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file, "Parquet", error) from None


def _csv(file: Path) -> pa.Table:
    """Every cell as its text, so that admission judges what the file says; an empty cell is a missing member."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            names = next(csv.reader(lines), [])
        convert = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
        )
        return pa.csv.read_csv(
            file, convert_options=convert, parse_options=pa.csv.ParseOptions(newlines_in_values=True)
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(file, "CSV", error) from None


def _unreadable(file: Path, kind: str, error: Exception) -> InputError:
    return InputError(f"{file} cannot be read as {kind} ({str(error).splitlines()[0]}); nothing was landed.")


def _fitting(table: pa.Table, source: EventSource, what: str) -> pa.Table:
    """The columns the source reads; raises `InputError` if one is there twice or a needed one is not there."""
    given = [n for n in (source.event_id, source.event_time, source.arrival_time, source.occurrence) if n]
    needed = given + [f.name for f in source.fields if f.required]
    names = table.column_names
    if missing := [n for n in needed if n not in names]:
        raise InputError(
            f"{what}: no column {', '.join(missing)}, which source '{source.name}' needs; it has {', '.join(names)}."
        )
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise InputError(f"{what}: the column {', '.join(twice)} stands there twice; rename or remove one.")
    members = {*given, *source.by_name}
    return table.select([n for n in names if n in members])
