"""How the tests run a command."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from typer.testing import CliRunner, Result

from dualpath.cli import app
from dualpath.log.storage import Storage
from parity_tests.conftest import CHECKOUT

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


def written(storage: Storage, batch: int, accepted: int, reasons: list[str], **counts: int) -> None:
    """A finished batch with its files, as the stream leaves it."""
    entry = storage.begin(1, batch)
    log, dead = (storage.folder(kind) / entry.name for kind in ("log", "dead"))
    (log / "epoch=2026-03-01").mkdir(parents=True)
    dead.mkdir(parents=True)
    pq.write_table(pa.table({"event_id": [str(i) for i in range(accepted)]}), log / "epoch=2026-03-01/part.parquet")
    pq.write_table(pa.table({"reason": pa.array(reasons, pa.string())}), dead / "part.parquet")
    outcomes = {"rows_read": accepted + len(reasons), "accepted": accepted, "dead_letter": len(reasons)}
    storage.finish(storage.note(entry, **{**outcomes, **counts}, arrival_days=("2026-03-01",)))
