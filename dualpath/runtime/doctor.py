"""Checks what dualpath needs from the machine, without changing anything."""

import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from dualpath import extras
from dualpath.errors import DualpathError, UnavailableError
from dualpath.files import checkpoint_place, objects
from dualpath.files.objects import ObjectPath
from dualpath.files.places import Place
from dualpath.runtime import jars, java
from dualpath.runtime.redis import ANSWER_TIMEOUT_SECONDS, FOLDER, executable, running

REINSTALL = "Install dualpath again: with `make` in a checkout, else with pip."
DISK_NEEDED = 2 * 10**9  # bytes: the demo's log, its state and Spark's shuffle files


@dataclass(frozen=True)
class Finding:
    """The result of one check; `remedy` is empty where `ok`."""

    name: str
    ok: bool
    found: str
    where: str = ""
    remedy: str = ""


def examine(
    environ: Mapping[str, str],
    redis_address: str | None = None,
    folder: Path = Path(),
    redis_parameters: Mapping[str, Any] = MappingProxyType({}),
    data: Place | None = None,
    checkpoints: Place | None = None,
) -> list[Finding]:
    """Look at everything. `redis_address` is the configured "host:port", None for the embedded server, and
    `redis_parameters` are the client's (password, ssl, ...); `folder` is the repo, and `data` where data is kept, and
    `checkpoints` those of Spark, if they are elsewhere."""
    there = [extra for extra in extras.EXTRAS if not extras.lacking(extra)]
    return [
        examine_python(sys.version.split()[0], metadata.metadata("dualpath")["Requires-Python"]),
        *examine_packages(metadata.requires("dualpath") or [], _installed(), there),
        *examine_extras(there),
        *(examine_jobs(environ) if "spark" in there else []),
        examine_redis(redis_address, folder / FOLDER, **redis_parameters),
        examine_zones("America/New_York"),
        examine_disk(folder),
        *([] if data is None or isinstance(data, Path) else [examine_store(data)]),
        *([] if checkpoints is None else [examine_checkpoints(checkpoints)]),
    ]


def examine_python(version: str, wanted: str) -> Finding:
    """
    >>> examine_python("3.11.7", ">=3.11,<3.13").ok
    True
    """
    ok = version in SpecifierSet(wanted)
    return Finding("Python", ok, version, sys.executable, "" if ok else f"Use a Python {wanted}.")


def examine_packages(
    requirements: Iterable[str], installed: Mapping[str, str], there: Iterable[str] = ()
) -> list[Finding]:
    """One finding per requirement that names a range of versions; those of an extra count if it is `there`.

    >>> [finding] = examine_packages(["pandas<3", "rich"], {"pandas": "3.0.1"})
    >>> finding.ok, finding.found, finding.where
    (False, '3.0.1', 'wanted: <3')
    """
    findings = []
    for needed in map(Requirement, requirements):
        counts = needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *there))
        if needed.specifier and counts:
            version = installed.get(canonicalize_name(needed.name))
            ok = version is not None and version in needed.specifier
            wanted = f"wanted: {needed.specifier}"
            findings.append(Finding(needed.name, ok, version or "not installed", wanted, "" if ok else REINSTALL))
    return findings


def examine_extras(there: Sequence[str]) -> list[Finding]:
    """One finding per extra that is not `there`: serving does not need it.

    >>> [finding] = examine_extras(["spark", "kafka", "avro", "gate", "serving"])
    >>> finding.ok, finding.name, finding.where
    (True, 'dualpath[demo]', "pip install 'dualpath[demo]'")
    """
    absent = [extra for extra in extras.EXTRAS if extra not in there]
    return [Finding(f"dualpath[{name}]", True, "optional, not installed", extras.command(name)) for name in absent]


def examine_jobs(environ: Mapping[str, str]) -> list[Finding]:
    """What Spark needs."""
    version = metadata.version("pyspark")
    return [examine_java(environ), examine_spark(jars.spark_jars(), version), *examine_kafka(environ, version)]


def examine_java(environ: Mapping[str, str]) -> Finding:
    try:
        found = java.find(environ)
    except UnavailableError as error:
        return Finding("Java", False, "none", remedy=error.message)
    instead = f"; {found.instead}" if found.instead else ""
    return Finding("Java", True, f"{found.version} ({found.origin}{instead})", str(found.home))


