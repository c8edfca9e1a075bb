"""Lets this process, and those that it starts, reach an object store."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

from obstore.fsspec import FsspecStore

from dualpath.files import objects, parquet


@contextmanager
def reached(environ: Mapping[str, str]) -> Iterator[None]:
    """While this is entered, the variables are those of a store; clients that were made before are not used again."""
    with patch.dict(os.environ, environ):
        _forget()
        try:
            yield
        finally:
            _forget()


def _forget() -> None:
    objects.store_of.cache_clear()
    objects._bucket.cache_clear()
    parquet._arrow.cache_clear()
    FsspecStore.clear_instance_cache()
