"""Every aggregate, one per file, discovered by being there."""

import importlib
import pkgutil

from dualpath.aggregates.base import Aggregate
from dualpath.signature import declares

for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")

for _aggregate in Aggregate.registry.values():
    declares(_aggregate)
globals().update(Aggregate.registry)
__all__ = ["Aggregate", *Aggregate.registry]
