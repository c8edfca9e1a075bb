"""How far a source's stream is: the batch that was begun last, with the days that were closed then, and the last done.

A batch begins when the one before it is done, so `ledger/progress.json` is all there is to know. Whether a batch that
is begun has been logged, the log says.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from dualpath.errors import StateError
from dualpath.log.files import write_atomically
from dualpath.record import UNFENCED, Fence


@dataclass(frozen=True)
class Progress:
    """`done` is the last finished batch, `begun` the last one that was begun, while the days up to `closed_through`
    (ISO; empty: none) were closed."""

    done: Fence = UNFENCED
    begun: Fence = UNFENCED
    closed_through: str = ""

    @property
    def unfinished(self) -> Fence | None:
        """The batch that is begun and not done."""
        return self.begun if self.begun > self.done else None


def exists(ledger: Path) -> bool:
    """Whether a stream has begun a batch."""
    return (ledger / "progress.json").exists()


def read(ledger: Path) -> Progress:
    """How far the stream is now. Raises `StateError` if the previous version has written the log."""
    try:
        plain = json.loads((ledger / "progress.json").read_text())
    except FileNotFoundError:
        if (ledger / "blocks").exists() or any(ledger.glob("query=*")):
            raise StateError(f"{ledger.parent} has a log of the previous version; run `dualpath migrate`.") from None
        return Progress()
    return Progress(Fence(*plain["done"]), Fence(*plain["begun"]), plain["closed_through"])


def write(ledger: Path, now: Progress) -> None:
    """Keep how far it is."""
    plain = {"done": now.done, "begun": now.begun, "closed_through": now.closed_through}
    write_atomically(ledger / "progress.json", json.dumps(plain))
