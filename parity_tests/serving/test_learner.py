"""What is learned from the log: a function of the set of its events, whatever their order, batches and repetitions."""

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dualpath.errors import InputError
from dualpath.log.tail import Tail
from dualpath.online.connection import embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.serving.decision import COLUMNS, parsed
from dualpath.serving.learner import SLACK, Learner, Outcome
from dualpath.windows import SECOND
from parity_tests import logged
from parity_tests.serving.events import MINUTE, NOON, click, decided, write
from parity_tests.serving.newsroom import applied


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    found = applied(tmp_path_factory.mktemp("news") / "feature_repo")
    yield found
    redis.stop(embedded_folder(found.store.config))


@pytest.fixture
def repo(news: Repo, tmp_path: Path) -> Repo:
    """The same declarations, and a log of the test's own."""
    found = Repo(news.folder)
    found.__dict__["store"] = news.store
    news.store.config.offline_store.path = str(tmp_path)
    return found


def learner(repo: Repo, grace: int = 5 * MINUTE) -> Learner:
    return Learner(repo, "decisions", Outcome.of(repo, "decision_outcome:clicks_10min", grace), 8)


@pytest.mark.parametrize(
    ("clicked", "reward"),
    [
        ([(SECOND, None, 1)], 1),
        ([(10 * MINUTE, None, 1)], 1),
        ([(10 * MINUTE + 1, None, 1)], 0),
        ([(0, None, 1)], 0),
        ([(-1, None, 1)], 0),
        ([(SECOND, None, 2)], 0),
        ([(SECOND, 15 * MINUTE, 1)], 1),
        ([(SECOND, 15 * MINUTE + 1, 1)], 0),
        ([(SECOND, None, 1), (2 * SECOND, None, 1)], 1),
        ([(SECOND, None, 2), (2 * SECOND, None, 1)], 1),
        ([(10 * MINUTE + 1, None, 1), (SECOND, 20 * MINUTE, 1)], 0),
        ([], 0),
    ],
)
def test_a_reward_is_the_declared_outcome_known_in_time(repo: Repo, clicked: list[Any], reward: int) -> None:
    """The window is ten minutes after the decision, its left edge outside; five more are for arriving."""
    write(repo, "decisions", 0, [decided(1)])
    arrivals = [(NOON + at, None if late is None else NOON + late, position) for at, late, position in clicked]
    write(repo, "clicks", 0, [click(1, *each) for each in arrivals])
    found = learner(repo)
    found.step()
    assert (found.state.decisions, found.state.rewards) == (1, reward)


@pytest.mark.parametrize("seed", range(4))
def test_order_and_batches_do_not_matter(repo: Repo, seed: int) -> None:
    """Clicks may be read before their decisions, in any batches, looked at after each one or all at once."""
    draw = random.Random(seed)
    decisions = [decided(n, NOON + n * SECOND) for n in range(60)]
    clicks = [click(n, NOON + n * SECOND + draw.randrange(1, 11 * MINUTE)) for n in range(60) for _ in range(n % 3)]
    draw.shuffle(decisions)
    draw.shuffle(clicks)
    found, rewarded = learner(repo), 0
    for batch in range(6):
        for source, events in (("clicks", clicks), ("decisions", decisions)):
            write(repo, source, batch, events[batch::6])
            if draw.random() < 0.5:
                rewarded += len(found.step().rewarded)
    rewarded += len(found.step().rewarded)
    whole = learner(repo)
    whole.step()
    assert found.state.key() == whole.state.key()
    assert whole.state.decisions == 60 and whole.state.rewards == rewarded > 20


def test_decisions_without_features_teach_nothing(repo: Repo) -> None:
    write(repo, "decisions", 0, [decided(1, context="[]", degraded="features"), decided(2, degraded="journal")])
    write(repo, "clicks", 0, [click(1, NOON + 1), click(2, NOON + 1)])
    found = learner(repo)
    assert len(found.step().decided) == 2
    assert (found.state.decisions, found.state.rewards) == (0, 0)


