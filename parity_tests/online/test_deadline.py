"""A read ends: with an answer, or within its deadline with a sentence, whatever Redis does or does not."""

import asyncio
import gc
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import TimeoutError as RedisTimeout

from dualpath.console import environment, status
from dualpath.errors import UnavailableError
from dualpath.online import deadline
from dualpath.online.deadline import Budget
from dualpath.repo import Repo
from dualpath.runtime import doctor
from dualpath.runtime.redis import HOST
from parity_tests.filled import fill
from parity_tests.servers import Server, cluster, on_cluster, repo_on, suspended

NOON = "2026-03-01T12:00:00"
USERS = ["ann", "bob"]
EVENTS = [
    {"user_id": user, "action": "view_item", "category": f"of {user}", "event_time": f"2026-03-01T11:50:{n:02d}"}
    for number, user in enumerate(USERS, 1)
    for n in range(number)
]
FEATURES = ["user_activity:actions_30min", "user_activity:interests_1h"]
WAYS = ["sync", "async"]


def ask(repo: Repo, way: str, user: str) -> dict[str, Any]:
    rows = [{"user_id": user, "event_timestamp": NOON}]
    if way == "sync":
        return repo.store.get_online_features(FEATURES, rows).to_dict()
    return asyncio.run(repo.store.get_online_features_async(FEATURES, rows)).to_dict()


def answer(user: str) -> dict[str, Any]:
    return {"user_id": [user], "actions_30min": [USERS.index(user) + 1], "interests_1h": [[f"of {user}"]]}


# --- the arithmetic


