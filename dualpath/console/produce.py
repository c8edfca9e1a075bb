"""`produce`: the events of a file into a Kafka topic, for the stream to read."""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from dualpath.console.report import Report, bar
from dualpath.demo.replay import at_once, own, rate, replay
from dualpath.errors import InputError
from dualpath.plural import plural
from dualpath.repo import Repo
from dualpath.schema import EventSource

BAR_AFTER_SECONDS = 2.0
"""What takes no longer needs no progress bar."""


def produce(
    repo: Repo,
    source: EventSource,
    file: Path,
    topic: str,
    client: Mapping[str, str],
    *,
    per_second: float | None,
    speed: float | None,
) -> Report:
    """Send the lines of a file; as fast as Kafka takes them without a rate and a speed."""
    if per_second and speed:
        raise InputError("--rate and --speed exclude each other: pass events a second, or a factor of their own pace.")
    pace = rate(per_second) if per_second else own(source, speed) if speed else at_once
    began = time.monotonic()
    try:
        with file.open("rb") as lines:
            total = sum(1 for _ in lines)
            lines.seek(0)
            with bar() as step:

                def progress(sent: int) -> None:
                    if time.monotonic() - began > BAR_AFTER_SECONDS:
                        step(f"Sending to {topic}", sent, total)

                sent = replay(
                    lines, topic, source, key=entity(repo, source), client=client, pace=pace, progress=progress
                )
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); name a file of JSON lines.") from None
    seconds = time.monotonic() - began
    data = {"source": source.name, "topic": topic, "rows": sent, "seconds": round(seconds, 3)}
    return Report(data, [f"{plural(sent, 'message')} sent to {topic} in {seconds:.1f} s."])


def entity(repo: Repo, source: EventSource) -> tuple[str, ...]:
    """The join keys that most views of the source are about; they become the key of its messages."""
    [(keys, _)] = Counter(view.keys for view in repo.views_of(source.name)).most_common(1)
    return keys
