"""How long after it happened an event can be read: a real broker, stream, Redis and reader, at a set rate.

An event happens the moment it is produced. Every twentieth is of a probe, a user whose `last_active` is read all the
time: the first read that shows an event's time, or a later one, is the instant from which it was servable.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tenacity
from confluent_kafka import Producer

from benchmarks.measure import Sheet, spell
from benchmarks.place import Place, place
from dualpath.console.live import Reading, read
from dualpath.errors import StateError
from dualpath.online.connection import connect

SOURCE = TOPIC = "shop_events"
FEATURE = "last_active"
PROBES, SHARE = 20, 20
"""How many users are read all the time, and of how many events one is theirs."""
WARM_UP = 60.0
"""Seconds at the rate before anything counts."""
OVERTIME = 5.0
"""Seconds at the rate after nothing counts any more: what is measured is a stream that still has work."""
PAUSE = 0.02
"""Seconds between two reads: by so much a freshness may be too long."""
TICK = 0.005
"""Seconds between two bursts of the producer, which an event's time is exact to."""
EVENT = '{"user_id":"%d","action":"view_item","product_id":"p%d","category":"c1","event_time":"%s","arrival_time":"%s"}'
TIMEOUT_SECONDS = 600.0
"""Seconds until the stream must have begun, and must have ended."""


@dataclass(frozen=True)
class Load:
    """So many events a second of so many users, and for how many seconds after the warm-up."""

    rate: float
    seconds: float
    users: int

    @property
    def events(self) -> int:
        """How many are sent, those that do not count included."""
        return int(self.rate * (WARM_UP + self.seconds + OVERTIME))

    def user(self, number: int) -> int:
        """Of whom the n-th event is; those below `PROBES` are probes."""
        return PROBES + number * 7_919 % self.users if number % SHARE else number // SHARE % PROBES


@dataclass(frozen=True)
class Found:
    """After the warm-up: when probes' events happened, float64[n] seconds since its end, how long each took to be
    servable, float64[n] seconds (nan: it never was), cores in use by program, and the stream's own numbers."""

    happened: np.ndarray
    took: np.ndarray
    cores: dict[str, float]
    stream: Reading


def run(*, per_second: float, seconds: float, users: int, plot: Path | None) -> Iterator[Sheet]:
    """How fresh, what it costs, and where a batch's time goes."""
    load = Load(per_second, seconds, users)
    with place() as here:
        found = _measure(here, load)
    shown = found.took[~np.isnan(found.took)]
    quantiles = dict(zip(("p50", "p99", "max"), np.quantile(shown, (0.5, 0.99, 1)).tolist(), strict=True))
    phases = found.stream.by("phase", "dualpath_batch_phase_seconds_sum")
    batches = found.stream.by("phase", "dualpath_batch_phase_seconds_count")
    means = {p: phases[p] / batches[p] for p in sorted(phases, key=lambda p: -phases[p]) if batches[p]}
    landed = sum(found.stream.by("outcome", "dualpath_rows_total").values())
    yield Sheet(
        f"event to servable, {per_second:,.0f} events/s of {users:,} users for {seconds:.0f} s",
        {
            **{name: spell(value) for name, value in quantiles.items()},
            "probe events": f"{len(shown):,}",
            "never shown": f"{len(found.took) - len(shown):,}",
            "events/s landed": f"{landed / seconds:,.0f}",
            **{f"cores of the {name}": f"{cores:.2f}" for name, cores in found.cores.items()},
            **{f"mean of {phase}": spell(mean) for phase, mean in means.items()},
        },
        {
            "seconds": quantiles,
            "probe_events": len(shown),
            "never_shown": len(found.took) - len(shown),
            "landed_per_second": landed / seconds,
            "cores": found.cores,
            "phases_seconds": means,
        },
    )
    if plot:
        _draw(found, load, plot)


def _measure(here: Place, load: Load) -> Found:
    topic, storage, sent = here.topic(TOPIC), here.repo.storage(SOURCE), here.repo.folder / "sent.npy"
    programs: dict[str, Callable[[], float]] = {"Redis": lambda: _redis_seconds(here)}
    with _streaming(here, topic) as stream:
        _send(here.broker.address, Load(1_000, 1 - WARM_UP - OVERTIME, 100), sent)
        _until(lambda: None not in _read(here)[1], stream)
        producer = get_context("spawn").Process(target=_send, args=(here.broker.address, load, sent))
        producer.start()
        assert here.broker.process and producer.pid, "both run"
        for name, pid in (("stream", stream.pid), ("broker", here.broker.process.pid), ("producer", producer.pid)):
            programs[name] = lambda pid=pid: _seconds(pid)  # type: ignore[misc]
        born = time.time_ns() // 1_000
        _until(lambda: max(_read(here)[1]) > born, stream)
        reads = [_read(here)]
        while reads[-1][0] < reads[0][0] + WARM_UP:
            reads.append(_read(here))
        begun, before, used = time.time(), read(storage), {name: of() for name, of in programs.items()}
        while reads[-1][0] < begun + load.seconds:
            reads.append(_read(here))
        ended, after = time.time(), read(storage)
        cores = {name: (of() - used[name]) / (ended - begun) for name, of in programs.items()}
        while producer.is_alive():  # what was not shown at the end of the measurement is shown now
            reads.append(_read(here))
        events = np.load(sent)
        probed = events[events[:, 0] < PROBES]
        while np.less(reads[-1][1], [probed[probed[:, 0] == p, 1].max() for p in range(PROBES)]).any():
            reads.append(_read(here))
            if reads[-1][0] > ended + TIMEOUT_SECONDS:
                break
    assert after, "the stream leaves its numbers"
    happened, took = _ages(probed, reads)
    counted = (happened >= begun) & (happened < ended)
    return Found(happened[counted] - begun, took[counted], cores, after.since(before))


