"""What a source keeps of a person on the disk, and its removal: log, duplicates, dead letters and landed files."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from dualpath.erasure.keys import Keys
from dualpath.erasure.landed import Lines, require_read
from dualpath.erasure.logged import DeadLetters, Events, Found
from dualpath.errors import StateError
from dualpath.log import checks, erasures, recount
from dualpath.log.erasures import Erasure
from dualpath.log.generation import checkpoint
from dualpath.log.storage import Storage
from dualpath.schema import EventSource
from dualpath.steps import Step, step

PLACES = {"log": "event log", "duplicate": "duplicates", "dead": "dead letters", "landing": "landed files"}
"""The folders with a person's rows, as a report calls them."""


@dataclass(frozen=True)
class Traces:
    """What the folders of a source have of some keys."""

    storage: Storage
    source: EventSource
    keys: Keys

    @cached_property
    def events(self) -> Events:
        """Rows of the log and of the duplicates."""
        return Events(self.storage, self.source, self.keys)

    @cached_property
    def dead(self) -> DeadLetters:
        """Dead letters."""
        return DeadLetters(self.storage, self.source, self.keys)

    @cached_property
    def lines(self) -> Lines:
        """Lines of landed files."""
        return Lines(self.storage, self.source, self.keys)

    @cached_property
    def found(self) -> Mapping[str, Found]:
        """What each folder has, looked up once."""
        of_events = {kind: self.events.found(kind) for kind in ("log", "duplicate")}
        return {**of_events, "dead": self.dead.found(), "landing": self.lines.found()}

    @property
    def under_way(self) -> Erasure | None:
        """The erasure that was cut off."""
        return erasures.under_way(self.storage.folder("ledger"))

    @property
    def due(self) -> bool:
        """Whether there is anything to do."""
        return self.under_way is not None or any(each.rows for each in self.found.values())

    @property
    def arrival_days(self) -> list[str]:
        """The arrival days of accepted rows."""
        return sorted({file.parent.name.removeprefix("epoch=") for file in self.found["log"].rows})

    def require_ready(self) -> None:
        """Raise `StateError` unless every batch has ended and every row is where the ledger says, so that what is
        removed can be told from what is missing."""
        name, (_, begun) = self.storage.source, self.storage.reached()
        of_query = checkpoint(self.storage, begun.query)
        planned = (of_query / "offsets" / str(begun.batch)).exists()
        committed = (of_query / "commits" / str(begun.batch)).exists()
        if any(not entry.done for entry in self.storage.entries()) or (planned and not committed):
            raise StateError(
                f"source '{name}': the stream stopped in the middle of a batch; run `dualpath stream --once`, so that "
                "it finishes, then erase."
            )
        require_read(self.storage)
        if self.under_way is None and (wrong := recount.lacking(self.storage)):
            raise StateError(
                f"source '{name}': {wrong[0][0].name} has fewer rows on the disk than the ledger says, so what is "
                "erased could not be told from what is lost; see `dualpath status`, then erase."
            )

    def remove(self) -> Erasure:
        """Remove everything, and let the ledger say how many rows that were; it may be repeated after a crash."""
        ledger = self.storage.folder("ledger")
        with step(Step.NOTE_ERASURE):
            note = erasures.begin(ledger, self.keys, asked(self.keys), self.arrival_days)
        with self.storage.building(), self.storage.compacting():
            for kind in ("staging", "packing"):
                shutil.rmtree(self.storage.folder(kind), ignore_errors=True)
            self._remove_rows(note.salt)
            if note.arrival_days:
                self._forget_ids()
                checks.forget_values(self.storage, note.arrival_days)
            return self._counted(note)

    def _remove_rows(self, salt: str) -> None:
        for kind in ("log", "duplicate"):
            for file in self.found[kind].rows:
                self.events.remove(kind, file, salt)
        for file in self.found["dead"].rows:
            self.dead.remove(file)
        for file in self.found["landing"].rows:
            self.lines.remove(file)

    @step(Step.FORGET_IDS)
    def _forget_ids(self) -> None:
        """The next stream makes the ids of the last `duplicates_within` anew, from the log."""
        shutil.rmtree(self.storage.folder("ids"), ignore_errors=True)

    @step(Step.COUNT_ERASED)
    def _counted(self, note: Erasure) -> Erasure:
        ledger, less = self.storage.folder("ledger"), recount.lacking(self.storage)
        if note.rewritten:  # it had counted before it was cut off, so what there was came since
            counts = {o: getattr(note, o) + self.found[kind].total for kind, o in recount.OUTCOMES.items()}
        else:
            counts = {outcome: sum(each[outcome] for _, each in less) for outcome in recount.OUTCOMES.values()}
        note = erasures.keep(ledger, replace(note, rewritten=True, **counts))
        for block, rows in less:
            recount.note(self.storage, block, rows)
        return note


@step(Step.END_ERASURE)
def end(storage: Storage) -> None:
    """Note that nothing of an erasure is left to do, and forget what was asked for."""
    ledger = storage.folder("ledger")
    if note := erasures.under_way(ledger):
        erasures.keep(ledger, replace(note, ended=True, mark=""))


def require_same(storage: Storage, keys: Keys) -> None:
    """Raise `StateError` if an erasure of something else was cut off."""
    ledger = storage.folder("ledger")
    note = erasures.under_way(ledger)
    if note and note.mark and not note.is_of(asked(keys)):
        raise StateError(
            f"source '{storage.source}': an erasure by {', '.join(note.keys)}, begun at {note.begun}, was cut off; run "
            f"that command again first. If nobody knows it any more, empty its mark in {erasures.file_of(ledger)}: "
            "this one then goes on with it, and what the other one had not reached stays."
        )


def asked(keys: Keys) -> list[str]:
    """The words that keys were given as."""
    return [f"{name}={value}" for name, values in keys.items() for value in values]
