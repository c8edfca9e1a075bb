"""Snapshots that nights extend: no reader sees half of one, whoever died or came late, on a server and a cluster."""

import time
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dualpath.aggregates import Count, Sum
from dualpath.errors import LostStateError, OtherDeclarationError, StateError
from dualpath.online import bounds, compaction, keys, manifest
from dualpath.online.compaction import LEAST
from dualpath.online.connection import connect
from dualpath.online.extent import Extent, Publication, day_number, pack
from dualpath.online.manifest import Manifest
from dualpath.online.reader import Format, Lookup, Reader, run
from dualpath.online.writer import Destination, FencedWrite
from dualpath.record import HEADER, UNFENCED, Fence, layout
from dualpath.runtime import redis as embedded
from dualpath.view import Feature, View
from dualpath.windows import SECOND, lifetime, minutes
from parity_tests.servers import NODES, PASSWORD, cluster
from parity_tests.strategies import CLICKS

VIEW = View("mine", ("user",), CLICKS, (Feature("recent", Count(), minutes(5)),), max_records=100)
KIND = layout(VIEW)
D1, D2, D3, D4 = (f"2026-03-0{day}" for day in range(1, 5))
MINUTE = 60 * SECOND
Times = Mapping[str, Sequence[int]]
"""The times of the records of each user, which are told apart by them."""


