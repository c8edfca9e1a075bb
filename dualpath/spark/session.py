"""The Spark session every job, test and command shares, with the settings that equal answers depend on."""

import logging
import os
import re
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pyspark
from pyspark import SparkContext
from pyspark.sql import SparkSession

from dualpath.errors import UnavailableError
from dualpath.files.places import Place
from dualpath.runtime import cache, java
from dualpath.spark import gateway, object_store, workers

log = logging.getLogger(__name__)
TIME_ZONE = "spark.sql.session.timeZone"
LOCAL_MASTER = re.compile(r"local(\[.*\])?")
HUGE = "-XX:-DontCompileHugeMethods"
"""A parsed payload becomes one generated method of tens of kilobytes, which the JVM by default never compiles."""
JAVA_OPTIONS = "spark.driver.extraJavaOptions"
JARS = "spark.jars"

ALWAYS = {
    TIME_ZONE: "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.ui.showConsoleProgress": "false",
    # Files without checksums beside them: Hadoop cannot name that of a file with a colon in its name.
    "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    # It tells the JVM, for every column that is written down, in which line: half of all calls into it.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    # Those of the executors of a cluster; what the user sets stands in other options.
    "spark.executor.defaultJavaOptions": HUGE,
}

LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    # What is shuffled on one machine is read at once, from memory: a fifth of the stream's time went into packing it.
    "spark.shuffle.compress": "false",
    "spark.sql.shuffle.orderIndependentChecksum.enabled": "false",
    # Else each file of a read is looked up by a task of its own.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "16",
    # The default starts a shell for every checkpoint file; on a local disk that is a quarter of a batch.
    "spark.sql.streaming.checkpointFileManagerClass": object_store.CHECKPOINTS,
}


def session(
    app: str,
    *,
    cores: int | None = None,
    conf: Mapping[str, str] | None = None,
    data: Place | None = None,
    also: Place | None = None,
) -> SparkSession:
    """The Spark session of this process, started if there is none.

    The master is `spark.master` in `conf`, else the environment's SPARK_MASTER, else this machine with
    `cores` threads (all of them by default). Under `spark-submit` it is the one that was submitted to.
    DUALPATH_DRIVER_MEMORY sets the driver's heap ("2g"). `conf` wins over every setting but is not
    applied to a session that is already active. `data` is where events and records are kept, and `also` what else is
    read.

    Raises:
        UnavailableError: no Java runs Spark, or a session is active in another time zone than UTC, or without what
            reads `data` and `also`, or workers of a cluster do not see the folder `data`.
    """
    if SparkContext._active_spark_context is not None:
        return _reuse(data, also)
    chosen = _with_jars(object_store.settings(data, also, os.environ), dict(conf or {}))
    settings = ALWAYS | ({} if _submitted() else _launch(cores or os.cpu_count() or 1, chosen)) | chosen
    # They print every exception that is raised anyway, with the JVM's whole stack in one line of JSON.
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    builder = SparkSession.builder.appName(app)
    for key, value in settings.items():
        builder = builder.config(key, value)
    started = builder.getOrCreate()
    gateway.remember(started)
    workers.require(started, data)
    return started


def known_master(conf: Mapping[str, str] | None = None) -> str:
    """The master of the session that is active, or that `session` would start; empty: spark-submit alone knows."""
    if (active := SparkContext._active_spark_context) is not None:
        return str(active.master)
    if _submitted():
        return ""
    return _named_master(conf or {}) or "local"


def shuffle_partitions(spark: SparkSession) -> int:
    """Into how many partitions the session shuffles."""
    return int(str(spark.conf.get("spark.sql.shuffle.partitions")))


def class_archive(runtime: java.Java) -> Path:
    """Where the loaded classes of this Java and this Spark are kept, if `dualpath.spark.archive` was run.

    The name changes with everything that would make the JVM refuse the file.
    """
    jars = Path(pyspark.__file__).parent / "jars"
    key = f"{runtime.home} {runtime.version} {pyspark.__version__} {jars} {jars.stat().st_mtime_ns}"
    return cache.folder(os.environ) / f"spark-{sha256(key.encode()).hexdigest()[:12]}.jsa"


def _with_jars(settings: dict[str, str], chosen: dict[str, str]) -> dict[str, str]:
    """Settings, and those that win over them; the jars of both."""
    jars = [each[JARS] for each in (settings, chosen) if each.get(JARS)]
    return settings | chosen | ({JARS: ",".join(jars)} if jars else {})


def _reuse(data: Place | None, also: Place | None) -> SparkSession:
    active = SparkSession.builder.getOrCreate()
    zone = active.conf.get(TIME_ZONE)
    if zone not in ("UTC", "Etc/UTC"):
        raise UnavailableError(
            f"A Spark session is already active in the time zone {zone}, which would shift every instant. "
            f"Stop it, or set {TIME_ZONE} to UTC before calling dualpath."
        )
    gateway.remember(active)
    object_store.require(active, data)
    object_store.require(active, also)
    workers.require(active, data)
    return active


def _submitted() -> bool:
    """Whether spark-submit runs this process: then it has started the JVM."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _named_master(conf: Mapping[str, str]) -> str | None:
    return conf.get("spark.master") or os.environ.get("SPARK_MASTER")


def _launch(cores: int, chosen: dict[str, str]) -> dict[str, str]:
    """Settings that only count before the JVM starts; joins the caller's Java options with ours."""
    runtime = java.find(os.environ)
    if runtime.instead:
        log.warning("%s; using the Java %s in %s", runtime.instead, runtime.version, runtime.home)
    os.environ["JAVA_HOME"] = str(runtime.home)
    master = _named_master(chosen) or f"local[{cores},4]"
    messages, extra = Path(__file__).with_name("log4j2.properties"), chosen.pop(JAVA_OPTIONS, "")
    options = [f'"-Dlog4j2.configurationFile={messages.as_uri()}"', HUGE]
    here = LOCAL_MASTER.fullmatch(master)
    if here and "GC" not in extra:
        options.append("-XX:+UseParallelGC")  # a parsed row is garbage at once, which the default is slower to take
    if (archive := class_archive(runtime)).exists():
        options.append(f'"-XX:SharedArchiveFile={archive}"')
    if extra:
        options.append(extra)

    launch = {
        "spark.master": master,
        "spark.driver.memory": os.environ.get("DUALPATH_DRIVER_MEMORY", "2g"),
        JAVA_OPTIONS: " ".join(options),
    }
    if not here:
        return launch
    # Workers must be the interpreter that has the packages; on a cluster the image decides.
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    return launch | LOCAL | {"spark.sql.shuffle.partitions": str(cores)}
