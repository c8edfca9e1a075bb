"""Every aggregate, one per file, discovered by being there."""

import importlib
import pkgutil

from dualpath.aggregates.base import Aggregate

for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")

globals().update(Aggregate.registry)
__all__ = ["Aggregate", *Aggregate.registry]
