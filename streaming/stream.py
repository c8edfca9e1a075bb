"""The streaming path, for spark-submit: landed payloads become the event log and served state, each row exactly once.

    spark-submit streaming/stream.py --repo feature_repo --interval 1

`dualpath stream` does the same, and reads Kafka, serves metrics and rebuilds lost state as well.
"""

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from dualpath.jobs.session import session_of
from dualpath.jobs.stream import start
from dualpath.repo import Repo
from dualpath.sources.directory import Directory


def main(
    repo: Annotated[Path, typer.Option(help="The feature repo.")],
    interval: Annotated[float, typer.Option(min=0, help="Seconds between micro-batches.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="End when everything that is there is read.")] = False,
) -> None:
    """Per source: read, admit, and for each micro-batch deduplicate, log, serve."""
    opened = Repo(repo)
    with ExitStack() as alone:
        for source in opened.sources.values():
            alone.enter_context(opened.storage(source.name).alone())
        spark = session_of(opened, "dualpath-stream")
        every = None if once else timedelta(seconds=interval)
        for source in opened.sources.values():
            landing = Directory(opened.storage(source.name).folder("landing"))
            start(spark, opened, source, landing, interval=every)
        for query in spark.streams.active:
            query.awaitTermination()


if __name__ == "__main__":
    typer.run(main)
