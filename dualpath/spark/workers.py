"""What the workers of a cluster must reach beside Redis: the folder with data, if that is no object store."""

import re
import socket
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

from pyspark.sql import SparkSession

from dualpath.errors import UnavailableError
from dualpath.files.places import Place

_shared: set[tuple[str, Path]] = set()
"""The applications of Spark, and the folders that their workers see."""
ONE_MACHINE = re.compile(r"(local(-cluster)?(\[.*\])?)?")


def are_elsewhere(master: str) -> bool:
    """Whether workers may run on other machines than the driver.

    >>> [are_elsewhere(each) for each in ("local[2,4]", "local-cluster[1,1,1024]", "spark://a:7077", "yarn")]
    [False, False, True, True]
    """
    return not ONE_MACHINE.fullmatch(master)


def require(spark: SparkSession, data: Place | None) -> None:
    """Raise `UnavailableError` if data is in a folder that workers do not see.

    As many tasks as there are cores look for a file there, which is removed then: nobody else can tell a folder of this
    machine from one that all machines share. They are asked once.
    """
    context = spark.sparkContext
    if not isinstance(data, Path) or not are_elsewhere(str(context.master)):
        return
    if (asked := (str(context.applicationId), data.absolute())) in _shared:
        return
    data.mkdir(parents=True, exist_ok=True)
    tasks = context.defaultParallelism
    with NamedTemporaryFile(dir=data, prefix=".shared-") as marker:
        looking = context.parallelize(range(tasks), tasks).mapPartitions(partial(_missing, marker.name))
        lacking = sorted(set(looking.collect()))
    if lacking:
        raise UnavailableError(
            f"Spark's workers on {', '.join(lacking)} do not see {data}, where data is kept; let offline_store.path "
            "name an object store, as s3://bucket/folder, or a folder that all machines share."
        )
    _shared.add(asked)


def _missing(file: str, rows: object) -> list[str]:
    """The name of a worker's machine, unless a file is there."""
    return [] if Path(file).exists() else [socket.gethostname()]
