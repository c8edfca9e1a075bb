"""Parquet files, wherever they are."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq

from dualpath.files import objects
from dualpath.files.durable import written
from dualpath.files.places import Place, below, is_remote, is_seen


def write_rows(rows: pa.Table, file: Place) -> int:
    """A new Parquet file of the log, that outlives a power failure; answers its bytes."""
    with written(file) as stream:
        pq.write_table(rows, stream, store_decimal_as_integer=True, store_schema=False)
        return stream.tell()


def parquet(file: Place, **options: Any) -> pq.ParquetFile:
    """A Parquet file, opened."""
    if isinstance(file, Path):
        return pq.ParquetFile(file, **options)
    return pq.ParquetFile(file.path, filesystem=filesystem(str(file)), **options)


def dataset(paths: Sequence[str], schema: pa.Schema) -> ds.Dataset:
    """The rows of Parquet files, all in one store, with the columns of a schema."""
    if not paths or not is_remote(paths[0]):
        return ds.dataset([*paths], schema=schema, format="parquet")
    # One that is made in the usual way asks for every file first.
    return ds.FileSystemDataset(
        [ds.ParquetFileFormat().make_fragment(each.partition("://")[2], filesystem(each)) for each in paths],
        schema,
        ds.ParquetFileFormat(),
        filesystem(paths[0]),
    )


def hive(place: Place) -> ds.Dataset | None:
    """The Parquet file at a place, or those below it with the columns that folders `name=value` tell, as Spark reads
    them; None if there is none.

    Raises `pyarrow.ArrowException` for another file.
    """
    if isinstance(place, Path):
        store, root = pyarrow.fs.LocalFileSystem(), str(place)
    else:
        store, root = filesystem(str(place)), place.path
    if place.is_file():
        return ds.dataset(root, filesystem=store, format="parquet")
    paths = sorted(path for path in _paths(place, store, root) if is_seen(path.removeprefix(f"{root}/")))
    options = ds.FileSystemFactoryOptions(root, ds.HivePartitioning.discover())
    return ds.FileSystemDatasetFactory(store, paths, ds.ParquetFileFormat(), options).finish() if paths else None


def _paths(place: Place, store: pyarrow.fs.FileSystem, root: str) -> Iterator[str]:
    """The paths of all files below a place, in folders that are links, too."""
    if isinstance(place, Path):
        found = store.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))
        yield from (each.path for each in found if each.is_file)
    else:
        yield from (str(each).partition("://")[2] for each in below(place))


def filesystem(path: str) -> pyarrow.fs.FileSystem:
    """What Arrow reads a path of an object store with; it takes paths without a scheme."""
    return _arrow(objects.scheme(path))


class _Handler(pyarrow.fs.FSSpecHandler):
    """Opens an object at once. Arrow's own asks first whether it is there, and takes any error for a no: one whose
    credentials have expired would seem to be lost."""

    def open_input_file(self, path: str) -> pa.PythonFile:
        return pa.PythonFile(self.fs.open(path, mode="rb", size=self.fs.info(path)["size"]), mode="r")


@cache
def _arrow(scheme: str) -> pyarrow.fs.FileSystem:
    return pyarrow.fs.PyFileSystem(_Handler(objects.store_of(scheme)))
