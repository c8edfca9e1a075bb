"""What a source keeps of a person on the disk, and its removal: log, duplicates, dead letters and landed files."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from dualpath.erasure.keys import Keys
from dualpath.erasure.landed import Lines, require_read
from dualpath.erasure.logged import DeadLetters, Events, Found
from dualpath.errors import StateError
from dualpath.files.places import remove
from dualpath.log import audit, batches, checks, erasures
from dualpath.log.erasures import Erasure
from dualpath.log.generation import checkpoint, is_lost
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE
from dualpath.record import Fence
from dualpath.schema import EventSource
from dualpath.steps import Step, step

PLACES = {ACCEPTED: "event log", DUPLICATE: "duplicates", DEAD_LETTER: "dead letters", "landing": "landed files"}
"""Where a person's rows are, as a report calls it."""
OUTCOMES = (ACCEPTED, DUPLICATE, DEAD_LETTER)
APPLICATION = "erasure"
"""What erasures are called in the transactions of a log."""


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
        """What each place has, looked up once."""
        of_events = {outcome: self.events.found(outcome) for outcome in (ACCEPTED, DUPLICATE)}
        return {**of_events, DEAD_LETTER: self.dead.found(), "landing": self.lines.found()}

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
        return sorted({file.arrival_day for file in self.found[ACCEPTED].rows})

    def require_ready(self) -> None:
        """Raise `StateError` unless every batch has ended and every row is where the ledger says, so that what is
        removed can be told from what is missing."""
        name, (done, begun) = self.storage.source, self.storage.reached()
        if self.storage.checkpoints is not None and is_lost(self.storage):
            raise StateError(
                f"source '{name}': {checkpoint(self.storage, begun.query)}, the checkpoint of the stream, is not here; "
                "erase where it is, or start `dualpath stream --from-snapshot --once` first if it is gone."
            )
        of_query = checkpoint(self.storage, begun.query)
        planned = (of_query / "offsets" / str(begun.batch)).exists()
        committed = (of_query / "commits" / str(begun.batch)).exists()
        if begun > done or (planned and not committed):
            raise StateError(
                f"source '{name}': the stream stopped in the middle of a batch; run `dualpath stream --once`, so that "
                "it finishes, then erase."
            )
        require_read(self.storage)
        if wrong := audit.faults(self.storage, self.storage.accounts(), opened=False):
            raise StateError(
                f"source '{name}': {wrong[0]}, so what is erased could not be told from what is lost; see "
                "`dualpath status`, then erase."
            )

    def remove(self) -> Erasure:
        """Remove everything, and let the accounts say how many rows that were; it may be repeated after a crash."""
        ledger, before = self.storage.folder("ledger"), self.under_way
        # One that was cut off may have been committed, and not have said so.
        rewritten = before is not None and self.storage.table.transaction(APPLICATION) == before.number
        with step(Step.NOTE_ERASURE):
            note = erasures.begin(ledger, self.keys, asked(self.keys), self.arrival_days)
            note = erasures.keep(ledger, replace(note, rewritten=note.rewritten or rewritten))
        with self.storage.building(), self.storage.compacting():
            remove(self.storage.folder("staging"), ignore_errors=True)
            self._commit(note)
            for file in self.found["landing"].rows:
                self.lines.remove(file)
            self.lines.settle()
            with step(Step.VACUUM_LOG):
                self.storage.table.remove_unused(partial(self.storage.require, "stream", "compacting"))
            if note.arrival_days:
                self._forget_ids()
                checks.forget_values(self.storage, note.arrival_days)
        others = sum(each.rows for each in erasures.kept(ledger) if each.number != note.number)
        rows = self.storage.accounts().total().erased - others
        return erasures.keep(ledger, replace(note, rewritten=True, rows=rows))

    def _commit(self, note: Erasure) -> None:
        """Replace the files of the log that have rows of the person, and the accounts of their batches, in one
        commit."""
        done = [
            *(self.events.rewritten(file, note.salt) for o in (ACCEPTED, DUPLICATE) for file in self.found[o].rows),
            *(self.dead.rewritten(file) for file in self.found[DEAD_LETTER].rows),
        ]
        if not done:
            return
        less: defaultdict[Fence, Counter[str]] = defaultdict(Counter)
        reasons: defaultdict[Fence, Counter[str]] = defaultdict(Counter)
        for each in done:
            for batch, rows in each.removed.items():
                less[batch][each.before.outcome] += rows
            for (batch, reason), rows in each.reasons.items():
                reasons[batch][reason] += rows

        def recounted(batch: Fence, account: dict[str, Any]) -> dict[str, Any]:
            counts = {outcome: account[outcome] - less[batch][outcome] for outcome in OUTCOMES}
            left = [(reason, rows - reasons[batch][reason]) for reason, rows in account["reasons"]]
            return account | counts | {"erased": account["erased"] + less[batch].total(), "reasons": left}

        table = self.storage.table
        before, made = batches.changed(table, less.keys(), recounted)
        added = [*(each.after for each in done if each.after), *made]
        removed = [*(each.before for each in done), *before]
        table.commit("DELETE", added, removed, transaction=(APPLICATION, note.number))

    @step(Step.FORGET_IDS)
    def _forget_ids(self) -> None:
        """The next stream makes the ids of the last `duplicates_within` anew, from the log."""
        remove(self.storage.folder("ids"), ignore_errors=True)


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
