"""What the fault tests share: payload files, faults raised once at a named step, and all that a repo holds."""

import itertools
import json
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
import tenacity

from dualpath import steps
from dualpath.demo.generate import generate
from dualpath.online import extent, high_water_mark, keys, manifest
from dualpath.online.connection import connect, embedded_folder
from dualpath.parity.compare import Difference, differences
from dualpath.parity.events import read
from dualpath.parity.oracle_runner import answers
from dualpath.parity.sample import draw
from dualpath.parity.views import serve, train, view_groups
from dualpath.record import layout
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.runtime.kafka import Broker
from dualpath.sources.landing import land
from dualpath.steps import Step
from parity_tests.conftest import SOURCE

FIRST_DAY = date(2026, 3, 1)


MARK_BEFORE_TIME = high_water_mark.FENCE + high_water_mark.WIDTH
"""Bytes of a high-water mark before the time at which it was written."""


class Crash(Exception):  # noqa: N818 - it is not an error of the code under test
    """An injected fault: the process is taken to die here."""


def crash(
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    *,
    nth: int = 1,
    after: bool = False,
    fault: Callable[[], None] | None = None,
) -> None:
    """Let the `nth` call of `owner.name` raise `Crash`, before or after its work; all others do their work.

    With a `fault`, that is what happens there instead, and the work goes on if it returns.
    """
    real, reached = getattr(owner, name), _injector(name, nth, after, fault)

    def faulty_step(*args: Any, **kwargs: Any) -> Any:
        reached(False)
        done = real(*args, **kwargs)
        reached(True)
        return done

    monkeypatch.setattr(owner, name, faulty_step)


def crash_at(
    monkeypatch: pytest.MonkeyPatch,
    step: Step,
    *,
    nth: int = 1,
    after: bool = False,
    fault: Callable[[], None] | None = None,
) -> None:
    """As `crash`, the `nth` time a step is taken."""
    reached = _injector(step, nth, after, fault)

    def watch(taken: Step, ended: bool) -> None:
        if taken is step:
            reached(ended)

    monkeypatch.setattr(steps, "watchers", [*steps.watchers, watch])


def _injector(name: str, nth: int, after: bool, fault: Callable[[], None] | None) -> Callable[[bool], None]:
    """What to call before (False) and after (True) some work: the `nth` time on the right side, the fault happens."""
    places = itertools.count(1)

    def reached(ended: bool) -> None:
        if ended is after and next(places) == nth:
            if fault is None:
                raise Crash(f"{'after' if after else 'before'} {name}")
            fault()

    return reached


@tenacity.retry(
    retry=tenacity.retry_if_result(lambda met: not met),
    stop=tenacity.stop_after_delay(120),
    wait=tenacity.wait_fixed(0.02),
)
def until(condition: Callable[[], Any]) -> Any:
    """Wait for something to become true."""
    return condition()


def kill_redis(repo: Repo, *, kept: bool = True, dump: Path | None = None) -> None:
    """`kill -9` of the repo's Redis, and its start with its data, or with an older `dump`'s, or with none."""
    folder, address = embedded_folder(repo.store.config), repo.redis_address
    data = folder / "appendonly.aof"
    os.kill(connect(address).info("server")["process_id"], signal.SIGKILL)
    until(lambda: redis.running(folder) is None)
    if dump:
        shutil.copy(dump, data)
    elif not kept:
        data.unlink()
    assert redis.ensure(folder) == address


def kill_broker(broker: Broker) -> None:
    """`kill -9` of a broker; `Broker.start` starts it again."""
    assert broker.process is not None, "it runs"
    broker.process.kill()
    broker.process.wait()


def events(start: datetime = datetime(2026, 3, 1, tzinfo=UTC), *, seed: int = 3) -> pa.Table:
    """Six hundred generated events of four days, in delivery order."""
    return generate(users=15, events=600, products=10, categories=4, start=start, days=4, seed=seed)


def payloads(table: pa.Table) -> list[bytes]:
    """Events as the lines of a payload file."""
    with TemporaryDirectory() as folder:
        [file] = land(table, Path(folder), rows_per_file=len(table))
        return file.read_bytes().splitlines()


def shuffled(lines: Sequence[bytes], seed: int = 5) -> list[bytes]:
    return random.Random(seed).sample(lines, len(lines))


