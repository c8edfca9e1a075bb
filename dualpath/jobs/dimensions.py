"""Loads the dimensions of a stream's source, and loads them again when their tables change."""

import json
import logging
from pathlib import Path

from dualpath.errors import InputError, UnavailableError
from dualpath.files.durable import write_atomically
from dualpath.files.places import Place, matching
from dualpath.jobs.metrics import Meter
from dualpath.log.accounts import Entry
from dualpath.schema import EventSource
from dualpath.sources.dimensions import state
from dualpath.sources.tables import State
from dualpath.sources.topic_tables import Topics
from dualpath.spark import lookups
from dualpath.versions import Versions

logger = logging.getLogger(__name__)
IN_USE = "in-use.json"


class Dimensions:
    """The tables that a source looks fields up in; `folder` is where workers find them, `repo` where paths begin, and
    `topics` are those of the Kafka that its events come from."""

    def __init__(
        self, repo: Path, source: EventSource, folder: Place, meter: Meter, topics: Topics | None = None
    ) -> None:
        self.repo, self.folder, self.meter, self.topics = repo, folder, meter, topics
        self.wanted = {lookup.dimension.name: lookup.dimension for lookup in source.lookups}
        self.declared = json.dumps([each.to_dict() for each in self.wanted.values()], sort_keys=True)
        self.tables: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        self.in_use = folder / IN_USE

    def load(self) -> None:
        """Load every table; raises `InputError` or `UnavailableError` for one that cannot be."""
        for name in self.wanted:
            self.tables[name] = self.made(name, self.state(name))

    def serve(self, entry: Entry) -> None:
        """Let a batch use the tables of now. One that is repeated uses those of its first attempt.

        While a table is missing, broken or out of reach, the last good one serves, and the log and a metric say so.
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
        for file in matching(self.folder, "*.arrow"):
            if file.name not in self.tables.values():
                file.unlink()

    def are_there(self, tables: dict[str, str]) -> bool:
        """Whether the files of tables still exist."""
        return all((self.folder / file).exists() for file in tables.values())

    def refresh(self, name: str) -> None:
        """Load a table again if it has changed; keep the last good one if it cannot be read."""
        now = ""
        try:
            state = self.state(name)
            now = state.name
            if self.broken.get(name) != now:
                self.tables[name] = self.made(name, state)
                self.broken.pop(name, None)
        except (InputError, UnavailableError) as error:
            # A state that is refused stays so; one that is out of reach is tried again.
            refused = now if isinstance(error, InputError) else ""
            if self.broken.get(name) != refused:
                logger.error("%s The last good table serves.", error.message)
            self.broken[name] = refused
        self.meter.table_refused(name, refused=name in self.broken)

    def state(self, name: str) -> State:
        """What a table holds now."""
        return state(self.wanted[name], self.repo, self.topics)

    def made(self, name: str, state: State) -> str:
        """The file with the table of a state, which is made if it is not there."""
        file = self.folder / f"{name}-{state.name}.arrow"
        if not file.exists():
            lookups.save(state.read(self.known(name)), file)
        return file.name

    def known(self, name: str) -> Versions | None:
        """The last good table, of this process or of the last batch before it; None if there is none."""
        last = lookups.in_use(self.in_use).get("tables", {}) | self.tables
        if name not in last or not (file := self.folder / last[name]).exists():
            return None
        return lookups.opened(file, self.wanted[name])
