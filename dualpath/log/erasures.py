"""Erasures: that rows of a person were removed from a source's files, when, and how many; never whose they were.

`ledger/erasures.json` has them, oldest first. One that is under way has a mark of what was asked for, so that the same
command goes on with it after a crash and another one is refused. The mark goes when it ends; if it is emptied before,
any erasure goes on with it.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from dualpath.files.durable import write_atomically
from dualpath.files.places import Place, read_text


@dataclass(frozen=True)
class Erasure:
    """One erasure: when it began (ISO, UTC), by which join keys, and how many rows of the log were removed.

    `arrival_days` are those of which accepted rows were removed. `rewritten`: no file has a row of it any more. `mark`
    is empty once it has ended.
    """

    number: int
    begun: str
    keys: tuple[str, ...]
    mark: str
    arrival_days: tuple[str, ...] = ()
    rewritten: bool = False
    ended: bool = False
    rows: int = 0

    @property
    def salt(self) -> str:
        """What nobody knows once it has ended."""
        return self.mark.partition(":")[0]

    def is_of(self, asked: Iterable[str]) -> bool:
        """Whether the mark is that of what was asked for."""
        return self.mark == marked(asked, self.salt)


def marked(asked: Iterable[str], salt: str = "") -> str:
    """A mark of what was asked for, which does not show it and makes every guess slow; without a salt, with a new one.

    >>> mark = marked(["user_id=ann"])
    >>> Erasure(1, "", ("user_id",), mark).is_of(["user_id=ann"]), Erasure(1, "", ("user_id",), mark).is_of(["a=b"])
    (True, False)
    """
    salt = salt or secrets.token_hex(16)
    text = json.dumps(sorted(asked)).encode()
    return f"{salt}:{hashlib.scrypt(text, salt=salt.encode(), n=2**14, r=8, p=1).hex()}"


def kept(ledger: Place) -> list[Erasure]:
    """All erasures of a source, oldest first."""
    return [_read(plain) for plain in json.loads(read_text(file_of(ledger)) or "[]")]


def under_way(ledger: Place) -> Erasure | None:
    """The erasure that has not ended; None: there is none."""
    return next((each for each in kept(ledger) if not each.ended), None)


def begin(ledger: Place, keys: Iterable[str], asked: Iterable[str], arrival_days: Iterable[str]) -> Erasure:
    """Note an erasure of what is asked for, and of which arrival days it removes accepted rows; one that is under way
    goes on, under a new number, because the files may have changed since it was cut off."""
    before, others = under_way(ledger), [each for each in kept(ledger) if each.ended]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made = before or Erasure(0, now, tuple(keys), "")
    number = max((each.number for each in kept(ledger)), default=0) + 1
    mark = made.mark or marked(asked)
    made = replace(made, number=number, mark=mark, arrival_days=tuple(sorted({*made.arrival_days, *arrival_days})))
    _write(ledger, [*others, made])
    return made


def keep(ledger: Place, erasure: Erasure) -> Erasure:
    """Keep what is known of an erasure now."""
    _write(ledger, [erasure if each.number == erasure.number else each for each in kept(ledger)])
    return erasure


def of_days(ledger: Place) -> dict[str, list[str]]:
    """For each arrival day the erasures after which its files are others, by name."""
    found: dict[str, list[str]] = {}
    for each in kept(ledger):
        for day in each.arrival_days if each.rewritten else ():
            found.setdefault(day, []).append(f"erased {each.number}")
    return found


def file_of(ledger: Place) -> Place:
    """Where they are kept."""
    return ledger / "erasures.json"


def _write(ledger: Place, found: Iterable[Erasure]) -> None:
    write_atomically(file_of(ledger), json.dumps([asdict(each) for each in found], indent=1))


def _read(plain: dict[str, Any]) -> Erasure:
    return Erasure(**plain | {name: tuple(plain[name]) for name in ("keys", "arrival_days")})
