"""Record files: what training sets read. One part per view and epoch, published by replacing an index.

`records/{view}-{fingerprint}/{epoch}-{digest}/*.parquet` holds `entity` string and `words` list<int64>;
`records/.../index.json` says which part is current for each epoch, so a reader sees old or new, never half.
The dictionary of texts is kept the same way, under `records/dictionary/{source}/`, as `code` int64 and `text` string.
`records/published/{source}` holds the day of the snapshot that serving reads.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from dualpath.errors import StateError
from dualpath.files import write_atomically
from dualpath.record import layout, text_expressions
from dualpath.values import Dictionary
from dualpath.view import View

DICTIONARY = "dictionary"
RECORDS = pa.schema([("entity", pa.string()), ("words", pa.list_(pa.int64()))])
TEXTS = pa.schema([("code", pa.int64()), ("text", pa.string())])
FILTERED_BELOW = 5_000
"""Entities up to which a read asks Parquet for just them."""


def shelf(view: View) -> str:
    """The folder of a view's records; a changed declaration has another."""
    return f"{view.name}-{layout(view).fingerprint:08x}"


def dictionary_salt(source: str, views: Sequence[View]) -> str:
    """What the parts of a dictionary depend on besides the batches of the log: the texts that views ask for."""
    return " ".join([source, *text_expressions(views)])


@dataclass(frozen=True)
class History:
    """The record files under `root`."""

    root: Path

    def folder(self, name: str) -> Path:
        """The folder of a view's shelf or of the dictionary."""
        return self.root / "records" / name

    def index(self, name: str) -> dict[str, str]:
        """Current part of each epoch; the part of an epoch without records has no folder."""
        file = self.folder(name) / "index.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def publish(self, name: str, staged: Path, parts: Mapping[str, str]) -> None:
        """Make `staged/epoch=E/` the part `parts[E]` of each epoch E, then remove what is superseded."""
        folder, index = self.folder(name), self.index(name)
        folder.mkdir(parents=True, exist_ok=True)
        for epoch, part in parts.items():
            made = staged / f"epoch={epoch}"
            if made.exists():
                shutil.rmtree(folder / part, ignore_errors=True)
                made.rename(folder / part)
            index[epoch] = part
        write_atomically(folder / "index.json", json.dumps(dict(sorted(index.items())), indent=1))
        current = set(index.values())
        for old in folder.iterdir():
            if old.is_dir() and old.name not in current:
                shutil.rmtree(old)

    def stale(self, name: str, wanted: Iterable[str], digests: Mapping[str, str]) -> dict[str, str]:
        """Epochs whose current part was made from other batches, with the names their new parts get."""
        made_from = self.index(name)
        return {e: digests[e] for e in wanted if made_from.get(e) != digests[e]}

    def published(self, source: str) -> str:
        """The day of the last snapshot that was published of a source's views; empty: none."""
        file = self.folder("published") / source
        return file.read_text() if file.exists() else ""

    def note_published(self, source: str, day: str) -> None:
        """Note it here too, for a Redis that was lost cannot say; never back to an earlier day."""
        if day > self.published(source):
            write_atomically(self.folder("published") / source, day)

    def paths(self, name: str, through: str | None = None) -> list[str]:
        """Parquet files of every current part, of epochs up to `through`."""
        folder, index = self.folder(name), self.index(name)
        kept = [part for epoch, part in sorted(index.items()) if through is None or epoch <= through]
        return [str(f) for part in kept for f in sorted((folder / part).glob("*.parquet"))]

    def records(self, view: View, entities: pa.Array) -> pa.Table:
        """Records (`entity`, `words`) of the given distinct entities."""
        if not (self.folder(shelf(view)) / "index.json").exists():
            raise StateError(
                f"view '{view.name}' has no records for its present declaration; run `dualpath batch` first."
            )
        files = ds.dataset(self.paths(shelf(view)), schema=RECORDS, format="parquet")
        wanted = pc.field("entity").isin(entities) if len(entities) <= FILTERED_BELOW else None
        return files.to_table(filter=wanted)

    def dictionary(self) -> Dictionary:
        """All texts by code, of all sources."""
        paths = [
            p for folder in sorted(self.folder(DICTIONARY).iterdir()) for p in self.paths(f"{DICTIONARY}/{folder.name}")
        ]
        table = ds.dataset(paths, schema=TEXTS, format="parquet").to_table()
        return Dictionary.of(table["code"], table["text"])


def words_of(column: pa.ChunkedArray, width: int) -> np.ndarray:
    """Records int64[n, width] of a column of word lists; a writable copy only if Arrow has several chunks."""
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(lists, pa.ChunkedArray):
        lists = pa.concat_arrays(lists.chunks) if lists.num_chunks else pa.array([], RECORDS.field("words").type)
    return lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
