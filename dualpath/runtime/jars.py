"""The jars that Kafka and S3 need beside pyspark's own: named in `ivy.xml`, fetched once by the Ivy that pyspark ships.

There are three sets: `spark`, the four jars of Spark's Kafka connector, `broker`, a Kafka broker, and `s3`, Hadoop's
client of S3.
"""

import re
import shutil
import subprocess
from collections.abc import Mapping
from hashlib import sha256
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from dualpath.errors import UnavailableError
from dualpath.files.locks import locked
from dualpath.runtime import cache, java

IVY = Path(__file__).with_name("ivy.xml")
SETTINGS = "DUALPATH_IVY_SETTINGS"
CONNECTOR = "spark-sql-kafka-0-10_2.13"
FETCH_TIMEOUT_SECONDS = 240.0  # sixty megabytes over a slow line
COMPLAINT = re.compile(r"UNRESOLVED|not found|FAILED|ERROR|Exception|server access", re.IGNORECASE)


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings of a Spark session that reads Kafka; fetches the connector if it is not there yet.

    They count only for a session that is started with them.

    Raises:
        UnavailableError: the connector cannot be fetched, or is not of pyspark's version.
    """
    agree(version(), metadata.version("pyspark"))
    return {"spark.jars": ",".join(map(str, fetch("spark", environ)))}


def agree(connector: str, spark: str) -> None:
    """Raise `UnavailableError` unless the Kafka connector has Spark's version: another one fails in mid-stream.

    >>> agree("4.2.0", "4.2.0")
    """
    if connector != spark:
        raise UnavailableError(
            f"The Kafka connector is of version {connector} but Spark is {spark}, and the two must be equal; "
            f"use {CONNECTOR} of version {spark}, which {IVY} names for dualpath's own sessions."
        )


def version() -> str:
    """The connector's version in `ivy.xml`.

    >>> version().count(".")
    2
    """
    [found] = ElementTree.parse(IVY).findall(f".//dependency[@name='{CONNECTOR}']")
    return found.attrib["rev"]


def fetch(conf: str, environ: Mapping[str, str]) -> list[Path]:
    """The jars of a set, "spark", "broker" or "s3", fetched if they are not there.

    Ivy asks the repository that it knows by itself, or those of the Ivy settings file that DUALPATH_IVY_SETTINGS
    names; its Java takes a proxy or a store of certificates from JAVA_TOOL_OPTIONS.

    Raises:
        UnavailableError: they cannot be fetched; says where they may be put by hand.
    """
    if jars := found(conf, environ):
        return jars
    with locked(cache.folder(environ) / "jars.lock"):
        # Another process may have fetched them meanwhile.
        return found(conf, environ) or _retrieve(conf, environ)


def found(conf: str, environ: Mapping[str, str]) -> list[Path]:
    """The jars of a set that are there already; all of them or none."""
    return sorted(folder(conf, environ).glob("*.jar"))


def folder(conf: str, environ: Mapping[str, str]) -> Path:
    """Where a set is kept; named after what `ivy.xml` says, so a change of it fetches anew."""
    return cache.folder(environ) / f"jars-{conf}-{sha256(IVY.read_bytes()).hexdigest()[:12]}"


def spark_jars() -> Path:
    """The folder of pyspark's own jars, found without importing pyspark."""
    spec = find_spec("pyspark")
    assert spec and spec.origin, "the extra spark is installed"
    return Path(spec.origin).parent / "jars"


def _retrieve(conf: str, environ: Mapping[str, str]) -> list[Path]:
    place = folder(conf, environ)
    part = place.with_name(f"{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    own = ["-settings", chosen] if (chosen := environ.get(SETTINGS)) else []
    ivy = next(spark_jars().glob("ivy-*.jar"))
    pattern = str(part / "[artifact]-[revision](-[classifier]).[ext]")
    program = [str(java.find(environ).executable), "-jar", str(ivy), *own]
    command = [*program, "-ivy", str(IVY), "-confs", conf, "-retrieve", pattern]
    try:
        ran = subprocess.run(command, env=dict(environ), capture_output=True, text=True, timeout=FETCH_TIMEOUT_SECONDS)
        said = [] if ran.returncode == 0 else (ran.stdout + ran.stderr).splitlines()
    except subprocess.TimeoutExpired:
        said = [f"ERROR: no end after {FETCH_TIMEOUT_SECONDS:.0f} s"]
    if said or not part.exists():
        complaints = [line.strip(" :\t") for line in said if COMPLAINT.search(line)] or said[-3:]
        why = "; ".join(dict.fromkeys(complaints[-3:])) or "Ivy retrieved nothing"
        raise UnavailableError(
            f"The jars of '{conf}' cannot be fetched ({why}). Let Java reach a Maven repository "
            f"(JAVA_TOOL_OPTIONS for a proxy, {SETTINGS} for an Ivy settings file of your own), "
            f"or put the jars that {IVY} names into {place}."
        )
    part.replace(place)  # a rename: the set is there as a whole or not at all
    return found(conf, environ)
