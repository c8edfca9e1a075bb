"""Loads the dimensions of a stream's source, and loads them again when their files change."""

import json
import logging
from pathlib import Path

from dualpath.errors import InputError
from dualpath.jobs.metrics import Meter
from dualpath.log.files import write_atomically
from dualpath.log.ledger import Entry
from dualpath.schema import EventSource
from dualpath.sources.dimensions import load, version
from dualpath.spark import lookups

logger = logging.getLogger(__name__)
IN_USE = "in-use.json"


class Dimensions:
    """The tables that a source looks fields up in; `folder` is where workers find them, `repo` where paths begin."""

    def __init__(self, repo: Path, source: EventSource, folder: Path, meter: Meter) -> None:
        self.repo, self.folder, self.meter = repo, folder, meter
        self.wanted = {lookup.dimension.name: lookup.dimension for lookup in source.lookups}
        self.declared = json.dumps([each.to_dict() for each in self.wanted.values()], sort_keys=True)
        self.tables: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        self.in_use = folder / IN_USE

    def load(self) -> None:
        """Load every table; raises `InputError` for one that cannot be."""
        for name in self.wanted:
            self.tables[name] = self.present(name, version(self.wanted[name], self.repo))

    def serve(self, entry: Entry) -> None:
        """Let a batch use the tables of now. One that is repeated uses those of its first attempt.

        While a table's present files are missing or broken, the last good one serves, and the log and a metric say so.
        """
        if not self.wanted:
            return
        used = lookups.in_use(self.in_use)
        batch = {"query": entry.query, "batch": entry.batch, "declared": self.declared}
        if batch == {name: used.get(name) for name in batch} and self.are_there(used["tables"]):
            return
        for name in self.wanted:
            self.refresh(name)
        write_atomically(self.in_use, json.dumps(batch | {"tables": self.tables}))
        for file in self.folder.glob("*.arrow"):
            if file.name not in self.tables.values():
                file.unlink()

    def are_there(self, tables: dict[str, str]) -> bool:
        """Whether the files of tables still exist."""
        return all((self.folder / file).exists() for file in tables.values())

    def refresh(self, name: str) -> None:
        """Load a table again if its files have changed; keep the last good one if they cannot be read."""
        now = ""
        try:
            now = version(self.wanted[name], self.repo)
            if self.broken.get(name) != now:
                self.tables[name] = self.present(name, now)
                self.broken.pop(name, None)
        except InputError as error:
            if self.broken.get(name) != now:
                logger.error("%s The last good table serves.", error.message)
            self.broken[name] = now
        self.meter.table_refused(name, refused=name in self.broken)

    def present(self, name: str, now: str) -> str:
        """The file with the table of a version, which is made if it is not there; raises `InputError`."""
        file = self.folder / f"{name}-{now}.arrow"
        if not file.exists():
            table = load(self.wanted[name], self.repo)
            if version(self.wanted[name], self.repo) != now:
                raise InputError(
                    f"dimension '{name}': its files changed while they were read; write beside, and rename."
                )
            lookups.save(table, file)
        return file.name
