"""The person whose data is erased, what is delivered of them, and where it still is."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

from dualpath.online.connection import connect, embedded_folder
from dualpath.repo import Repo
from parity_tests import faults, invariants
from parity_tests.jobs.stream import LINES as GENERATED

PERSON = "marker-person-7"
ASKED = f"user_id={PERSON}"
ONCE = "user_000008"
"""Who they are among the generated users."""
DECISION = {"user_id": PERSON, "decision_id": "d1"}


def theirs(line: bytes, number: int) -> bytes:
    """A line of the person's; a category has their name in it, so that the dictionary of texts has it too."""
    event = json.loads(line) | {"user_id": PERSON, "category": f"shelf of {PERSON}" if number % 3 else "shared"}
    return json.dumps(event | {"product_id": f"p{number % 4}", "action": "view_item"}).encode()


EVENTS = [theirs(line, n) if json.loads(line)["user_id"] == ONCE else line for n, line in enumerate(GENERATED)]
MINE = [line for line in EVENTS if PERSON.encode() in line]
OTHERS = [line for line in EVENTS if PERSON.encode() not in line]
LINES = [*EVENTS, *MINE[:3], *OTHERS[:97]]
"""All that is delivered and good; the last hundred come again."""
DEAD = [
    json.dumps({"user_id": PERSON, "action": "x", "event_time": "yesterday", "arrival_time": "today"}).encode(),
    f'{{"user_id": "{PERSON}", "action'.encode(),
    b'{"user_id": "\\u006darker-person-7", "action": "x"}',
    json.dumps({"userId": PERSON}).encode(),
    json.dumps({"user_id": "user_000001", "action": "x", "event_time": "yesterday"}).encode(),
    b"hello",
]
ROWS = {
    "accepted": len(invariants.distinct(MINE)),
    "duplicate": len(MINE) + 3 - len(invariants.distinct(MINE)),
    "dead_letter": 4,
}
"""What becomes of the rows of the person, without an erasure."""
DELIVERED = {
    "accepted": len(invariants.distinct(LINES)),
    "duplicate": len(LINES) - len(invariants.distinct(LINES)),
    "dead_letter": len(DEAD),
}
"""What becomes of all that is delivered."""


def traces(repo: Repo) -> list[str]:
    """Every file below the repo's data, and every key of its Redis, in which the person's name stands."""
    return [*_files(repo), *_redis(repo)]


def _files(repo: Repo) -> Iterator[str]:
    for file in sorted(repo.root.rglob("*")):
        if file.is_file():
            content = file.read_bytes() + str(file).encode()
            if file.suffix == ".parquet":
                content += str(pq.ParquetFile(file).read().to_pydict()).encode()
            if PERSON.encode() in content or rb"\u006darker-person-7" in content:
                yield str(file.relative_to(repo.root))


def _redis(repo: Repo) -> Iterator[str]:
    client = connect(repo.redis_address)
    read = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"zset": lambda key: client.zrange(key, 0, -1),
    }
    for key in client.scan_iter(count=1_000):
        if PERSON.encode() in key + str(read[client.type(key)](key)).encode():
            yield key.decode(errors="replace")
    # From its file it would come back.
    assert embedded_folder(repo.store.config).is_relative_to(repo.root)


def of_others(repo: Repo) -> Counter[tuple[Any, ...]]:
    """The served records of everybody else, of the views of users."""
    found = faults.records(repo).items()
    return Counter({row: n for row, n in found if row[0] != "product_activity" and row[1] != PERSON})
