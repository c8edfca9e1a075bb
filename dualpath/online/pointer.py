"""The pointer: which parts of a view are its state. Moving it publishes; everything else only writes.

Served state is snapshot + the epochs after it. A reader asks for the pointer with every read, so a moved
one is seen at once; a writer changes it by compare-and-set, so two writers cannot undo each other.

State is rebuilt in a new namespace, with a number that was never used before. So pointers only ever go up in
`rank`: a reader who is shown a lower one than before looks at a store that has lost writes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis import RedisCluster, RedisError

from dualpath.errors import StateError
from dualpath.online import keys

FOREIGN = (
    "the online store holds state of another declaration of a view; after changing features, start the stream "
    "with `dualpath stream --from-snapshot`, which fills the new state beside the old."
)
REBUILDING = "rebuilding"
COMPARE_AND_SET = """
-- Answers 1 if KEYS[1] was ARGV[1] or ARGV[2] and is ARGV[2] now, 0 if it was neither, and -1 if the server is none
-- of those whose `life` is ARGV[3] (empty: whichever). It must be asked here: between a look and a write it can die.
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
DONE, OTHER_LIFE = 1, -1


class LostError(RedisError):
    """Redis may have lost writes between two looks at it; what was written in between is to be written again."""


def life(redis: Any) -> list[str]:
    """Another name for each start of a server, and each change of a cluster's primaries: while it stays the same, no
    acknowledged write is lost. Raises an error of `redis` unless all of them answer."""
    cluster = isinstance(redis, RedisCluster)
    told = [redis.info("server", target_nodes=n) for n in redis.get_primaries()] if cluster else [redis.info("server")]
    return sorted(each["run_id"] for each in told)


@dataclass(frozen=True)
class Pointer:
    """`namespace` holds the parts; `snapshot` is a day or empty; `epochs` are days after it, ascending.

    `floor` is the earliest `as_of` the state can answer, microseconds UTC; 0: any. `digest` names the record
    files the snapshot was made from, so that publishing the same again can be left out. `shelf` names the
    declaration the state was written for; empty: nothing was written yet. While it is `rebuilding`, the namespace
    is being filled, and there is nothing to read.
    """

    namespace: str
    snapshot: str = ""
    epochs: tuple[str, ...] = ()
    floor: int = 0
    digest: str = ""
    shelf: str = ""
    rebuilding: bool = False

    @property
    def number(self) -> int:
        """The number of the namespace."""
        return int(self.namespace[1:])

    @property
    def rank(self) -> tuple[int, str, int]:
        """Ascends with every change: a namespace gets later snapshots, and between two of them more epochs."""
        return self.number, self.snapshot, len(self.epochs)

    @property
    def parts(self) -> list[str]:
        """Names of the parts to read."""
        return (["s" + self.snapshot] if self.snapshot else []) + ["e" + e for e in self.epochs]

    def supersedes(self, part: str) -> bool:
        """Whether no reader asks for a part any more: the snapshot has its records, or it is an older snapshot.

        >>> [Pointer("n1", "2022-01-02").supersedes(part) for part in ("s2022-01-01", "e2022-01-02", "s2022-01-02")]
        [True, True, False]
        """
        return part[1:] < self.snapshot or part == "e" + self.snapshot

    def encode(self) -> bytes:
        """As stored.

        >>> Pointer("n1", "2022-01-01", ("2022-01-02",)).encode(), Pointer("n2", rebuilding=True).encode()
        (b'n1 2022-01-01 0 - - 2022-01-02', b'n2 rebuilding')
        """
        if self.rebuilding:
            return f"{self.namespace} {REBUILDING}".encode()
        head = [self.namespace, self.snapshot or "-", str(self.floor), self.digest or "-", self.shelf or "-"]
        return " ".join([*head, *self.epochs]).encode()

    @classmethod
    def decode(cls, stored: bytes) -> "Pointer":
        """The inverse of `encode`."""
        namespace, *rest = stored.decode().split(" ")
        if rest == [REBUILDING]:
            return cls(namespace, rebuilding=True)
        snapshot, floor, digest, shelf, *epochs = rest
        return cls(namespace, snapshot.strip("-"), tuple(epochs), int(floor), digest.strip("-"), shelf.strip("-"))

    def of(self, shelf: str) -> "Pointer":
        """For more state of a declaration; raises `StateError` if there is state of another one."""
        if self.shelf not in ("", shelf):
            raise StateError(FOREIGN)
        return replace(self, shelf=shelf)

    def with_epochs(self, days: Iterable[str]) -> "Pointer":
        """With more epochs known; those the snapshot covers already are left out."""
        return replace(self, epochs=tuple(sorted({e for e in (*self.epochs, *days) if e > self.snapshot})))

    def at(self, day: str, floor: int, digest: str, shelf: str) -> "Pointer":
        """With the snapshot of `day` in place of all epochs up to it; never back to an earlier day.

        Raises `StateError` if epochs would be left that were written for another declaration.
        """
        if day < self.snapshot:
            return self
        later = tuple(e for e in self.epochs if e > day)
        if later and self.shelf not in ("", shelf):
            raise StateError(f"{FOREIGN} Its last day is {later[-1]}: run the night of that day, not of {day}.")
        return replace(self, snapshot=day, floor=floor, digest=digest, shelf=shelf, epochs=later)


def read(redis: Any, project: str, view: str) -> Pointer | None:
    """The pointer of a view; None if nothing was ever written for it, or everything was lost."""
    stored = redis.get(keys.pointer(project, view))
    return Pointer.decode(stored) if stored else None


def place(redis: Any, project: str, view: str, pointer: Pointer) -> None:
    """Point to a new namespace."""
    redis.set(keys.pointer(project, view), pointer.encode())


def move(
    redis: Any, project: str, view: str, change: Callable[[Pointer], Pointer], *, within: Sequence[str] = ()
) -> Pointer:
    """Change the pointer of a view atomically; answers the new one. Raises `LostError` if there is none.

    It moves only `within` a life of the servers, if one is given; else it raises `LostError`.
    """
    key = keys.pointer(project, view)
    while True:
        if within and life(redis) != within:  # the script sees its own server, and a cluster has others
            raise LostError("a server was started again meanwhile")
        stored = redis.get(key)
        if not stored:
            raise LostError(f"the pointer of view '{view}' was lost")
        changed = change(Pointer.decode(stored))
        if changed.encode() == stored:
            return changed
        outcome = redis.eval(COMPARE_AND_SET, 1, key, stored, changed.encode(), ",".join(within))
        if outcome == OTHER_LIFE:
            raise LostError("the server was started again meanwhile")
        if outcome == DONE:
            return changed