def redelivered(lines: Sequence[bytes], draw: random.Random) -> list[bytes]:
    """Each line up to three times, every copy within ten minutes of the first arrival, in the order of the arrivals."""
    copies = []
    for line in lines:
        members = json.loads(line)
        first = datetime.fromisoformat(members["arrival_time"])
        for _ in range(draw.randint(1, 3)):
            arrival = first + timedelta(microseconds=draw.randrange(600_000_000))
            copies.append((arrival, json.dumps(members | {"arrival_time": arrival.isoformat()}).encode()))
    return [line for _, line in sorted(copies)]


def post(repo: Repo, lines: Sequence[bytes], *, files: int = 1, source: str = SOURCE) -> None:
    """Land lines, dealt out to further files in their order."""
    folder = repo.storage(source).folder("landing")
    folder.mkdir(parents=True, exist_ok=True)
    first, size = len(list(folder.glob("*.jsonl"))), -(-len(lines) // files)
    for number in range(files):
        hidden = folder / f".{first + number:04d}"
        hidden.write_bytes(b"".join(line + b"\n" for line in lines[number * size : (number + 1) * size]))
        hidden.rename(folder / f"{first + number:04d}.jsonl")


def ids(repo: Repo) -> Counter[str]:
    """The event ids in the log."""
    return Counter(log(repo)["event_id"].to_pylist())


def log(repo: Repo, source: str = SOURCE) -> pa.Table:
    """The event log."""
    return read(repo.storage(source), repo.sources[source])


def records(repo: Repo, source: str = SOURCE) -> Counter[tuple[Any, ...]]:
    """Every served record of a source's views, as (view, entity, words...), whatever part it is in."""
    client, bag = connect(repo.redis_address), Counter[tuple[Any, ...]]()
    for view in repo.views_of(source):
        known = manifest.read(client, repo.project, view.name)
        for part in known.parts if known else ():
            for key, found in keys.states(
                client, repo.project, namespace=known.namespace, views=[view.name], part=part
            ):
                value, end = client.get(key), None
                if part.startswith("s"):
                    end = extent.within(value, len(value), extent.day_number(known.snapshot))
                    assert end is not None, f"{key!r} has no records of the served snapshot"
                unpacked = layout(view).unpack(value[:end]).tolist()
                bag.update((view.name, found.entity, *words) for words in unpacked)
    return bag


def bits(repo: Repo) -> tuple[Counter[tuple[Any, ...]], Counter[str]]:
    """What a run leaves: the served records and the logged events, each as a bag."""
    return records(repo), ids(repo)


def stored(repo: Repo) -> dict[bytes, bytes]:
    """Everything in the repo's Redis, byte by byte, but for the times at which high-water marks were written."""
    client = connect(repo.redis_address)
    found = client.scan_iter(count=1_000)
    return {key: client.get(key)[:MARK_BEFORE_TIME] if b":mark:" in key else client.dump(key) for key in found}


def counts(repo: Repo, source: str = SOURCE) -> dict[str, int]:
    """The outcomes of all rows read, by the accounts."""
    total = repo.storage(source).accounts().total()
    return {name: getattr(total, name) for name in ("rows_read", "accepted", "duplicate", "dead_letter", "late")}


def values(repo: Repo, known: pa.Table, *, rows: int = 60, seed: int = 1) -> dict[str, list[Any]]:
    """Served values of the events' entities at instants chosen to hurt, by `view:feature`."""
    found = {}
    for group in view_groups(repo):
        found |= serve(repo, group, *draw(known.to_batches, group.views, rows, seed))
    return found


def misserved(repo: Repo, known: pa.Table, *, rows: int = 60, seed: int = 2) -> list[Difference]:
    """Where served values are not what the oracle computes from the events."""
    found = []
    for group in view_groups(repo):
        entities, as_of = draw(known.to_batches, group.views, rows, seed)
        served = serve(repo, group, entities, as_of)
        asked = [(tuple(k[i].as_py() for k in entities), int(t)) for i, t in enumerate(as_of)]
        for view in group.views:
            truth = answers(view, [known], asked)
            names = {f"{view.name}:{f.name}": f.name for f in view.features}
            right = {ref: [row[name] for row in truth] for ref, name in names.items()}
            found += differences({ref: served[ref] for ref in names}, right)
    return found


def disagreements(repo: Repo, *, rows: int = 60, seed: int = 4) -> list[Difference]:
    """Where served and training values differ."""
    found = []
    for group in view_groups(repo):
        asked = draw(log(repo).to_batches, group.views, rows, seed)
        found += differences(serve(repo, group, *asked), train(repo, group, *asked))
    return found
