"""Loads a dimension from what its table is: files, a Delta table, a Kafka topic."""

from pathlib import Path
from typing import TYPE_CHECKING

from dualpath.dimension import Dimension
from dualpath.errors import InputError
from dualpath.sources import delta, delta_tables, file_tables
from dualpath.sources.tables import State
from dualpath.versions import Versions

if TYPE_CHECKING:
    from dualpath.sources.topic_tables import Topics

HERE = Path()


def load(dimension: Dimension, folder: Path = HERE, topics: "Topics | None" = None) -> Versions:
    """The versions in a dimension's table; a path that is not absolute begins at `folder`, the repo's.

    A table has a column for each key, each field and each time of the dimension; a row of JSON may leave out a null.
    Raises `InputError` naming file and row for what `Versions.of` refuses, and for a file that cannot be read.

    >>> import tempfile
    >>> from dualpath.dimension import dimension
    >>> from dualpath.schema import text
    >>> brands = dimension("brands", path="brands.csv", keys=[text("sku")], fields=[text("brand")])
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "brands.csv").write_text("sku,brand,valid_from\\na1,Acme,2026-01-01T00:00:00Z\\n")
    >>> load(brands, folder).rows["brand"].to_pylist()
    ['Acme']
    """
    return state(dimension, folder, topics).read(None)


def state(dimension: Dimension, folder: Path = HERE, topics: "Topics | None" = None) -> State:
    """What a dimension's table holds now. `topics` are those of the Kafka that a topic is in.

    Raises `InputError` if there is no table, and `UnavailableError` if what it is in cannot be reached.
    """
    if dimension.path is None:
        if topics is None:
            raise InputError(
                f"dimension '{dimension.name}' is {dimension.where}, and nothing says where its Kafka is; read the "
                "events from there too, with `dualpath stream --kafka`, and pass a preview its rows."
            )
        return topics.state(dimension)
    path = folder / dimension.path
    return (delta_tables if delta.log(path) else file_tables).state(dimension, path)
