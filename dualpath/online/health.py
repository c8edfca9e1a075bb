"""Whether the online store holds everything that the ledger says was written to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from dualpath.errors import LostStateError, RebuildingError, StateError
from dualpath.log.storage import Storage
from dualpath.offline.history import view_version
from dualpath.online import high_water_mark, manifest
from dualpath.online.manifest import Manifest
from dualpath.record import UNFENCED, Fence
from dualpath.view import View


class Health(Enum):
    """What the online store holds of a source. The value completes the sentence 'the online store ...'."""

    NEW = "is empty, as the log is; `dualpath stream` fills both"
    WHOLE = "is whole"
    FOREIGN = "holds state of another declaration of a view; `dualpath stream --from-snapshot` fills the new one"
    ABSENT = "has no state of a new view; `dualpath stream --from-snapshot` fills it from the log"
    REBUILDING = "is being rebuilt; `dualpath stream` goes on with it if it was cut off"
    LOST = "has lost writes; `dualpath stream` rebuilds it from the log, and reads are refused until then"


@dataclass(frozen=True)
class HealthReport:
    """What was found in the online store: the manifests of a source's views, and the high-water mark of their
    namespace."""

    health: Health
    manifests: dict[str, Manifest | None]
    high_water_mark: Fence = UNFENCED

    def require(self, source: str) -> dict[str, Manifest]:
        """The manifests, to publish a snapshot; raises `StateError` if something is missing."""
        found = {view: known for view, known in self.manifests.items() if known}
        if self.health not in (Health.WHOLE, Health.FOREIGN):
            kind = {Health.LOST: LostStateError, Health.REBUILDING: RebuildingError}.get(self.health, StateError)
            raise kind(f"source '{source}': the online store {self.health.value}.")
        return found


def check_health(
    redis: Any, project: str, storage: Storage, views: Sequence[View], known: tuple[Fence, Fence] | None = None
) -> HealthReport:
    """Compare the high-water marks and the manifests of a source's views with its ledger, or with what is `known` of
    it: the last finished and the last begun batch."""
    # The ledger is read before and after, because a running stream moves the high-water mark.
    finished, _ = known or storage.reached()
    manifests = {v.name: manifest.read(redis, project, v.name) for v in views}
    serving = sorted({p.namespace for p in manifests.values() if p and not p.rebuilding})
    high_water_marks = [
        mark and mark.fence
        for namespace in serving
        for mark in high_water_mark.read(redis, project, namespace, storage.source)
    ]
    _, begun = known or storage.reached()
    if any(m is None or not finished <= m <= begun for m in high_water_marks):
        return HealthReport(Health.LOST, manifests)
    if not any(manifests.values()):
        return HealthReport(Health.LOST if finished > UNFENCED else Health.NEW, manifests)
    if len(serving) != 1 or any(p and p.rebuilding for p in manifests.values()):
        return HealthReport(Health.REBUILDING, manifests)
    # The lowest: a batch that was cut off may have moved some of a cluster's high-water marks.
    at = min(m for m in high_water_marks if m)
    if None in manifests.values():
        return HealthReport(Health.ABSENT, manifests, at)
    own = {v.name: ("", view_version(v)) for v in views}
    if any(p and p.view_version not in own[name] for name, p in manifests.items()):
        return HealthReport(Health.FOREIGN, manifests, at)
    return HealthReport(Health.WHOLE, manifests, at)
