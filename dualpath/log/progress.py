"""How far a source's stream is: the batch that was begun last, with the days that were closed then, and the last done.

A batch begins when the one before it is done, so `ledger/progress.json` is all there is to know. Whether a batch that
is begun has been logged, the log says. The file is changed by one writer at a time: whoever closes a day finds every
batch that was begun before, and no later one misses that it is closed.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from dualpath.errors import StateError
from dualpath.files.durable import update, write_atomically
from dualpath.files.places import Place, read_text
from dualpath.record import UNFENCED, Fence


@dataclass(frozen=True)
class Progress:
    """`done` is the last finished batch, `begun` the last one that was begun, while the days up to `closed_through`
    (ISO; empty: none) were closed; `closed` is the last day that is closed now."""

    done: Fence = UNFENCED
    begun: Fence = UNFENCED
    closed_through: str = ""
    closed: str = ""

    @property
    def unfinished(self) -> Fence | None:
        """The batch that is begun and not done."""
        return self.begun if self.begun > self.done else None


def exists(ledger: Place) -> bool:
    """Whether a stream of this version has begun a batch."""
    return (ledger / "progress.json").exists()


def read(ledger: Place) -> Progress:
    """How far the stream is now. Raises `StateError` if the previous version has written the log."""
    return _parsed(ledger, read_text(ledger / "progress.json"))


def write(ledger: Place, now: Progress) -> None:
    """Note how far it is, whatever is noted."""
    write_atomically(ledger / "progress.json", _text(now))


def change(ledger: Place, by: Callable[[Progress], Progress]) -> Progress:
    """Change how far it is; answers that. `by` may be called several times. Raises as `read`."""
    now = Progress()

    def changed(text: str) -> str:
        nonlocal now
        now = by(before := _parsed(ledger, text))
        return text if now == before else _text(now)

    update(ledger / "progress.json", changed)
    return now


def _text(now: Progress) -> str:
    plain = {"done": now.done, "begun": now.begun, "closed_through": now.closed_through, "closed": now.closed}
    return json.dumps(plain)


def _parsed(ledger: Place, text: str) -> Progress:
    if text:
        plain = json.loads(text)
        return Progress(Fence(*plain["done"]), Fence(*plain["begun"]), plain["closed_through"], plain["closed"])
    if (ledger / "blocks").exists() or any(ledger.glob("query=*")):
        raise StateError(f"{ledger.parent} has a log of the previous version; run `dualpath migrate`.")
    return Progress()
