"""Whether the online store holds everything that the ledger says was written to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from dualpath.errors import StateError
from dualpath.log.storage import Storage
from dualpath.offline.history import shelf
from dualpath.online import mark, pointer
from dualpath.online.pointer import Pointer
from dualpath.record import UNFENCED, Fence
from dualpath.view import View


class State(Enum):
    """What the online store holds of a source; the value says it of 'the online store'."""

    NEW = "is empty, as the log is; `dualpath stream` fills both"
    WHOLE = "is whole"
    FOREIGN = "holds state of another declaration of a view; `dualpath stream --from-snapshot` fills the new one"
    ABSENT = "has no state of a new view; `dualpath stream --from-snapshot` fills it from the log"
    REBUILDING = "is being rebuilt; `dualpath stream` goes on with it if it was cut off"
    LOST = "has lost writes; `dualpath stream` rebuilds it from the log, and reads are refused until then"


@dataclass(frozen=True)
class Condition:
    """How the online store was found: the pointers of a source's views, and how far their namespace is marked."""

    state: State
    pointers: dict[str, Pointer | None]
    mark: Fence = UNFENCED

    def require(self, source: str) -> dict[str, Pointer]:
        """The pointers, to publish upon; raises `StateError` if something is missing."""
        found = {view: known for view, known in self.pointers.items() if known}
        if self.state not in (State.WHOLE, State.FOREIGN):
            raise StateError(f"source '{source}': the online store {self.state.value}.")
        return found


def examine(redis: Any, project: str, storage: Storage, views: Sequence[View]) -> Condition:
    """Hold the marks and the pointers of a source's views against its ledger."""
    # The ledger before and after: a stream that runs meanwhile moves the mark on.
    finished, _ = storage.reached()
    pointers = {v.name: pointer.read(redis, project, v.name) for v in views}
    serving = sorted({p.namespace for p in pointers.values() if p and not p.rebuilding})
    marks = [m for namespace in serving for m in mark.read(redis, project, namespace, storage.source)]
    _, begun = storage.reached()
    if any(m is None or not finished <= m <= begun for m in marks):
        return Condition(State.LOST, pointers)
    if not any(pointers.values()):
        return Condition(State.LOST if finished > UNFENCED else State.NEW, pointers)
    if len(serving) != 1 or any(p and p.rebuilding for p in pointers.values()):
        return Condition(State.REBUILDING, pointers)
    # The lowest: a batch that was cut off may have moved some of a cluster's marks.
    at = min(m for m in marks if m)
    if None in pointers.values():
        return Condition(State.ABSENT, pointers, at)
    own = {v.name: ("", shelf(v)) for v in views}
    if any(p and p.shelf not in own[name] for name, p in pointers.items()):
        return Condition(State.FOREIGN, pointers, at)
    return Condition(State.WHOLE, pointers, at)
