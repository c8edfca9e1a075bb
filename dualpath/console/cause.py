"""The cause of an error, however many layers of Spark are around it."""

import errno
import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dualpath.errors import DualpathError, UnavailableError, carried
from dualpath.files import objects

TRACEBACK = re.compile(
    r"Traceback \(most recent call last\):\n(?P<frames>(?:[ \t].*\n)+)(?P<kind>[\w.]+)(?:: (?P<said>.*))?", re.MULTILINE
)
FRAME = re.compile(r'File "(?P<file>.+)", line (?P<line>\d+), in ')
THROWN = re.compile(r"^(?:Caused by: |: )(?P<kind>[\w.$]+): (?P<said>.*)$", re.MULTILINE)
OS_ERROR = re.compile(r"\[Errno (?P<number>\d+)\] [^:]+(?:: '(?P<path>.*)')?$")
PATH = re.compile(r"(?:file:)?(?P<path>/[^\s:;,()'\"]+)")

IN_THE_WAY = "something else stands where dualpath keeps its files; move it away"
ACCESS = "give the user who runs this the right to write there"
REMEDIES = {
    errno.ENOSPC: "free some of that disk, or move the data to a larger one",
    errno.EDQUOT: "free some of that disk, or have the quota raised",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.EACCES: ACCESS,
    errno.EPERM: ACCESS,
    errno.EROFS: ACCESS,
    errno.ENOTDIR: IN_THE_WAY,
    errno.EISDIR: IN_THE_WAY,
    errno.EEXIST: IN_THE_WAY,
    errno.ENOENT: "make it, or put it back if it was there before",
    errno.EIO: "the disk is failing; move the data to another one",
}
WORKERS = (
    (
        re.compile(r"PYTHON_VERSION_MISMATCH.*?(\d+\.\d+)\D.*?(\d+\.\d+)", re.DOTALL),
        "Spark's workers run Python {} and the driver {}; let PYSPARK_PYTHON name a Python of the driver's version "
        "that has dualpath installed, by the same path on every machine",
    ),
    (
        re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'"),
        "Spark's workers cannot import {}; install dualpath, with its dependencies, in the Python that PYSPARK_PYTHON "
        "names on every machine",
    ),
    (
        re.compile(r'Cannot run program "([^"]+)"'),
        "Spark's workers cannot start {}; let PYSPARK_PYTHON name a Python that has dualpath installed, by the same "
        "path on every machine",
    ),
    (
        re.compile(r"Cannot call methods on a stopped SparkContext"),
        "Spark's master has given the application up, or does not answer; correct SPARK_MASTER, or see the logs of the "
        "master and its workers",
    ),
    (
        re.compile(r"java\.lang\.OutOfMemoryError: ([^\n]+)"),
        "Spark has run out of memory ({}); give it more with DUALPATH_DRIVER_MEMORY, 4g for example",
    ),
)


DEFECT = "defect"
"""The code of an error that dualpath cannot explain."""


class MachineError(DualpathError):
    """A disk, a permission, the memory or the Python of a Spark worker stops the work."""

    code = "machine"


class FeastRefusalError(DualpathError):
    """Feast refuses a command."""

    code = "feast"


class Raised(NamedTuple):
    """A Python error: its class, its message and where it was raised."""

    kind: str
    said: str
    place: str


def explain(error: BaseException) -> DualpathError | None:
    """The error in the data, the settings or the machine behind an error; None if it is a defect of dualpath."""
    if isinstance(error, DualpathError):
        return error
    module = type(error).__module__
    if module.startswith("redis."):
        return UnavailableError(f"Redis cannot be used: {error}. Start it, or correct its address (DUALPATH_REDIS).")
    if module.startswith("feast.errors"):
        return FeastRefusalError(str(error))
    if said := objects.failure(error):
        return UnavailableError(said)
    if isinstance(error, OSError):
        return _machine(_of_the_system(error.errno, error.filename))
    if not _is_sparks(error):
        return None
    return carried(error) or _of_store(error) or _machine(_of_workers(error) or _of_files(error))


def defect(error: BaseException) -> str:
    """The message about an error that is a defect of dualpath."""
    found = (_innermost(error) or _of_the_jvm(error)) if _is_sparks(error) else None
    if found is None:
        last = traceback.extract_tb(error.__traceback__)[-1:]
        place = "".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in last)
        found = Raised(type(error).__name__, (str(error).strip().splitlines() or [""])[0], place)
    what = f"{found.kind}: {found.said}" if found.said else found.kind
    at = f" at {found.place}" if found.place else ""
    return f"{what}{at}; this is a defect of dualpath: report it with the traceback above."


def _machine(message: str | None) -> MachineError | None:
    return MachineError(message) if message else None


def _is_sparks(error: BaseException) -> bool:
    return type(error).__module__.startswith(("py4j", "pyspark"))


def _of_the_system(number: int | None, path: object) -> str | None:
    """The message about an error of the operating system."""
    if number not in REMEDIES:
        return None
    reason = os.strerror(number)
    return f"{f'{path}: {reason.lower()}' if path else reason}; {REMEDIES[number]}."


def _of_workers(error: BaseException) -> str | None:
    """The message about Spark workers that lack something they need."""
    texts = "\n".join(_layers(error))
    for pattern, said in WORKERS:
        if found := pattern.search(texts):
            return f"{said.format(*found.groups())}."
    return None


def _of_store(error: BaseException) -> DualpathError | None:
    """The error about an object store that a worker, a micro-batch or the JVM could not use."""
    if _innermost(error) and (said := objects.failure(OSError("\n".join(_layers(error))))):
        return UnavailableError(said)
    found = _of_the_jvm(error)
    if found and found.kind.startswith(("software.amazon.awssdk.", "org.apache.hadoop.fs.s3a.")):
        return UnavailableError(str(objects.failure(OSError(f"Generic S3 error: {found.said}"))))
    return None


def _of_files(error: BaseException) -> str | None:
    """The message about an error of the operating system in a worker, in a micro-batch, or in the JVM."""
    if found := _innermost(error):
        known = OS_ERROR.search(found.said)
        return _of_the_system(int(known["number"]), known["path"]) if known else None
    for text in _layers(error):
        for line in text.splitlines():
            for number in REMEDIES:
                if os.strerror(number).lower() in line.lower():
                    path = PATH.search(line)
                    return _of_the_system(number, path and path["path"])
    return None


def _innermost(error: BaseException) -> Raised | None:
    """The Python error that a Spark error quotes, without PySpark's own errors around it."""
    for text in _layers(error):
        own = [m for m in TRACEBACK.finditer(text) if not m["kind"].startswith(("py4j.", "pyspark."))]
        if own:
            *_, frame = FRAME.finditer(own[-1]["frames"])
            place = f"{Path(frame['file']).name}:{frame['line']}"
            return Raised(own[-1]["kind"].removeprefix("builtins."), own[-1]["said"] or "", place)
    return None


def _of_the_jvm(error: BaseException) -> Raised | None:
    """The first error of the JVM, which caused the others."""
    found = [(each["kind"], each["said"]) for text in _layers(error) for each in THROWN.finditer(text)]
    return Raised(*found[-1], place="") if found else None


def _layers(error: BaseException | None) -> Iterator[str]:
    """The text of an error, and of its causes in the JVM."""
    while error is not None:
        yield str(error)
        error = getattr(error, "_cause", None) or error.__cause__