def test_what_no_click_can_change_is_forgotten_and_later_ones_are_counted(repo: Repo) -> None:
    found, later = learner(repo), NOON + 15 * MINUTE + SLACK + 2
    write(repo, "decisions", 0, [decided(1), decided(2, later)])
    write(repo, "clicks", 0, [click(2, later + 1)])
    assert found.step().late == 0 and set(found.waiting) == {"d2"}
    write(repo, "clicks", 1, [click(1, NOON + 1, arrived=NOON + 1)])
    assert found.step().late == 1
    assert (found.state.decisions, found.state.rewards) == (2, 1)


def test_a_decision_settles_once(repo: Repo) -> None:
    found = learner(repo)
    write(repo, "decisions", 0, [decided(1), decided(2, NOON + MINUTE)])
    found.step()
    assert [each.decision_id for each in found.settle(NOON + 1)] == ["d1"]
    assert [each.decision_id for each in found.settle(NOON + 2 * MINUTE)] == ["d2"]
    assert found.settle(NOON + 2 * MINUTE) == []


@pytest.mark.parametrize("change", [{"weights": "[1]"}, {"known": "[]"}, {"context": "[[1]]"}, {"ranking": "{"}])
def test_an_event_that_is_no_decision_is_counted_and_stops_nothing(repo: Repo, change: dict[str, str]) -> None:
    write(repo, "decisions", 0, [decided(1, **change), decided(2)])
    found = learner(repo)
    assert found.step().refused == 1 and found.state.decisions == 1
    _, refused = parsed(Tail(repo.storage("decisions"), repo.sources["decisions"]).read(COLUMNS))
    assert refused[0].startswith("decision 'd1': ")


@pytest.mark.parametrize("name", ["nothing", "nowhere:x", "decision_outcome:x", "article_clicks:clicks_1h"])
def test_an_outcome_that_cannot_be_one_is_refused(repo: Repo, name: str) -> None:
    with pytest.raises(InputError, match="is no feature over a sliding window"):
        Outcome.of(repo, name, 0)


def test_the_tail_reads_each_batch_once_and_skips_unfinished_ones(repo: Repo) -> None:
    tail = Tail(repo.storage("clicks"), repo.sources["clicks"])
    assert tail.read(["event_id"]).num_rows == 0
    write(repo, "clicks", 0, [click(1, NOON)])
    write(repo, "clicks", 1, [])
    repo.storage("clicks").begin(1, 2)
    assert tail.read(["event_id"]).num_rows == 1
    assert tail.read(["event_id"]).num_rows == 0
    assert tail.position == {1: 1}
    write(repo, "clicks", 0, [click(2, NOON)], query=2)
    assert tail.read(["event_id", "position"]).to_pylist() == [{"event_id": f"c2 {NOON} 1", "position": 1}]


def test_the_tail_reads_the_rest_of_a_file_that_was_compacted_meanwhile(repo: Repo) -> None:
    storage = repo.storage("clicks")
    tail = Tail(storage, repo.sources["clicks"])
    for batch in range(3):
        write(repo, "clicks", batch, [click(batch, NOON)])
    assert tail.read(["decision_id"])["decision_id"].to_pylist() == ["d0", "d1", "d2"]
    for batch in range(3, 20):
        write(repo, "clicks", batch, [click(batch, NOON)] if batch == 10 else [])
    write(repo, "clicks", 0, [click(20, NOON)], query=2)
    assert logged.compact(storage) == len(storage.files()) == 1
    assert tail.read(["decision_id"])["decision_id"].to_pylist() == ["d10", "d20"]
    assert tail.position == {1: 19, 2: 0}


def test_a_window_is_what_the_view_declares(repo: Repo) -> None:
    outcome = Outcome.of(repo, "decision_outcome:clicks_10min", 7)
    assert outcome.window == timedelta(minutes=10) // timedelta(microseconds=1)
    assert outcome.known_at(NOON) == NOON + outcome.window + 7