@pytest.fixture(scope="module", params=["server", "cluster"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("redis")
    if request.param == "server":
        yield embedded.ensure(folder)
        embedded.stop(folder)
        return
    with cluster(folder) as nodes:
        assert len(nodes) == NODES
        yield ",".join(f"127.0.0.1:{node.port}" for node in nodes) + f",password={PASSWORD},cluster=true"


class Store:
    """One view's snapshots and arrival days in an empty Redis."""

    def __init__(self, address: str, view: View = VIEW) -> None:
        self.address, self.view, self.redis = address, view, connect(address)
        self.redis.flushall()
        self.number = 0

    def write(
        self,
        day: str,
        times: Times,
        *,
        number: int | None = None,
        since: Manifest | None = None,
        earliest_as_of: int | None = None,
        retention: int | None = None,
    ) -> int:
        """Write records for the snapshot of a day, by default of a new publication; answers how many were new to it."""
        self.number += number is None
        publication = Publication(number or self.number, day, since)
        return self._write(day, times, Destination("n1", self.view, retention, earliest_as_of, publication))

    def append(self, day: str, times: Times, batch: int = 1) -> int:
        """Append records to an arrival day."""
        return self._write(day, times, Destination("n1", self.view), Fence(1, batch))

    def _write(self, day: str, times: Times, to: Destination, fence: Fence = UNFENCED) -> int:
        entities = [entity for entity, of in sorted(times.items()) for _ in of]
        words = np.zeros((len(entities), layout(self.view).width), dtype=np.int64)
        words[:, 0] = words[:, 1] = [time for _, of in sorted(times.items()) for time in of]
        names = ["view", "arrival_day", "entity", "words"]
        columns = [[self.view.name] * len(words), [day] * len(words), entities, words.tolist()]
        write = FencedWrite(self.address, "test", {self.view.name: to}, fence)
        [answer] = write.write([pa.record_batch(columns, names)])
        return answer["parts"][0].as_py()

    def serve(self, known: Manifest) -> Manifest:
        manifest.place(self.redis, "test", self.view.name, known)
        return known

    def read(self, reader: Reader | None = None) -> dict[str, list[int]]:
        """What a reader of now sees."""
        reader = reader or Reader("test", cluster="cluster" in self.address)
        users = ["ann", "bob", "eve"]
        lookup = Lookup(self.view.name, CLICKS.name, Format(layout(self.view)), users, tokens=True)
        [found] = run(reader.read([lookup]), lambda method, given: getattr(self.redis, method)(*given))
        of = np.split(found.words[:, 0], found.starts[1:-1])
        return {user: times.tolist() for user, times in zip(users, of, strict=True) if len(times)}

    def key(self, user: str, part: str = "s" + D1) -> bytes:
        return keys.prefix("test", "n1", self.view.name, part) + keys.tagged(user)

    def stored(self) -> dict[bytes, bytes]:
        return {key: self.redis.get(key) for key, _ in keys.states(self.redis, "test")}


@pytest.fixture
def store(address: str) -> Store:
    """One whose snapshot of the first day is served."""
    made = Store(address)
    made.write(D1, {"ann": [1, 2], "bob": [3]})
    made.serve(Manifest("n1", D1))
    return made


SERVED = Manifest("n1", D1)
EXTENDED = Manifest("n1", D2, base=D1)
LATER = Manifest("n1", D3, base=D1)
OLD, NEW = {"ann": [1, 2], "bob": [3]}, {"ann": [1, 2, 4], "bob": [3], "eve": [5]}
NIGHT = {"ann": [4], "eve": [5]}


# --- readers


def test_what_a_night_adds_is_seen_when_the_manifest_moves_and_all_at_once(store: Store) -> None:
    reader = Reader("test", cluster="cluster" in store.address)
    assert store.read(reader) == OLD
    assert store.write(D2, {"ann": [4]}, since=SERVED) == 1
    assert store.read(reader) == store.read() == OLD
    assert store.write(D2, {"eve": [5]}, number=store.number, since=SERVED) == 1
    assert store.read(reader) == store.read() == OLD
    store.serve(EXTENDED)
    assert store.read(reader) == store.read() == NEW


def test_arrival_days_are_read_beside_it_and_taken_in_by_it(store: Store) -> None:
    store.append(D2, NIGHT)
    store.append(D3, {"bob": [6]})
    store.serve(replace(SERVED, arrival_days=(D2, D3)))
    whole = NEW | {"bob": [3, 6]}
    assert store.read() == whole
    store.write(D2, NIGHT, since=SERVED)
    assert store.read() == whole
    store.serve(replace(EXTENDED, arrival_days=(D3,)))
    assert store.read() == whole


def test_a_snapshot_of_an_earlier_version_is_read_and_extended(store: Store) -> None:
    for user in OLD:
        words = KIND.unpack(store.redis.get(store.key(user)))
        store.redis.set(store.key(user), KIND.pack(words))
    stored = b"n1 2026-03-01 0 - -"
    assert SERVED.encode() == stored and Manifest.decode(stored) == SERVED
    assert store.read() == OLD
    store.write(D2, NIGHT, since=SERVED)
    assert store.read() == OLD
    store.serve(EXTENDED)
    assert store.read() == NEW


def test_a_manifest_with_a_base_is_stored_and_read_back_and_an_earlier_version_cannot_mistake_it() -> None:
    for known in (EXTENDED, Manifest("n3", D3, (D4,), -7, "d", "v", base=D1), Manifest("n1"), SERVED):
        assert Manifest.decode(known.encode()) == known
    assert EXTENDED.parts == ["s" + D1] and LATER.rank > EXTENDED.rank > SERVED.rank
    earlier = EXTENDED.encode().decode().split(" ")[2]
    with pytest.raises(ValueError):
        int(earlier)  # where it expects the earliest instant
    assert SERVED.at(D2, None, "d", "v", base=D1) == Manifest("n1", D2, (), None, "d", "v", base=D1)
    assert EXTENDED.at(D3, None, "d", "v") == Manifest("n1", D3, (), None, "d", "v")


def test_parts_between_the_base_and_the_snapshot_are_superseded_and_those_of_a_night_under_way_are_not() -> None:
    parts = ("s2026-02-01", "s" + D1, "s" + D2, "s" + D3, "s" + D4, "e" + D1, "e" + D3, "e" + D4)
    assert [LATER.supersedes(part) for part in parts] == [True, False, True, False, False, True, True, False]


def record(*times: int, **extent: int) -> bytes:
    """A value of the snapshot with so many records."""
    words = np.zeros((len(times), KIND.width), dtype=np.int64)
    words[:, 0] = times
    return pack(KIND, Extent(**extent)) + words.tobytes()


def answered(*replies: list[bytes | None]) -> list[int]:
    """The times that a reader of a cluster takes from replies of the manifest, the high-water mark and the value."""
    steps = Reader("test", cluster=True).read([Lookup("mine", CLICKS.name, Format(KIND), ["ann"])])
    next(steps)
    with pytest.raises(StopIteration) as done:
        for reply in replies:
            steps.send(reply)
    return done.value.value[0].words[:, 0].tolist()


FIRST, SECOND_DAY, THIRD = map(day_number, (D1, D2, D3))
KEPT = len(record(1, through=0, since=0, kept=0, publication=0))


def test_a_reader_whose_manifest_is_of_before_takes_the_records_of_before() -> None:
    """In a cluster the manifest is read at another moment than the value."""
    extended = record(1, 2, through=SECOND_DAY, since=FIRST, kept=KEPT, publication=2)
    old, new = SERVED.encode(), EXTENDED.encode()
    assert answered([old, None], [old, None, extended]) == [1]
    assert answered([old, None], [new, None, extended], [new, None, extended]) == [1, 2]


def test_a_reader_two_nights_behind_asks_for_the_manifest_again_and_never_answers_wrong() -> None:
    twice = record(1, 2, through=THIRD, since=SECOND_DAY, kept=KEPT, publication=3)
    old, new = SERVED.encode(), EXTENDED.encode()
    assert answered([old, None], [old, None, twice], [new, None, twice], [new, None, twice]) == [1]
    with pytest.raises(LostStateError, match="the online store has lost writes"):
        answered([old, None], [old, None, twice], [old, None, twice])


def test_only_arrival_days_say_which_micro_batch_was_seen(store: Store) -> None:
    store.append(D2, {"ann": [7]}, batch=9)
    store.serve(replace(SERVED, arrival_days=(D2,)))
    lookup = Lookup("mine", CLICKS.name, Format(KIND), ["ann", "bob"], tokens=True)
    steps = Reader("test", cluster="cluster" in store.address).read([lookup])
    [found] = run(steps, lambda method, given: getattr(store.redis, method)(*given))
    assert found.known == [Fence(1, 9), UNFENCED]


# --- nights that die, are repeated, or come too late


def test_a_task_that_is_repeated_changes_no_byte(store: Store) -> None:
    before = store.stored()
    assert store.write(D1, {"ann": [1, 2], "bob": [9]}, number=1) == 0
    assert store.stored() == before
    assert store.write(D2, NIGHT, since=SERVED) == 2
    before = store.stored()
    assert store.write(D2, NIGHT, number=store.number, since=SERVED) == 0
    store.serve(EXTENDED)
    assert store.write(D2, NIGHT, number=store.number, since=SERVED) == 0
    assert store.stored() == before


@pytest.mark.parametrize("day", [D2, D3], ids=["for the same day", "for a later day"])
@pytest.mark.parametrize("new", [[4], [7, 8]], ids=["the same records", "other records"])
def test_what_a_night_that_died_has_written_is_cut_off_by_the_next(day: str, new: list[int], store: Store) -> None:
    store.write(D2, {"ann": [4], "eve": [5]}, since=SERVED)
    store.write(day, {"ann": new, "bob": [6], "eve": new}, since=SERVED)
    assert store.read() == OLD
    store.serve(replace(EXTENDED, snapshot=day))
    assert store.read() == {"ann": [1, 2, *new], "bob": [3, 6], "eve": new}


def test_after_a_night_that_died_a_night_of_an_earlier_day_publishes_its_own_records_alone(store: Store) -> None:
    store.write(D3, {"ann": [4, 6], "eve": [5], "bob": [7]}, since=SERVED)
    store.write(D2, {"ann": [4], "eve": [5]}, since=SERVED)
    assert store.read() == OLD
    store.serve(EXTENDED)
    assert store.read() == NEW
    store.write(D3, {"ann": [6], "bob": [7]}, since=EXTENDED)
    assert store.read() == NEW
    store.serve(LATER)
    assert store.read() == {"ann": [1, 2, 4, 6], "bob": [3, 7], "eve": [5]}


@pytest.mark.parametrize("whole", [False, True], ids=["extends", "is written as a whole"])
def test_a_task_that_outlives_its_night_is_refused_and_overwrites_nothing(whole: bool, store: Store) -> None:
    """The night that came after it has been published, and perhaps another after that."""
    died = 1 if whole else 2
    store.number = 2
    store.write(D2, NIGHT, since=SERVED)
    store.serve(EXTENDED)
    before = store.stored()
    for _ in range(2):
        with pytest.raises(StateError, match="a later night has published a snapshot meanwhile; run the night again"):
            if whole:
                store.write(D1, {"ann": [9]}, number=died)
            else:
                store.write(D3, {"ann": [9]}, number=died, since=SERVED)
        assert store.stored() == before
        store.write(D3, {"ann": [8]}, since=EXTENDED)
        store.serve(LATER)
        before = store.stored()


def test_what_such_a_task_writes_of_a_user_no_later_night_has_met_is_never_read(store: Store) -> None:
    store.number = 2
    store.write(D2, {"ann": [4]}, since=SERVED)
    store.serve(EXTENDED)
    store.write(D3, {"bob": [9], "eve": [9]}, number=2, since=SERVED)
    assert store.read() == OLD | {"ann": [1, 2, 4]}
    store.write(D3, {"bob": [6]}, since=EXTENDED)
    store.serve(LATER)
    assert store.read()["bob"] == [3, 6]


def test_a_night_upon_a_manifest_that_has_gone_back_is_refused(store: Store) -> None:
    store.write(D2, NIGHT, since=SERVED)
    store.write(D3, {"ann": [6]}, since=EXTENDED)
    with pytest.raises(StateError, match="a later night has published a snapshot meanwhile"):
        store.write(D2, {"ann": [4]}, since=SERVED)


def test_a_snapshot_of_another_declaration_is_not_extended_and_is_replaced(store: Store) -> None:
    other = copy(store)
    other.view = replace(VIEW, features=(Feature("spent", Sum("amount"), minutes(5)),))
    with pytest.raises(OtherDeclarationError):
        other.write(D2, NIGHT, since=SERVED)
    assert store.read() == OLD
    assert other.write(D1, {"ann": [7]}) == 1
    assert len(layout(other.view).unpack(store.redis.get(store.key("ann")))) == 1


# --- what a value costs


def test_a_value_expires_after_its_newest_record_whichever_night_wrote_it(address: str) -> None:
    store, now = Store(address), int(time.time()) * SECOND
    for day, times, since in ((D1, [now], None), (D2, [now + MINUTE], SERVED), (D3, [now - MINUTE], EXTENDED)):
        store.write(day, {"ann": times}, since=since, retention=5 * MINUTE)
        left = store.redis.pttl(store.key("ann"))
        newest = 300_000 if since is None else 360_000
        assert newest - 30_000 < left <= newest + 1


def test_a_cut_off_value_keeps_its_time_to_live_and_one_without_gets_none(store: Store) -> None:
    store.redis.pexpire(store.key("ann"), 1_000_000)
    for _ in range(2):
        store.write(D2, {"ann": [4], "bob": [4]}, since=SERVED, retention=MINUTE)
    assert 900_000 < store.redis.pttl(store.key("ann")) <= 1_000_000
    assert store.redis.pttl(store.key("bob")) == -1
    assert len(store.redis.get(store.key("ann"))) == HEADER.size + 3 * 8 * KIND.width


HOT = View(
    "hot", ("user",), CLICKS, (Feature("recent", Count(), minutes(5)), Feature("all", Sum("quantity"), lifetime()))
)


def test_the_records_of_before_are_compacted_as_a_value_grows_and_both_snapshots_stay_readable(address: str) -> None:
    store, noon = Store(address, HOT), 1_772_366_400_000_000
    store.write(D1, {"ann": [noon + i for i in range(1_000)]})
    assert store.redis.strlen(store.key("ann")) > LEAST
    served = store.serve(replace(SERVED, earliest_as_of=noon + 5 * MINUTE + 500))
    earliest = noon + 6 * MINUTE
    store.write(D2, {"ann": [noon + 9 * MINUTE + i for i in range(5)]}, since=served, earliest_as_of=earliest)
    assert len(store.read()["ann"]) == 1_000, "an append that passes no power of two leaves a value alone"
    new = [noon, noon + 1, *(noon + 9 * MINUTE + i for i in range(1_100))]
    store.write(D2, {"ann": new}, since=served, earliest_as_of=earliest)
    # What no read of the served snapshot can tell apart is one record, and what is too old of the night's own another.
    assert len(store.read()["ann"]) == 1 + 499
    store.serve(replace(EXTENDED, earliest_as_of=earliest))
    assert len(store.read()["ann"]) == 1 + 499 + 1 + 1_100
    header = store.redis.getrange(store.key("ann"), 0, HEADER.size - 1)
    kept = HEADER.size + 500 * 8 * layout(HOT).width
    assert Extent.of(header) == (day_number(D2), day_number(D1), kept, store.number)


def test_a_write_between_the_read_and_the_replacement_stays(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, noon = Store(address, HOT), 1_772_366_400_000_000
    store.write(D1, {"ann": [noon + i for i in range(1_000)]})
    served = store.serve(replace(SERVED, earliest_as_of=noon + MINUTE * 60))
    real, calls = compaction.fewest, []

    def fewest(*args: Any) -> np.ndarray:
        calls.append(1)
        if len(calls) == 1:
            store.write(D2, {"ann": [noon + 7]}, since=served)
        return real(*args)

    monkeypatch.setattr(compaction, "fewest", fewest)
    store.write(D2, {"ann": [noon + i for i in range(1_100)]}, since=served)
    assert len(calls) == 1
    assert Extent.of(store.redis.get(store.key("ann"))).publication == store.number
    store.serve(replace(EXTENDED, earliest_as_of=served.earliest_as_of))
    assert len(store.read()["ann"]) == 1_001


def test_a_sum_that_nears_64_bits_is_kept_in_parts_because_a_later_night_may_bring_it_back(address: str) -> None:
    view = View("spent", ("user",), CLICKS, (Feature("total", Sum("quantity"), lifetime()),))
    kind = layout(view)
    words = np.array([[1, 1, 2**62], [2, 2, 2**62]], dtype=np.int64)
    assert len(compaction.fewest(words, kind, view, 10)) == 2
    words[1, 2] = -(2**62)
    assert len(compaction.fewest(words, kind, view, 10)) == 1


def test_what_a_night_under_way_has_added_does_not_count_against_the_bound_twice(store: Store) -> None:
    store.append(D2, {"ann": range(90)})
    store.write(D2, {"ann": range(90)}, since=SERVED)
    bounds.note(store.redis, "test", "mine", [("ann", 10_000)])
    store.serve(replace(SERVED, arrival_days=(D2,)))
    assert bounds.large_entities(store.redis, "test", [VIEW]) == []
    store.write(D2, {"ann": range(99)}, since=SERVED)
    store.serve(EXTENDED)
    [found] = bounds.large_entities(store.redis, "test", [VIEW])
    assert found.records == 101
