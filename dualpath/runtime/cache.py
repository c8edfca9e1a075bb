"""The folder of what can be made or fetched again: the Java wrapper, the class archive, Kafka's jars."""

from collections.abc import Mapping
from pathlib import Path


def folder(environ: Mapping[str, str]) -> Path:
    """The cache folder; it may not exist yet.

    >>> folder({"DUALPATH_CACHE": "/fast/disk"}).as_posix()
    '/fast/disk'
    >>> folder({"XDG_CACHE_HOME": "/caches"}).as_posix()
    '/caches/dualpath'
    """
    if chosen := environ.get("DUALPATH_CACHE"):
        return Path(chosen)
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dualpath"
