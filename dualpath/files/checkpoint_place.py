"""The place of Spark's checkpoints, if it is not that of the data."""

import os
from pathlib import Path
from tempfile import TemporaryFile

from dualpath.errors import InputError
from dualpath.files import objects
from dualpath.files.objects import scheme
from dualpath.files.places import Place, place

SETTING = "offline_store.checkpoints"


def named(text: str, data: Place) -> Place:
    """The place that the setting names: a folder of this machine, or one in a store of the kind that has the data.

    Raises `InputError` for another one, and for a relative path, which each checkout of a repo takes for another one.

    >>> str(named("s3://quick/streams", place("s3://bucket/data")))
    's3://quick/streams'
    >>> named("checkpoints", place("s3://bucket/data"))
    Traceback (most recent call last):
    dualpath.errors.InputError: feature_store.yaml: offline_store.checkpoints is checkpoints; give an absolute path, \
as /var/lib/dualpath/checkpoints.
    """
    try:
        found = place(text)
    except InputError as error:
        raise InputError(f"feature_store.yaml: {SETTING} is {error.message}") from None
    if isinstance(found, Path):
        if not found.is_absolute():
            raise InputError(
                f"feature_store.yaml: {SETTING} is {text}; give an absolute path, as /var/lib/dualpath/checkpoints."
            )
    elif isinstance(data, Path) or scheme(text) != data.protocol:
        raise InputError(
            f"feature_store.yaml: {SETTING} is {text}, and data is kept at {data}; Spark reads one kind of store, so "
            f"keep both at {scheme(text)}://, or name a folder."
        )
    return found


def require(checkpoints: Place | None) -> None:
    """Raise `InputError` if the folder cannot be made or written to, `UnavailableError` if the store cannot be used."""
    if checkpoints is None:
        return
    if not isinstance(checkpoints, Path):
        objects.check(checkpoints)
        return
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=checkpoints):
            pass
    except OSError as error:
        raise InputError(
            f"{checkpoints}, which {SETTING} names, cannot be written to ({os.strerror(error.errno or 0).lower()}); "
            "name a folder that can."
        ) from None