def examine_spark(folder: Path, version: str) -> Finding:
    """Check Spark's own jars."""
    core = next(folder.glob("spark-core_*.jar"), None)
    found = _jar_version(core) if core else "none"
    return Finding("Spark jars", found == version, found, str(folder), "" if found == version else REINSTALL)


def examine_kafka(environ: Mapping[str, str], version: str) -> list[Finding]:
    """The jars that a stream from Kafka needs, and those of the demo's and the tests' broker; fetched when needed."""
    findings = []
    for name, conf in (("Kafka connector", "spark"), ("Kafka broker", "broker")):
        there, where = jars.found(conf, environ), str(jars.folder(conf, environ))
        found = f"{len(there)} jars" if there else "not fetched yet; the first command with --kafka fetches them"
        findings.append(Finding(name, True, found, where))
    try:
        jars.agree(jars.version(), version)
    except UnavailableError as error:
        findings[0] = Finding("Kafka connector", False, jars.version(), findings[0].where, error.message)
    return findings


def examine_redis(address: str | None, embedded: Path = FOLDER, **parameters: Any) -> Finding:
    """The configured server if it answers, a cluster's first node among them; or the embedded one, whose data is in the
    folder `embedded`: it need not run, but must answer if it does."""
    if address is None:
        try:
            program = executable()
        except UnavailableError as error:
            return Finding("Redis", False, "none", remedy=error.message)
        if shutil.which(program) is None:
            return Finding("Redis", False, "no embedded server", str(program), REINSTALL)
        try:
            running(embedded, ANSWER_TIMEOUT_SECONDS)
        except UnavailableError as error:
            return Finding("Redis", False, "the embedded server is silent", str(embedded), error.message)
        return Finding("Redis", True, "embedded server", str(program))
    host, _, port = address.rpartition(":")
    try:
        once = Retry(NoBackoff(), 0)
        seconds = ANSWER_TIMEOUT_SECONDS
        limits: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds, **parameters}
        with Redis(host, int(port), retry=once, **limits) as client:
            return Finding("Redis", True, client.info("server")["redis_version"], address)
    except (RedisError, ValueError) as error:
        remedy = "Start it, correct the address, or leave the address out to use the embedded server."
        return Finding("Redis", False, f"no answer: {error}", address, remedy)


def examine_zones(zone: str) -> Finding:
    """Calendar windows start at a named zone's midnight, so the names must be known."""
    try:
        ZoneInfo(zone)
    except ZoneInfoNotFoundError:
        return Finding("Time zones", False, f"{zone} is unknown", remedy="Install the package tzdata.")
    return Finding("Time zones", True, f"{zone} is known")


def examine_disk(folder: Path, needed: int = DISK_NEEDED) -> Finding:
    """Free space on the disk of `folder`, which need not exist yet; `needed` is in bytes."""
    there = next(place for place in [folder.resolve(), *folder.resolve().parents] if place.exists())
    free = shutil.disk_usage(there).free
    remedy = "" if free >= needed else f"Free {(needed - free) / 1e9:.1f} GB, or write to another disk."
    return Finding("Disk", free >= needed, f"{free / 1e9:.1f} GB free", str(there), remedy)


def examine_store(data: ObjectPath) -> Finding:
    """Put objects there, and see that conditions are kept."""
    return _tried(partial(objects.check, data), "Object store", data, "conditional puts", "it cannot be used")


def examine_checkpoints(place: Place) -> Finding:
    """Write there."""
    try_it = partial(checkpoint_place.require, place)
    return _tried(try_it, "Checkpoints", place, "can be written", "nothing can be written there")


def _tried(require: Callable[[], None], name: str, place: Place, can: str, cannot: str) -> Finding:
    """What is found of a place: `can`, or `cannot` if `require` raises an error, whose sentence is the remedy."""
    try:
        require()
    except DualpathError as error:
        return Finding(name, False, cannot, str(place), error.message)
    return Finding(name, True, can, str(place))


def _installed() -> dict[str, str]:
    return {canonicalize_name(package.name): package.version for package in metadata.distributions()}


def _jar_version(jar: Path) -> str:
    """
    >>> _jar_version(Path("spark-core_2.13-4.2.0.jar"))
    '4.2.0'
    """
    return re.sub(r".*-(\d[^-]*(?:-SNAPSHOT)?)\.jar$", r"\1", jar.name)