class Clock:
    """A clock that is set by hand, seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_all_waits_share_one_budget_and_other_work_is_free() -> None:
    clock, given = Clock(), []
    budget = Budget(0.25, clock)

    def attempt(seconds: float) -> None:
        given.append(seconds)
        clock.now += seconds
        raise TimeoutError

    def reply(_: float) -> str:
        clock.now += 0.003
        return "reply"

    for left in (0.247, 0.244):
        assert budget.wait(reply) == "reply"
        clock.now += 10
        assert budget.left == pytest.approx(left)
    with pytest.raises(TimeoutError):
        budget.wait(attempt)
    assert sum(given) == pytest.approx(0.244)
    assert max(given) == deadline.SLICE
    with pytest.raises(TimeoutError):
        budget.wait(reply)


def test_a_process_that_stood_still_takes_the_reply_that_came_meanwhile() -> None:
    clock = Clock()
    budget, replies = Budget(0.25, clock), []

    def stall(seconds: float) -> str:
        clock.now += 60
        if not replies:
            replies.append("reply")
            raise TimeoutError
        return replies[0]

    assert budget.wait(stall) == "reply"
    assert budget.left == pytest.approx(0.25 - 4 * deadline.SLICE)


@pytest.mark.parametrize(("spent", "said"), [(0.1, "of its own"), (0.3, "no answer within 250 ms")])
def test_what_fails_when_the_budget_is_spent_failed_for_want_of_an_answer(spent: float, said: str) -> None:
    budget = Budget(0.25)
    with pytest.raises(RedisTimeout, match=said), budget.spending():
        budget.left -= spent
        raise RedisTimeout("of its own")


def test_an_event_loop_that_stood_still_takes_the_reply_that_came_meanwhile() -> None:
    async def wait() -> str:
        ours, theirs = socket.socketpair()
        with closing(theirs):
            reader, writer = await asyncio.open_connection(sock=ours)
            async with Budget(0.25).spending_async():
                for _ in range(2):
                    theirs.sendall(b"reply\n")
                    asyncio.get_running_loop().call_soon(threading.Event().wait, 0.3)
                    said = await reader.readline()
            writer.close()
        return said.decode()

    assert asyncio.run(wait()) == "reply\n"


def test_an_asynchronous_wait_is_cut_off_when_the_budget_is_spent() -> None:
    async def wait(seconds: float) -> None:
        async with Budget(seconds).spending_async():
            await asyncio.Event().wait()

    with pytest.raises(RedisTimeout, match="no answer within 10 ms"):
        asyncio.run(wait(0.01))


# --- servers that do not answer


@contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections and everything sent to them, and never says a word."""
    with socket.create_server((HOST, 0), backlog=64) as server:
        yield server.getsockname()[1]


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that does not even take connections: its queue is full."""
    with socket.create_server((HOST, 0), backlog=0) as server, ExitStack() as queue:
        for _ in range(4):
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@contextmanager
def dripping() -> Iterator[int]:
    """A port that sends a byte of an endless reply now and then, so that no single wait is long."""
    with socket.create_server((HOST, 0)) as server:
        over = threading.Event()

        def drip(taken: socket.socket) -> None:
            with closing(taken):
                taken.sendall(b"*1000000\r\n")
                while not over.wait(0.02):
                    try:
                        taken.sendall(b"$-1\r\n")
                    except OSError:
                        return

        def serve() -> None:
            while not over.is_set():
                try:
                    taken, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=drip, args=(taken,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()


@contextmanager
def gone() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as held:
        held.bind((HOST, 0))
        yield held.getsockname()[1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["redis", "redis_cluster"])
@pytest.mark.parametrize("absent", [silent, black_hole, dripping, gone])
def test_a_read_of_a_redis_that_does_not_answer_ends_in_a_sentence(
    absent: Callable[[], Any], kind: str, way: str, applied: Path, tmp_path: Path
) -> None:
    with absent() as port:
        repo = repo_on(applied, tmp_path / "feature_repo", f"{HOST}:{port}", kind)
        for _ in range(2):  # the second finds what the first has left
            with pytest.raises(UnavailableError, match=f"^the online store cannot be used: Redis at {HOST}:{port} "):
                ask(repo, way, "ann")


@pytest.mark.parametrize("kind", ["redis", "redis_cluster"])
@pytest.mark.parametrize("absent", [silent, black_hole, gone])
def test_status_and_doctor_fail_while_redis_does_not_answer(
    absent: Callable[[], Any], kind: str, applied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "ANSWER_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(doctor, "ANSWER_TIMEOUT_SECONDS", 0.1)
    with absent() as port:
        repo = repo_on(applied, tmp_path / "feature_repo", f"{HOST}:{port}", kind)
        told = status.report(repo)
        assert not told.ok and told.errors == [told.data["redis"]]
        assert told.data["redis"].startswith(f"Redis at {HOST}:{port} does not answer: ")
        found = environment.doctor(repo.folder)
        assert not found.ok and [each.split()[0] for each in found.errors] == ["Redis"]


def test_a_request_that_is_not_taken_is_given_up_within_the_budget() -> None:
    """Larger than what the system holds for a peer that does not read."""
    ours, theirs = socket.socketpair()
    budget = Budget(0.05)
    with closing(ours), closing(theirs):
        with pytest.raises(RedisTimeout, match=r"^no answer within 50 ms$"), budget.spending():
            try:
                deadline._Socket(ours, None).sendall(bytes(2**24))
            except TimeoutError as error:
                raise RedisTimeout("Timeout writing to socket") from error
        assert budget.left <= 0


def test_a_large_request_arrives_whole() -> None:
    ours, theirs = socket.socketpair()
    sent = bytes(range(256)) * 2**14
    with closing(ours), closing(theirs), ThreadPoolExecutor(1) as reader:
        taken = reader.submit(theirs.recv, len(sent), socket.MSG_WAITALL)
        with Budget(30).spending():
            deadline._Socket(ours, None).sendall(sent)
        assert taken.result() == sent


def test_a_connection_that_comes_too_late_is_closed() -> None:
    """As that of a name that takes long to look up."""
    asked, (ours, theirs) = threading.Event(), socket.socketpair()

    def slowly() -> socket.socket:
        asked.wait()
        return ours

    with closing(theirs):
        with pytest.raises(TimeoutError):
            deadline._in_time(slowly, Budget(0.01))
        asked.set()
        assert theirs.recv(1) == b""


# --- a server that falls silent and comes back


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="module")
def filled(
    new_repo: Callable[[], Repo], applied: Path, nodes: list[Server], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Repo]:
    """A repo on one server and one on a cluster, with the same state."""
    on = {"redis": new_repo(), "redis_cluster": on_cluster(applied, tmp_path_factory.mktemp("on") / "repo", nodes)}
    for repo in on.values():
        fill(repo, EVENTS)
    return on


@pytest.mark.parametrize("kind", ["redis", "redis_cluster"])
def test_a_reply_that_comes_after_the_deadline_is_nobodys_answer(filled: dict[str, Repo], kind: str) -> None:
    repo = Repo(filled[kind].folder)
    ann, bob = ([{"user_id": user, "event_timestamp": NOON}] for user in USERS)
    assert repo.store.get_online_features(FEATURES, ann).to_dict() == answer("ann")
    with suspended(repo), pytest.raises(UnavailableError, match="no answer within 250 ms"):
        repo.store.get_online_features(FEATURES, ann)
    assert repo.store.get_online_features(FEATURES, bob).to_dict() == answer("bob")

    async def within_one_loop() -> list[dict[str, Any]]:
        read = repo.store.get_online_features_async
        first = (await read(FEATURES, ann)).to_dict()
        with suspended(repo):
            failed = await asyncio.gather(*[read(FEATURES, ann) for _ in range(3)], return_exceptions=True)
        assert ["no answer within 250 ms" in str(each) for each in failed] == [True] * 3
        later = await asyncio.gather(*[read(FEATURES, rows) for rows in (bob, ann, bob)])
        return [first, *(each.to_dict() for each in later)]

    assert asyncio.run(within_one_loop()) == [answer(user) for user in ("ann", "bob", "ann", "bob")]


@pytest.mark.parametrize("way", WAYS)
def test_a_suspended_embedded_server_ends_the_first_read_and_status_too(
    filled: dict[str, Repo], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = Repo(filled["redis"].folder)
    with suspended(filled["redis"]), pytest.raises(UnavailableError, match=r"has not answered for 0\.25 s"):
        ask(repo, way, "ann")
    monkeypatch.setattr(status, "ANSWER_TIMEOUT_SECONDS", 0.1)
    with suspended(filled["redis"]):
        told = status.report(repo)
    assert not told.ok and "has not answered for 0.1 s" in told.data["redis"]
    assert ask(repo, way, "ann") == answer("ann")


# --- event loops


def test_every_event_loop_reads_and_leaves_nothing_behind(filled: dict[str, Repo]) -> None:
    for repo in (Repo(each.folder) for each in filled.values()):
        for user in [*USERS, *USERS]:
            assert ask(repo, "async", user) == answer(user)
        with ThreadPoolExecutor(4) as threads:
            asked = USERS * 8
            assert [*threads.map(lambda user, repo=repo: ask(repo, "async", user), asked)] == [*map(answer, asked)]
        assert not repo.store._get_provider().online_store._clients._held


def test_a_loop_that_closed_nothing_is_dropped_when_the_next_one_comes(filled: dict[str, Repo]) -> None:
    repo = Repo(filled["redis"].folder)
    read = repo.store.get_online_features_async

    def once() -> "weakref.ref[asyncio.AbstractEventLoop]":
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(read(FEATURES, [{"user_id": "ann", "event_timestamp": NOON}])).to_dict() == (
            answer("ann")
        )
        loop.close()
        return weakref.ref(loop)

    first = once()
    once()
    gc.collect()
    assert first() is None


def test_a_connection_that_fails_by_itself_is_not_waited_for() -> None:
    """The system's own time-out is the same class of error as a slice of a wait that ran out."""

    def refused() -> socket.socket:
        raise TimeoutError("the network said so")

    budget = Budget(1)
    with pytest.raises(TimeoutError, match="the network said so"):
        deadline._in_time(refused, budget)
    assert budget.left > 0
