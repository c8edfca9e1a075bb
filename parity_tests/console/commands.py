"""How the tests run a command."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
from typer.testing import CliRunner, Result

from dualpath.cli import app
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE
from dualpath.record import Fence
from dualpath.repo import Repo
from parity_tests import logged
from parity_tests.conftest import CHECKOUT, SOURCE

DAY = "2026-03-01"
README = (CHECKOUT / "README.md").read_text()


def run(*words: str | Path) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(map(str, words)))


def run_json(*words: str | Path, code: int = 0) -> dict[str, Any]:
    """The one JSON object a command prints."""
    result = run(*words, "--json")
    assert result.exit_code == code, result.output
    [line] = result.stdout.splitlines()
    return json.loads(line)


def written(repo: Repo, batch: int, accepted: int, reasons: list[str], *, duplicate: int = 0, **counts: int) -> None:
    """A finished batch with its files, as the stream leaves it."""
    events = pa.table({"event_id": [str(i) for i in range(accepted)]})
    files = {(ACCEPTED, DAY): events, (DUPLICATE, DAY): events[:duplicate]}
    files[DEAD_LETTER, DAY] = pa.table({"payload": reasons, "reason": pa.array(reasons, pa.string())})
    kinds = dict(Counter(reason.partition(":")[0] for reason in reasons))
    files = {place: rows for place, rows in files.items() if len(rows)}
    logged.append(repo.storage(SOURCE), repo.sources[SOURCE], files, batch=Fence(1, batch), reasons=kinds, **counts)
