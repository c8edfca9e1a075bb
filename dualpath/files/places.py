"""Places: paths of this machine, or of an object store, as `s3://bucket/folder`.

A `Path` and an `ObjectPath` have the same methods, so most code does not ask which one it has; what differs is here and
in `durable`. Key, region and endpoint of a store are those of the usual variables (`AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_...`).
"""

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from dualpath.errors import InputError
from dualpath.files import objects
from dualpath.files.objects import ObjectPath

Place: TypeAlias = Path | ObjectPath
Identity: TypeAlias = tuple[str, int]


def place(text: str, below: Path = Path()) -> Place:
    """The place that a text names; one without a scheme is a path below a folder.

    Raises `InputError` for a scheme that is none of `objects.SCHEMES`.

    >>> place("data", Path("/repo")).as_posix(), str(place("s3://bucket/data"))
    ('/repo/data', 's3://bucket/data')
    >>> place("ftp://host/data")
    Traceback (most recent call last):
    dualpath.errors.InputError: ftp://host/data: data can be in a folder, or at s3://, gs:// or abfss://.
    """
    if not is_remote(text):
        return below / text
    return objects.opened(text)


def local(folder: Place, what: str) -> Path:
    """A folder of this machine; raises `InputError`, which begins with `what` needs it, for one of an object store."""
    if not isinstance(folder, Path):
        raise InputError(f"{what} needs a folder of this machine, and data is kept at {folder}.")
    return folder


def is_remote(path: str) -> bool:
    """Whether a path is one of an object store."""
    return "://" in path


def read_text(file: Place) -> str:
    """The text of a small file; empty: there is none."""
    try:
        return file.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def size(file: Place) -> int:
    """Bytes of a file; -1: there is none."""
    try:
        return int(file.stat().st_size)
    except (FileNotFoundError, NotADirectoryError):
        return -1


def identity(file: Place) -> Identity | None:
    """What tells a file from another of the same name, and when it was written, nanoseconds; None: there is none."""
    try:
        found: Any = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if isinstance(file, Path):
        return str(found.st_ino), found.st_mtime_ns
    return str(found.as_info()["e_tag"]), int(found.st_mtime * 1e9)


def below(folder: Place) -> Iterator[Place]:
    """Every file below a folder, at any depth; none if there is no folder."""
    if isinstance(folder, Path):
        yield from (each for each in folder.rglob("*") if each.is_file())
    else:
        yield from folder.below()


def is_seen(path: str) -> bool:
    """Whether Spark reads a file of a folder, by its path from there: some names hide it, but those of partitions.

    >>> [is_seen(path) for path in ("a.parquet", "_SUCCESS", "day=3/.a.parquet", "_day=3/a.parquet")]
    [True, False, False, True]
    """
    return not any(name.startswith(".") or (name.startswith("_") and "=" not in name) for name in path.split("/"))


def sizes(folder: Place, paths: Collection[str]) -> list[int]:
    """Bytes of files by their paths below a folder; -1 where there is none. A store tells a thousand at once."""
    if isinstance(folder, Path):
        return [size(folder / each) for each in paths]
    there = {name: size for name, size, _ in folder.states()} if paths else {}
    return [there.get(each, -1) for each in paths]


def matching(folder: Place, pattern: str) -> list[Place]:
    """What a pattern of names finds in a folder, sorted."""
    if isinstance(folder, Path):
        return sorted(folder.glob(pattern))
    return sorted(folder.glob(pattern), key=str)


def relative(file: Place, folder: Place) -> str:
    """The path of a file below a folder, with slashes; raises `ValueError` if it is elsewhere."""
    if isinstance(file, Path) and isinstance(folder, Path):
        return file.relative_to(folder).as_posix()
    found = str(file).removeprefix(f"{str(folder).rstrip('/')}/")
    if found == str(file):
        raise ValueError(f"{file} is not below {folder}")
    return found


def remove(folder: Place, *, ignore_errors: bool = False) -> None:
    """Remove a folder with all that is in it, if there is one; with `ignore_errors`, as much as can be removed of one
    on a disk."""
    if not isinstance(folder, Path):
        folder.remove()
    elif ignore_errors or folder.exists():
        shutil.rmtree(folder, ignore_errors=ignore_errors)


def delta_options(folder: Place, environ: Mapping[str, str] = os.environ) -> dict[str, str] | None:
    """What delta-rs needs to know of a store besides the usual variables; None: nothing."""
    if isinstance(folder, Path):
        return None
    found = {"max_retries": str(objects.RETRIES["max_retries"]), "retry_timeout": "60s"}
    return found | ({"allow_http": "true"} if objects.without_tls(environ) else {})
