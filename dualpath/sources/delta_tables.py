"""A dimension's table in a Delta table, whose versions are read whole."""

from functools import partial
from pathlib import Path

from dualpath.dimension import Dimension
from dualpath.sources import delta
from dualpath.sources.files import members
from dualpath.sources.tables import State, as_source, named, naming, parsed
from dualpath.versions import Versions


def state(dimension: Dimension, folder: Path) -> State:
    """The newest version of the Delta table in `folder`, by its number; another table in its place has another id.

    Raises `InputError` if there is none that can be read.
    """
    with naming(dimension):
        table = delta.opened(folder)

    def read(known: Versions | None) -> Versions:
        what = f"{folder}, version {table.version()}"
        with naming(dimension):
            lines = delta.rows(table, what, partial(members, source=as_source(dimension), what=what))
            return Versions.of(dimension, [(what, parsed(lines))])

    return State(named(dimension, [str(table.metadata().id), table.version()]), read)
