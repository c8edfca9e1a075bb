"""Whether the online store holds everything that the ledger says was written to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from dualpath.errors import StateError
from dualpath.log.storage import Storage
from dualpath.offline.history import view_version
from dualpath.online import high_water_mark, manifest
from dualpath.online.manifest import Manifest
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
    """How the online store was found: the manifests of a source's views, and how far their namespace is marked."""

    state: State
    manifests: dict[str, Manifest | None]
    high_water_mark: Fence = UNFENCED

    def require(self, source: str) -> dict[str, Manifest]:
        """The manifests, to publish upon; raises `StateError` if something is missing."""
        found = {view: known for view, known in self.manifests.items() if known}
        if self.state not in (State.WHOLE, State.FOREIGN):
            raise StateError(f"source '{source}': the online store {self.state.value}.")
        return found


def examine(redis: Any, project: str, storage: Storage, views: Sequence[View]) -> Condition:
    """Hold the high-water marks and the manifests of a source's views against its ledger."""
    # The ledger before and after: a stream that runs meanwhile moves the high-water mark on.
    finished, _ = storage.reached()
    manifests = {v.name: manifest.read(redis, project, v.name) for v in views}
    serving = sorted({p.namespace for p in manifests.values() if p and not p.rebuilding})
    high_water_marks = [
        m for namespace in serving for m in high_water_mark.read(redis, project, namespace, storage.source)
    ]
    _, begun = storage.reached()
    if any(m is None or not finished <= m <= begun for m in high_water_marks):
        return Condition(State.LOST, manifests)
    if not any(manifests.values()):
        return Condition(State.LOST if finished > UNFENCED else State.NEW, manifests)
    if len(serving) != 1 or any(p and p.rebuilding for p in manifests.values()):
        return Condition(State.REBUILDING, manifests)
    # The lowest: a batch that was cut off may have moved some of a cluster's high-water marks.
    at = min(m for m in high_water_marks if m)
    if None in manifests.values():
        return Condition(State.ABSENT, manifests, at)
    own = {v.name: ("", view_version(v)) for v in views}
    if any(p and p.view_version not in own[name] for name, p in manifests.items()):
        return Condition(State.FOREIGN, manifests, at)
    return Condition(State.WHOLE, manifests, at)