def _ages(probed: np.ndarray, reads: Sequence[tuple[float, list[Any]]]) -> tuple[np.ndarray, np.ndarray]:
    """When the probes' events happened, and how long it was until a read showed each; both float64[n], seconds.

    `probed` is int64[n, 2], the probe and the event's time; a read is its instant and the time each probe showed.
    """
    instants = np.array([at for at, _ in reads] + [np.nan])
    shown = np.array([[value or 0 for value in values] for _, values in reads])
    happened, took = [], []
    for probe in range(PROBES):
        times = probed[probed[:, 0] == probe, 1]
        happened.append(times / 1e6)
        # What a probe shows never goes back.
        took.append(instants[np.searchsorted(shown[:, probe], times)] - times / 1e6)
    return np.concatenate(happened), np.concatenate(took)


def _read(here: Place) -> tuple[float, list[Any]]:
    """What every probe shows, and when that was known."""
    time.sleep(PAUSE)
    rows = [{"user_id": str(probe)} for probe in range(PROBES)]
    values = here.repo.store.get_online_features([f"user_activity:{FEATURE}"], rows).to_dict()[FEATURE]
    return time.time(), values


def _send(address: str, load: Load, sent: Path) -> None:
    """Produce the events, those of each `TICK` at once, and leave each one's user and time, microseconds, in a file."""
    producer = Producer({"bootstrap.servers": address, "linger.ms": 1})
    events = np.empty((load.events, 2), dtype=np.int64)
    first, start = 0, time.monotonic()
    while first < load.events:
        due = min(load.events, int((time.monotonic() - start) * load.rate) + 1)
        now = time.time_ns() // 1_000
        instant = datetime.fromtimestamp(now / 1e6, UTC).isoformat()
        for number in range(first, due):
            events[number] = user, _ = load.user(number), now
            producer.produce(TOPIC, EVENT % (user, number % 500, instant, instant), key=str(user))
        first = due
        producer.poll(0)
        time.sleep(TICK)
    producer.flush()
    np.save(sent, events)


@contextmanager
def _streaming(here: Place, topic: str) -> Iterator[subprocess.Popen[bytes]]:
    """`dualpath stream` in a process of its own, until it is asked to end."""
    command = [sys.executable, "-m", "dualpath.cli", "stream", "--repo", str(here.repo.folder), "--interval", "0"]
    process = subprocess.Popen([*command, "--kafka", here.broker.address, "--topic", topic], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT_SECONDS)


def _until(condition: Callable[[], bool], stream: subprocess.Popen[bytes]) -> None:
    """Wait for something to become true while the stream runs; before there is any state it is not.

    Raises `tenacity.RetryError` in the end, and `RuntimeError` if the stream has ended.
    """

    def met() -> bool:
        if stream.poll() is not None:
            raise RuntimeError("the stream has ended by itself; what it said is above.")
        return condition()

    tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda met: not met) | tenacity.retry_if_exception_type(StateError),
        stop=tenacity.stop_after_delay(TIMEOUT_SECONDS),
        wait=tenacity.wait_fixed(0.1),
    )(met)


def _seconds(pid: int) -> float:
    """CPU seconds that a process, and those of its children that still run, have used."""
    first, total = psutil.Process(pid), 0.0
    for each in (first, *first.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += sum(each.cpu_times()[:2])
    return total


def _redis_seconds(here: Place) -> float:
    used = connect(here.repo.redis_address).info("cpu")
    return used["used_cpu_user"] + used["used_cpu_sys"]


def _draw(found: Found, load: Load, file: Path) -> None:
    """Every probe event's freshness by when it happened, and how many were how fresh."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), width_ratios=(2, 1), layout="constrained")
    left.plot(found.happened, found.took, ".", markersize=2)
    left.set(xlabel="happened, seconds after the warm-up", ylabel="servable after, seconds", ylim=(0, None))
    left.set_title(f"{load.rate:,.0f} events/s of {load.users:,} users")
    shown = np.sort(found.took[~np.isnan(found.took)])
    right.plot(shown, np.arange(1, len(shown) + 1) / len(shown))
    for share in (0.5, 0.99):
        age = np.quantile(shown, share)
        right.axvline(age, linestyle=":", color="grey")
        right.annotate(f"p{share * 100:.0f} {spell(age)}", (age, share), rotation=90, va="top", ha="right")
    right.set(xlabel="servable after, seconds", ylabel="share of events", xlim=(0, None))
    figure.savefig(file, dpi=120)
