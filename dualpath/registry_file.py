"""Makes Feast's file registry atomic: it is written beside, and renamed.

Feast empties the file before it writes it, so a server that reads it at that moment, while somebody runs `feast apply`,
finds a registry without any view.
"""

import copy
import os

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry

_feasts_write = FileRegistryStore._write_registry


def _write_beside(store: FileRegistryStore, registry: Registry) -> None:
    """What Feast does, on a file that nobody reads yet."""
    beside = copy.copy(store)
    beside._filepath = store._filepath.with_name(f".{store._filepath.name}.{os.getpid()}")
    _feasts_write(beside, registry)
    beside._filepath.replace(store._filepath)


FileRegistryStore._write_registry = _write_beside  # type: ignore[method-assign, assignment]  # no hook
