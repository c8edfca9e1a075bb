"""Values that grow online are compacted: no answer changes, no write is lost, and what is hot stays small."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from redis import Redis

from dualpath import instants
from dualpath.aggregates import Count, CountBy, Max, Sum
from dualpath.jobs.build import build
from dualpath.jobs.stream import start
from dualpath.online import compaction, keys
from dualpath.online.compaction import LEAST, Compactor
from dualpath.online.connection import connect
from dualpath.online.writer import Destination, FencedWrite
from dualpath.parity.compare import differences
from dualpath.parity.views import serve, train, view_groups
from dualpath.record import HEADER, Fence, layout
from dualpath.repo import Repo
from dualpath.retention import CLOCK_LAG, earliest_as_of
from dualpath.runtime import redis as embedded
from dualpath.sources.directory import Directory
from dualpath.view import Feature, View
from dualpath.windows import SECOND, lifetime, minutes
from parity_tests import faults
from parity_tests.conftest import SOURCE
from parity_tests.events import dictionary, evaluated, records, values
from parity_tests.strategies import CLICKS

MINUTE = 60 * SECOND
NOW = 1_772_366_400_000_000
"""A full hour, microseconds UTC."""
EPOCH = "2026-03-01"
HOT = View("hot", ("user",), CLICKS, (Feature("actions", CountBy("action"), minutes(5)),), MINUTE)
EVER = View(
    "ever",
    ("user",),
    CLICKS,
    (
        Feature("recent", Count(), minutes(1)),
        Feature("total", Sum("amount"), lifetime()),
        Feature("latest", Max("event_time"), lifetime()),
    ),
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("redis")
    yield embedded.ensure(folder)
    embedded.stop(folder)


@pytest.fixture
def client(address: str) -> Redis:
    """An empty Redis."""
    found = connect(address)
    found.flushall()
    return found


class Shop:
    """Micro-batches of one view of one hot user, of the second that begins with their clock."""

    def __init__(self, address: str, view: View, *, lookback: int | None = 0, compacts: bool = True) -> None:
        self.address, self.view, self.lookback, self.compacts = address, view, lookback, compacts
        self.redis = connect(address)
        self.events: list[dict[str, Any]] = []
        self.key = keys.prefix("test", "n1", view.name, "e" + EPOCH) + keys.tagged("ann")

    def write(self, number: int, times: Sequence[int], clock: int) -> int:
        """The batch of that number; answers whether it was new to the value."""
        events = [
            {
                "event_id": f"{number}-{i}",
                "event_time": time,
                "arrival_time": clock,
                "user": "ann",
                "action": ("buy", "view", "click")[i % 3],
                "amount": 100 * number + i,
            }
            for i, time in enumerate(times)
        ]
        self.events += events
        _, words = records(self.view, evaluated(self.view, events))
        return self.append(number, words, clock)

    def append(self, number: int, words: np.ndarray, clock: int) -> int:
        rows = pa.record_batch(
            [[self.view.name] * len(words), [EPOCH] * len(words), ["ann"] * len(words), words.tolist()],
            ["view", "arrival_day", "entity", "words"],
        )
        earliest = earliest_as_of(clock - CLOCK_LAG, self.lookback) if self.compacts else None
        part = Destination("n1", self.view, earliest_as_of=earliest)
        [answer] = FencedWrite(self.address, "test", {self.view.name: part}, Fence(1, number)).write([rows])
        return answer["parts"][0].as_py()

    def run(self, seconds: Sequence[int], each: Callable[[int], Any] = lambda number: None) -> None:
        """A batch a second, with an event of each of three kinds."""
        for number in seconds:
            self.write(number, [NOW + number * SECOND] * 3, NOW + number * SECOND)
            each(number)

    @property
    def stored(self) -> bytes:
        return self.redis.get(self.key)

    def answers(self, as_of: Sequence[int]) -> dict[str, list[Any]]:
        """What is served."""
        return values(self.view, layout(self.view).unpack(self.stored), as_of, dictionary(self.view, self.events))

    def truth(self, as_of: Sequence[int]) -> dict[str, list[Any]]:
        """The same from all events."""
        events = evaluated(self.view, self.events)
        return values(self.view, records(self.view, events)[1], as_of, dictionary(self.view, events))


# --- what is hot stays small


@pytest.mark.parametrize("view", [HOT, EVER], ids=lambda view: view.name)
def test_a_hot_value_stays_small_over_many_batches_and_every_answer_is_that_of_all_events(
    view: View, address: str, client: Redis
) -> None:
    shop, lengths = Shop(address, view), []

    def look(number: int) -> None:
        lengths.append(client.strlen(shop.key))
        if number % 40 == 0:
            present = NOW + number * SECOND
            as_of = [present - CLOCK_LAG, present, present + 3 * MINUTE]
            assert differences(shop.answers(as_of), shop.truth(as_of)) == []

    shop.run(range(1, 801), look)
    whole = HEADER.size + 800 * 3 * layout(view).width * 8
    assert max(lengths) < 2 * LEAST < whole / 2
    assert any(after < before for before, after in pairwise(lengths))


def test_a_value_that_cannot_shrink_is_read_once_a_doubling(
    address: str, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, calls = Shop(address, EVER, lookback=3_600 * SECOND), in_between(monkeypatch, lambda: None)
    shop.run(range(1, 601))
    lengths = [HEADER.size + 8 * args[0].size for args in calls]
    assert len(shop.stored) == HEADER.size + 8 * 1_800 * layout(EVER).width > 4 * LEAST
    assert [length // LEAST for length in lengths] == [1, 2, 4]


def in_between(monkeypatch: pytest.MonkeyPatch, once: Callable[[], Any]) -> list[tuple[Any, ...]]:
    """Do something between the first read of a value and its replacement; answers the arguments of all compactions."""
    real, calls = compaction.compact, []

    def faulty_step(*args: Any) -> np.ndarray:
        calls.append(args)
        if len(calls) == 1:
            once()
        return real(*args)

    monkeypatch.setattr(compaction, "compact", faulty_step)
    return calls


def test_a_bucket_is_folded_a_minute_after_it_closed_and_what_lies_in_later_ones_stays_apart(
    address: str, client: Redis
) -> None:
    shop = Shop(address, HOT)
    clock = NOW + 3 * MINUTE - 1
    ahead = [NOW + 3 * MINUTE + i for i in range(90)]
    shop.write(1, [NOW + i for i in range(300)] + [NOW + MINUTE + i for i in range(30)] + ahead, clock)
    left = layout(HOT).unpack(shop.stored)
    buckets, counts = np.unique(left[:, 0], return_counts=True)
    assert dict(zip((buckets - NOW).tolist(), counts.tolist(), strict=True)) == {0: 3, MINUTE: 30, 3 * MINUTE: 90}
    assert differences(shop.answers([ahead[40]]), shop.truth([ahead[40]])) == []


def test_what_may_still_be_asked_stays(address: str, client: Redis) -> None:
    """With an online lookback, an instant that far back; without one, any."""
    for lookback, kept in ((0, 1), (30 * SECOND, 30), (None, 600)):
        client.flushall()
        shop = Shop(address, EVER, lookback=lookback)
        times = [NOW + i * SECOND for i in range(600)]
        clock = times[-1] + EVER.bounded_lookback + CLOCK_LAG + SECOND
        shop.write(1, times, clock)
        assert len(layout(EVER).unpack(shop.stored)) == kept
        asked = [times[0] if lookback is None else clock - CLOCK_LAG - lookback, clock]
        assert differences(shop.answers(asked), shop.truth(asked)) == []


def test_records_that_no_window_reaches_go_and_their_fence_stays(address: str, client: Redis) -> None:
    shop = Shop(address, View("gone", ("user",), CLICKS, (Feature("recent", Count(), minutes(1)),)))
    shop.write(4, [NOW + i for i in range(1_000)], NOW + 5 * MINUTE)
    assert shop.stored == layout(shop.view).pack(np.empty((0, layout(shop.view).width), np.int64), Fence(1, 4))
    assert shop.write(4, [NOW], NOW) == 0
    assert shop.write(5, [NOW + 6 * MINUTE], NOW + 6 * MINUTE) == 1
    assert shop.answers([NOW + 6 * MINUTE]) == {"recent": [1]}


# --- no write is lost


def test_a_batch_that_is_written_again_changes_no_byte(address: str, client: Redis) -> None:
    shop = Shop(address, HOT)
    for number in range(1, 200):
        shop.run([number])
        before = shop.stored
        for again in (number, number - 1):
            assert shop.write(again, [NOW] * 3, NOW + 100 * MINUTE) == 0
        assert shop.stored == before and HEADER.unpack_from(before)[2:] == (1, number)


def test_an_append_between_the_read_and_the_replacement_stays(
    address: str, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, other = Shop(address, HOT), Shop(address, HOT, compacts=False)
    calls = in_between(monkeypatch, lambda: other.write(2, [NOW + SECOND] * 3, NOW + SECOND))
    shop.write(1, [NOW + i for i in range(600)], NOW + 10 * MINUTE)
    shop.events += other.events
    assert len(calls) == 1
    assert len(layout(HOT).unpack(shop.stored)) == 603
    assert HEADER.unpack_from(shop.stored)[2:] == (1, 2)
    assert differences(shop.answers([NOW + 2 * MINUTE]), shop.truth([NOW + 2 * MINUTE])) == []


def test_an_append_that_makes_up_for_what_another_compaction_took_away_stays_too(
    address: str, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The length is that which was read; the fence is not."""
    shop, other, clock = Shop(address, HOT), Shop(address, HOT, compacts=False), NOW + 3 * MINUTE

    def meanwhile() -> None:
        Compactor(connect(address)).compact([shop.key], layout(HOT), HOT, clock - CLOCK_LAG)
        other.write(2, [NOW + MINUTE + i for i in range(597)], clock)

    in_between(monkeypatch, meanwhile)
    shop.write(1, [NOW + i for i in range(600)], clock)
    shop.events += other.events
    assert len(layout(HOT).unpack(shop.stored)) == 600
    assert differences(shop.answers([clock]), shop.truth([clock])) == []


