"""The manifest names the parts that are a view's state. Moving it publishes; everything else only writes.

Served state is a snapshot and the arrival days after it. A reader asks for the manifest with every read, so it sees a
moved one at once. A writer changes it by compare-and-set, so two writers cannot undo each other.

State is rebuilt in a new namespace, whose number was never used before. So the `rank` of manifests only ascends: a
reader that sees a lower one than before knows that the store has lost writes.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis import RedisCluster, RedisError

from dualpath.errors import OtherDeclarationError
from dualpath.online import keys
from dualpath.steps import Step, step

OTHER_DECLARATION = (
    "the online store holds state of another declaration of a view; after changing features, start the stream "
    "with `dualpath stream --from-snapshot`, which fills the new state beside the old."
)
REBUILDING = "rebuilding"
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
ANY = 0
"""What is stored for state that can answer at any instant."""
COMPARE_AND_SET = """
-- Answers 1 if KEYS[1] was ARGV[1] or ARGV[2] and is ARGV[2] now, 0 if it was neither, and -1 if the server is none
-- of those whose `incarnation` is ARGV[3] (empty: whichever). It must be asked here: between a look and a write it can
-- die.
if ARGV[3] ~= '' then
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  if not string.find(ARGV[3], run, 1, true) then return -1 end
end
local old = redis.call('GET', KEYS[1])
if old == ARGV[2] then return 1 end
if (old or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
DONE, OTHER_INCARNATION = 1, -1


class LostError(RedisError):
    """Redis may have lost writes since it was last asked; what was written meanwhile must be written again."""


def incarnation(redis: Any) -> list[str]:
    """The run ids of a server, or of a cluster's primaries: while they stay the same, no acknowledged write is lost.
    Raises an error of `redis` unless all of them answer."""
    cluster = isinstance(redis, RedisCluster)
    told = [redis.info("server", target_nodes=n) for n in redis.get_primaries()] if cluster else [redis.info("server")]
    return sorted(each["run_id"] for each in told)


@dataclass(frozen=True)
class Manifest:
    """`namespace` holds the parts; `snapshot` is a day or empty; `arrival_days` are days after it, ascending.

    `earliest_as_of` is the earliest instant the state can answer, microseconds UTC; None: any. `digest` names the
    record files the snapshot was made from, so that publishing the same again can be left out. `view_version` names the
    declaration the state was written for; empty: nothing was written yet. While it is `rebuilding`, the namespace
    is being filled, and there is nothing to read. `base` is the day that the snapshot's part is named by, if it is not
    its own: of the last snapshot that was written as a whole (`dualpath.online.extent`).
    """

    namespace: str
    snapshot: str = ""
    arrival_days: tuple[str, ...] = ()
    earliest_as_of: int | None = None
    digest: str = ""
    view_version: str = ""
    rebuilding: bool = False
    base: str = ""

    @property
    def number(self) -> int:
        """The number of the namespace."""
        return int(self.namespace[1:])

    @property
    def rank(self) -> tuple[int, str, int]:
        """Ascends with every change: a namespace gets later snapshots, and between two of them more arrival days."""
        return self.number, self.snapshot, len(self.arrival_days)

    @property
    def parts(self) -> list[str]:
        """Names of the parts to read, that of the snapshot first."""
        return ([self.snapshot_part] if self.snapshot else []) + ["e" + e for e in self.arrival_days]

    @property
    def snapshot_part(self) -> str:
        """The name of the snapshot's part."""
        return "s" + (self.base or self.snapshot)

    def supersedes(self, part: str) -> bool:
        """Whether no reader asks for a part any more: the snapshot has its records, or it is an older snapshot.

        >>> [Manifest("n1", "2022-01-02").supersedes(part) for part in ("s2022-01-01", "e2022-01-02", "s2022-01-02")]
        [True, True, False]
        >>> Manifest("n1", "2022-01-02", base="2022-01-01").supersedes("s2022-01-01")
        False
        """
        return part == "e" + self.snapshot or (part[1:] < self.snapshot and part != self.snapshot_part)

    def encode(self) -> bytes:
        """As stored.

        >>> Manifest("n1", "2022-01-01", ("2022-01-02",)).encode(), Manifest("n2", rebuilding=True).encode()
        (b'n1 2022-01-01 0 - - 2022-01-02', b'n2 rebuilding')
        >>> Manifest("n1", "2022-01-04", base="2022-01-01").encode()
        b'n1 2022-01-04 2022-01-01 0 - -'
        """
        if self.rebuilding:
            return f"{self.namespace} {REBUILDING}".encode()
        head = [
            self.namespace,
            self.snapshot or "-",
            *([self.base] if self.base else []),
            str(self.earliest_as_of or ANY),
            self.digest or "-",
            self.view_version or "-",
        ]
        return " ".join([*head, *self.arrival_days]).encode()

    @classmethod
    def decode(cls, stored: bytes) -> "Manifest":
        """The inverse of `encode`."""
        namespace, *rest = stored.decode().split(" ")
        if rest == [REBUILDING]:
            return cls(namespace, rebuilding=True)
        base = rest.pop(1) if DAY.fullmatch(rest[1]) else ""
        snapshot, earliest, digest, view_version, *arrival_days = rest
        return cls(
            namespace,
            snapshot.strip("-"),
            tuple(arrival_days),
            int(earliest) or None,
            digest.strip("-"),
            view_version.strip("-"),
            base=base,
        )

    def of(self, view_version: str) -> "Manifest":
        """For more state of a declaration; raises `OtherDeclarationError` if there is state of another one."""
        if self.view_version not in ("", view_version):
            raise OtherDeclarationError(OTHER_DECLARATION)
        return replace(self, view_version=view_version)

    def with_arrival_days(self, days: Iterable[str]) -> "Manifest":
        """With more arrival days known; those the snapshot covers already are left out."""
        return replace(self, arrival_days=tuple(sorted({e for e in (*self.arrival_days, *days) if e > self.snapshot})))

    def at(self, day: str, earliest_as_of: int | None, digest: str, view_version: str, *, base: str = "") -> "Manifest":
        """With the snapshot of `day` in place of all arrival days up to it; an earlier day changes nothing.

        Raises `OtherDeclarationError` if arrival days would be left that were written for another declaration.
        """
        if day < self.snapshot:
            return self
        later = tuple(e for e in self.arrival_days if e > day)
        if later and self.view_version not in ("", view_version):
            raise OtherDeclarationError(
                f"{OTHER_DECLARATION} Its last day is {later[-1]}: run the night of that day, not of {day}."
            )
        return replace(
            self,
            snapshot=day,
            base=base if base != day else "",
            earliest_as_of=earliest_as_of,
            digest=digest,
            view_version=view_version,
            arrival_days=later,
        )


def read(redis: Any, project: str, view: str) -> Manifest | None:
    """The manifest of a view; None if nothing was ever written for it, or everything was lost."""
    stored = redis.get(keys.manifest(project, view))
    return Manifest.decode(stored) if stored else None


@step(Step.PLACE_MANIFEST)
def place(redis: Any, project: str, view: str, manifest: Manifest) -> None:
    """Point to a new namespace."""
    redis.set(keys.manifest(project, view), manifest.encode())


@step(Step.MOVE_MANIFEST)
def move(
    redis: Any, project: str, view: str, change: Callable[[Manifest], Manifest], *, within: Sequence[str] = ()
) -> Manifest:
    """Change the manifest of a view atomically and return the new one. Raises `LostError` if there is none.

    If an incarnation of the servers is given, `within`, it raises `LostError` once they have another.
    """
    key = keys.manifest(project, view)
    while True:
        if within and incarnation(redis) != within:  # the script sees its own server, and a cluster has others
            raise LostError("a server was started again meanwhile")
        stored = redis.get(key)
        if not stored:
            raise LostError(f"the manifest of view '{view}' was lost")
        changed = change(Manifest.decode(stored))
        if changed.encode() == stored:
            return changed
        outcome = redis.eval(COMPARE_AND_SET, 1, key, stored, changed.encode(), ",".join(within))
        if outcome == OTHER_INCARNATION:
            raise LostError("the server was started again meanwhile")
        if outcome == DONE:
            return changed
