"""`dualpath serve` and `dualpath learn` die by SIGKILL: each request has one decision, and each reward teaches once."""

import json
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
import tenacity

from dualpath.instants import parse
from dualpath.online import keys
from dualpath.online.connection import connect, embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.runtime.kafka import Broker, create_topic
from dualpath.serving import policies, ranking
from dualpath.serving.decision import Decision
from dualpath.serving.learner import Learner
from dualpath.serving.policy import Policy
from dualpath.windows import SECOND
from parity_tests.conftest import CHECKOUT
from parity_tests.servers import free_port
from parity_tests.serving.events import NOON, click, decided, read, write
from parity_tests.serving.newsroom import applied, filled

pytestmark = pytest.mark.slow
SETTINGS = CHECKOUT / "examples" / "news" / "settings.toml"
CANDIDATES = [f"a{n}" for n in range(20)]
REQUESTS = 12
ROUNDS = 2
BATCHES = 4
"""Batches of the log that a learner gets before it dies; it has learned the first two of them by then."""
patiently = tenacity.Retrying(
    stop=tenacity.stop_after_delay(120),
    wait=tenacity.wait_fixed(0.1),
    retry=tenacity.retry_if_exception_type((httpx.HTTPError, AssertionError)),
    reraise=True,
)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    found = applied(tmp_path_factory.mktemp("news") / "feature_repo")
    yield found
    redis.stop(embedded_folder(found.store.config))


@contextmanager
def killed(repo: Repo, *words: str) -> Iterator[None]:
    """A command of dualpath's in a process of its own, which dies by SIGKILL at the end."""
    command = [sys.executable, "-m", "dualpath.cli", words[0], "--repo", str(repo.folder), *words[1:]]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
        assert process.poll() is None, "it has ended by itself"
    finally:
        process.kill()
        process.wait()


def asked(number: int) -> dict[str, Any]:
    return {"request_id": f"r{number}", "user_id": "ann", "device": "mobile", "candidates": CANDIDATES}


def send(port: int, body: dict[str, Any]) -> None:
    """Ask, and hang up: nobody reads the answer."""
    content = json.dumps(body).encode()
    lines = ["POST /rank HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(content)}"]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + content)
        connection.shutdown(socket.SHUT_WR)


def test_an_application_that_dies_before_it_answers_gives_the_journalled_decision_to_a_retry(
    repo: Repo, broker: Broker
) -> None:
    """A request is journalled and its answer lost with the process; the next one answers what was journalled."""
    filled(repo, time.time())
    create_topic(broker.address, "decisions", partitions=2)
    port, lost, answers = free_port(), list[int](), dict[str, dict[str, Any]]()
    messages = list[dict[str, Any]]()
    words = ("serve", "--kafka", broker.address, "--port", str(port), "--settings", str(SETTINGS))
    url = f"http://127.0.0.1:{port}"

    def answer(number: int) -> None:
        found = httpx.post(f"{url}/rank", json=asked(number), timeout=30)
        assert found.status_code == 200
        answers[f"r{number}"] = found.json()

    for number in range(ROUNDS):
        with killed(repo, *words):
            patiently(lambda: httpx.get(f"{url}/readyz").raise_for_status())
            for earlier in lost:
                answer(earlier)
            for each in range(REQUESTS):
                answer(100 * number + each)
            lost.append(100 * number + REQUESTS)
            send(port, asked(lost[-1]))
            messages += [json.loads(value) for _, value in read(broker, "decisions", number + REQUESTS + 1)]
    journalled = defaultdict(list)
    for message in messages:
        decision = Decision.of_event(message, int(parse([message["decided_at"]])[0]))
        journalled[decision.request_id].append(decision)
    repeated = {name: len(found) for name, found in journalled.items() if len(found) > 1}
    assert repeated == {f"r{each}": ROUNDS - number for number, each in enumerate(lost[:-1])}
    for name, found in journalled.items():
        assert found == found[:1] * len(found), f"{name} was decided twice"
    assert set(journalled) - set(answers) == {f"r{lost[-1]}"}
    for name, answered in answers.items():
        made = journalled[name][0]
        order = [made.candidates[place] for place in made.ranking]
        assert answered["decision_id"] == made.decision_id and answered["degraded"] != "features"
        assert [each["article_id"] for each in answered["ranking"]] == order


def test_a_learner_that_dies_at_any_moment_learns_what_one_that_lives_learns(repo: Repo) -> None:
    declared = ranking.read(repo.folder)
    assert declared is not None
    client, count = connect(repo.redis_address), 0

    def learned() -> None:
        found = client.get(keys.learned(repo.project, "report"))
        assert found is not None and json.loads(found)["decisions"] == count

    for batch in range(ROUNDS * BATCHES):
        if batch % BATCHES == 0:
            dying = ExitStack()
            dying.enter_context(killed(repo, "learn", "--interval", "0.1"))
        rows = [decided(n, NOON + n * SECOND) for n in range(count, count + REQUESTS)]
        clicks = [click(n - REQUESTS, NOON + n * SECOND) for n in range(count, count + REQUESTS, 2)]
        write(repo, "clicks", batch, [*clicks, *clicks])
        write(repo, "decisions", batch, rows)
        count += REQUESTS
        if batch % BATCHES == 1:
            patiently(learned)
        if batch % BATCHES == BATCHES - 1:
            dying.close()  # in the middle of what it has not learned yet
    with killed(repo, "learn", "--interval", "0.1"):
        patiently(learned)
    whole = Learner.declared(repo, declared)
    whole.step()
    assert whole.state.rewards == (ROUNDS * BATCHES - 1) * REQUESTS // 2
    for variant, settings in declared.policies.items():
        policy = Policy(settings, declared.context.names, whole.state)
        assert client.get(keys.learned(repo.project, f"policy:{variant}")).decode() == policy.json
        assert policies.load(repo, policy.hash).json == policy.json