def test_two_that_compact_one_value_at_once_leave_what_one_would(
    address: str, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, alone = Shop(address, HOT), Shop(address, HOT)
    times, clock = [NOW + i for i in range(600)], NOW + 3 * MINUTE
    alone.write(1, times, clock)
    expected = alone.stored
    client.flushall()
    calls = in_between(
        monkeypatch,
        lambda: Compactor(connect(address)).compact([shop.key], layout(HOT), HOT, clock + 90 * MINUTE - CLOCK_LAG),
    )
    shop.write(1, times, clock)
    assert len(calls) == 2 and expected != shop.stored
    assert shop.stored == layout(HOT).pack(np.empty((0, layout(HOT).width), np.int64), Fence(1, 1))


def test_a_crash_before_the_compaction_costs_nothing_but_its_saving(
    address: str, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, times, clock = Shop(address, HOT), [NOW + i for i in range(600)], NOW + 3 * MINUTE
    with monkeypatch.context() as faulty:
        faults.crash(faulty, Compactor, "compact")
        with pytest.raises(faults.Crash):
            shop.write(1, times, clock)
    events = list(shop.events)
    assert shop.write(1, times, clock) == 0
    shop.events = events
    assert len(layout(HOT).unpack(shop.stored)) == 600
    assert differences(shop.answers([clock]), shop.truth([clock])) == []
    shop.write(2, [NOW + MINUTE + i for i in range(600)], clock)
    assert len(layout(HOT).unpack(shop.stored)) == 6
    assert differences(shop.answers([clock]), shop.truth([clock])) == []


def test_a_value_expires_when_it_would_have_and_one_that_has_gone_stays_away(address: str, client: Redis) -> None:
    shop = Shop(address, HOT)
    shop.write(1, [NOW + i for i in range(300)], NOW)
    client.pexpire(shop.key, 1_000_000)
    compactor, since = Compactor(client), NOW + 3 * MINUTE - CLOCK_LAG
    compactor.compact([shop.key], layout(HOT), HOT, since)
    assert len(layout(HOT).unpack(shop.stored)) == 3
    assert 0 < client.pttl(shop.key) <= 1_000_000
    client.delete(shop.key)
    compactor.compact([shop.key], layout(HOT), HOT, since)
    assert not client.exists(shop.key)


def test_a_sum_that_nears_64_bits_is_left_to_the_reader(address: str, client: Redis) -> None:
    view = View("spent", ("user",), CLICKS, (Feature("total", Sum("quantity"), lifetime()),))
    shop = Shop(address, view)
    half = np.array([[NOW + i, i, 2**61] for i in range(1_000)], dtype=np.int64)
    shop.append(1, half, NOW + 10 * MINUTE)
    assert layout(view).unpack(shop.stored).tolist() == half.tolist()


# --- the stream


def test_the_stream_compacts_by_the_clock_of_its_batch(spark: SparkSession, new_repo: Callable[[], Repo]) -> None:
    repo, source = Repo(new_repo().folder), SOURCE  # opened anew, so that it reads what follows
    settings = repo.folder / "feature_store.yaml"
    settings.write_text(settings.read_text().replace("online_lookback_seconds: null", "online_lookback_seconds: 60"))
    first = datetime(2026, 3, 1, tzinfo=UTC)
    times = [(first + timedelta(seconds=i)).isoformat() for i in range(600)]
    line = '{"user_id": "ann", "action": "page_view", "event_time": "%s", "arrival_time": "%s"}'
    faults.post(repo, [(line % (time, time)).encode() for time in times])
    clock = datetime(2026, 3, 3, tzinfo=UTC)
    landing = Directory(repo.storage(source).folder("landing"))
    start(spark, repo, repo.sources[source], landing, clock=F.lit(clock)).awaitTermination()
    view = repo.views["user_activity"]
    [key] = dict(keys.states(connect(repo.redis_address), repo.project, views=["user_activity"]))
    assert len(layout(view).unpack(connect(repo.redis_address).get(key))) == 1

    build(spark, repo, repo.sources[source])
    now = int(instants.parse([clock])[0])
    repo.store._get_provider().online_store.clock = lambda: now
    [group] = [f for f in view_groups(repo) if view in f.views]
    asked = [pa.array(["ann", "ann"])], np.array([now - 60 * SECOND, now])
    served = serve(repo, group, *asked)
    assert differences(served, train(repo, group, *asked)) == []
    assert served["user_activity:last_active"] == instants.parse([times[-1]] * 2).tolist()
