"""The landed objects in which an erasure has made lines blank.

On a disk such a file keeps its time. A store gives it a new one, by which it would seem to be another file than the
stream has read; so `ledger/blanked.json` has the version that each got. Before that is known it has what is to be in
the object, for an erasure that is cut off.
"""

import hashlib
import json
from typing import NamedTuple

from dualpath.files.durable import write_atomically
from dualpath.files.places import Place, read_text


class Blanked(NamedTuple):
    """What an object has now: the digest of its content, and its version, as `dualpath.sources.delivery` has it; 0: not
    known yet."""

    digest: str
    version: int = 0


def digest(content: bytes) -> str:
    """What is noted of a content."""
    return hashlib.sha256(content).hexdigest()


def kept(ledger: Place) -> dict[str, Blanked]:
    """All of them, by their names in the landing folder."""
    return {name: Blanked(*each) for name, each in json.loads(read_text(_file(ledger)) or "{}").items()}


def keep(ledger: Place, name: str, blanked: Blanked) -> None:
    """Note one; only the erasure that holds the source may."""
    write_atomically(_file(ledger), json.dumps(kept(ledger) | {name: blanked}, indent=1))


def _file(ledger: Place) -> Place:
    return ledger / "blanked.json"
