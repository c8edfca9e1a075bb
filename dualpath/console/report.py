"""Prints what a command found: a report for people on the terminal, or one JSON object for programs."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from io import UnsupportedOperation
from typing import Any, TextIO

from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from dualpath.console.cause import DEFECT, defect, explain

WIDTH = 120
"""Columns where the output is no terminal, so that logs do not cut tables short."""
CHECK_FAILED = "check-failed"
"""The code of a command that ran to its end and found something that is not as it should be."""


@dataclass
class Report:
    """What a command found: `data` for programs, `shown` for people, `errors` for both; `ok` decides the exit code.

    `code` says to programs what kind of error it is.
    """

    data: dict[str, Any]
    shown: Sequence[RenderableType] = ()
    ok: bool = True
    errors: Sequence[str] = field(default_factory=tuple)
    code: str = CHECK_FAILED


def finish(work: Callable[[], Report], as_json: bool) -> bool:
    """Run a command's work and print its report; True if all was well.

    An error becomes the one sentence of its cause. One that is a defect shows its traceback first.
    """
    with only_json() if as_json else nullcontext(sys.stdout) as out:
        try:
            report = work()
        except Exception as error:
            if known := explain(error):
                report = Report({}, ok=False, errors=[known.message], code=known.code)
            else:
                traceback.print_exc()
                report = Report({}, ok=False, errors=[defect(error)], code=DEFECT)
        for line in report.errors:
            print(f"Error: {line}", file=sys.stderr)
        if as_json:
            failure = {"error": " ".join(report.errors), "code": report.code} if report.errors else {}
            print(json.dumps(report.data | failure), file=out)
        else:
            show(report.shown)
    return report.ok


@contextmanager
def only_json() -> Iterator[TextIO]:
    """Keep standard output for one object; whatever else is printed there, even by a JVM, goes to standard error."""
    out = sys.stdout
    out.flush()
    with redirect_stdout(sys.stderr), _descriptor_redirected(out) as own:
        yield own


@contextmanager
def _descriptor_redirected(out: TextIO) -> Iterator[TextIO]:
    try:
        number = out.fileno()
    except UnsupportedOperation:  # a buffer of a test, which no other process writes to
        yield out
        return
    own = os.dup(number)
    os.dup2(sys.stderr.fileno(), number)
    try:
        with os.fdopen(os.dup(own), "w") as stream:
            yield stream
    finally:
        os.dup2(own, number)
        os.close(own)


def output() -> Console:
    """The console on standard output, where results go."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)


def show(parts: Sequence[RenderableType]) -> None:
    """Print the parts of a report, a blank line round each table."""
    console, before = output(), None
    for part in parts:
        if isinstance(before, Table) or (before and isinstance(part, Table)):
            console.print()
        console.print(part)
        before = part


def table(*columns: str, numbers: Sequence[str] = ()) -> Table:
    """A plain table; the columns named in `numbers` are aligned to the right."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return made


@contextmanager
def busy(text: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner on standard error; gives the function that changes its text. Silent where there is no terminal."""
    with Console(stderr=True, highlight=False).status(text) as status:
        yield status.update


@contextmanager
def bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar on standard error; gives the function `progress(stage, done, total)` that moves it."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def step(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage)
            progress.update(tasks[stage], completed=done, total=total)

        yield step
