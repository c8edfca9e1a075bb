"""A dimension's table in files, which are of any kind that `dualpath ingest` reads."""

from pathlib import Path

from dualpath.dimension import Dimension
from dualpath.errors import InputError
from dualpath.sources import delta
from dualpath.sources.delimited import PLAIN
from dualpath.sources.files import found, payloads
from dualpath.sources.tables import State, as_source, named, naming, parsed
from dualpath.versions import Versions


def state(dimension: Dimension, path: Path) -> State:
    """What the files that `path` means hold, by their names, sizes and times of modification.

    Raises `InputError` if there are none.
    """

    def held() -> list[tuple[str, int, int]]:
        try:
            # The log of a Delta table among the files changes with each version.
            stats = [(str(file), (delta.log(file) or file).stat()) for file in found([str(path)])]
        except OSError as error:
            raise InputError(f"{error.filename}: {error.strerror}.") from None
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]

    def read(known: Versions | None) -> Versions:
        with naming(dimension):
            parts = ((name, parsed(payloads(Path(name), as_source(dimension), PLAIN))) for name, *_ in present)
            made = Versions.of(dimension, parts)
            if held() != present:
                raise InputError("its files changed while they were read; write beside, and rename.")
            return made

    with naming(dimension):
        present = held()
    return State(named(dimension, present), read)
