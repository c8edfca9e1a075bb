"""The audit of live traffic: derives every logged answer again from what it knew, and compares the bits.

The rows are those that `dualpath.feast.served_log` has written. Each has a token, so a training set with these tokens
must have the bits that were served. It does not matter how far the stream was then, or what has come since.
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import le
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from feast import FeatureService, FeatureView, FileSource, OnDemandFeatureView
from feast.feature_logging import LOG_TIMESTAMP_FIELD
from feast.infra.offline_stores.file_source import FileLoggingDestination

from dualpath.declare import own_features, view_of
from dualpath.errors import InputError
from dualpath.feast.served_log import declaration_column
from dualpath.instants import COLUMN, iso
from dualpath.kinds import INSTANT
from dualpath.known import named
from dualpath.offline.history import History, StaleWarning
from dualpath.parity.compare import Difference, differences
from dualpath.parts import parts
from dualpath.repo import Repo
from dualpath.view import View, digest

ROWS = 200_000
"""Rows that are derived at once."""
EXAMPLES = 20
"""Differing cells that are named."""


@dataclass(frozen=True)
class Audited:
    """The result for one feature of a service."""

    service: str
    feature: str
    cells: int
    differing: int


@dataclass(frozen=True)
class Cell:
    """A cell that differs: what was served, and what the same knowledge gives now.

    `known` is the token of its view, or of the first one that a derived feature has. `same_declaration` is False if
    the view was declared otherwise when it was served.
    """

    service: str
    feature: str
    keys: dict[str, Any]
    as_of: int
    known: str
    served: Any
    derived: Any
    same_declaration: bool


@dataclass(frozen=True)
class Audit:
    """What was compared.

    `rows` were logged. Of these `waiting` are of batches that the record files do not have yet, and `untold` have no
    token of some windowed view, so that they cannot be derived again.
    """

    rows: int
    waiting: int
    untold: int
    features: tuple[Audited, ...]
    cells: tuple[Cell, ...]

    @property
    def compared(self) -> int:
        """How many cells were compared."""
        return sum(each.cells for each in self.features)

    @property
    def differing(self) -> int:
        """How many of them differ."""
        return sum(each.differing for each in self.features)

    @property
    def passed(self) -> bool:
        """Whether something was compared, nothing differs, and no row hides what it knew."""
        return self.compared > 0 and not self.differing and not self.untold


class LoggedService:
    """A feature service whose answers are logged; `views` are its windowed views by their names in it."""

    def __init__(self, repo: Repo, service: FeatureService) -> None:
        self.repo, self.service = repo, service
        self.views: dict[str, View] = {}
        self.keys: dict[str, None] = {}
        self.columns: dict[str, str] = {}
        for projection in service.feature_view_projections:
            declared: Any = repo.store.registry.get_any_feature_view(projection.name, repo.project)
            own: set[str] = set()
            if isinstance(declared, OnDemandFeatureView):
                for request in declared.source_request_sources.values():
                    self.keys |= dict.fromkeys(field.name for field in request.schema)
            else:
                names = [column.name for column in declared.entity_columns]
                self.keys |= dict.fromkeys(projection.join_key_map.get(name, name) for name in names)
            if isinstance(declared, FeatureView) and (view := view_of(declared)):
                self.views[projection.name_to_use()] = view
                own = {*own_features(view)}
            for field in projection.features:
                if field.name not in own:
                    named = projection.name_to_use()
                    self.columns[f"{named}__{field.name}"] = f"{named}:{field.name}"

    @property
    def tokens(self) -> dict[str, str]:
        """The columns of tokens, by the views' names."""
        return {name: f"{name}__{view.known_feature}" for name, view in self.views.items()}

    def as_of(self, logged: pa.Table) -> pa.ChunkedArray:
        """The instant of each row, which all views share."""
        return logged[f"{next(iter(self.tokens.values()))}__timestamp"]

    @cached_property
    def folder(self) -> Path:
        """Where the answers are logged; raises `InputError` if that is no folder."""
        destination = self.service.logging_config and self.service.logging_config.destination
        if not isinstance(destination, FileLoggingDestination):
            raise InputError(
                f"feature service '{self.service.name}' logs to a {type(destination).__name__}; the audit reads files, "
                "so use a FileLoggingDestination."
            )
        return Path(FileSource.get_uri_for_file_path(self.repo.folder, destination.path))

    def batches(self, since: int) -> Iterator[pa.Table]:
        """What was logged since an instant, microseconds UTC."""
        found = [file.relative_to(self.folder) for file in self.folder.rglob("*.parquet")]
        # One under way is in a folder with a dot in front.
        files = sorted(str(self.folder / file) for file in found if not file.parts[0].startswith("."))
        if not files:
            return
        schema = pa.unify_schemas([pq.read_schema(file) for file in files], promote_options="permissive")
        wanted = pc.field(LOG_TIMESTAMP_FIELD) >= pa.scalar(since, INSTANT)
        rows = ds.dataset(files, schema=schema).to_table(filter=wanted)
        for start in range(0, len(rows), ROWS):
            yield rows.slice(start, ROWS)

    def derived(self, logged: pa.Table, known: Mapping[str, pa.ChunkedArray]) -> pa.Table:
        """The answers that logged rows get with the columns `known` of what they know: the logged `view__feature`."""
        rows = logged.select([name for name in self.keys if name in logged.column_names])
        for name, column in {COLUMN: self.as_of(logged), **known}.items():
            rows = rows.append_column(name, column)
        with warnings.catch_warnings(action="ignore"):  # Feast warns that the service is not as it was applied
            warnings.simplefilter("default", StaleWarning)
            job = self.repo.store.get_historical_features(rows, self.derivable, full_feature_names=True)
            table = job.to_arrow()
        return table.select([n for n in table.column_names if n in self.columns and n in logged.column_names])

    @cached_property
    def derivable(self) -> FeatureService:
        """The service without what does not follow from event logs: ordinary views, and what depends on them."""
        found = FeatureService(name=self.service.name, features=[])
        for projection in self.service.feature_view_projections:
            if projection.name_to_use() in self.views or self._follows(projection.name):
                found.feature_view_projections.append(projection)
        return found

    def _follows(self, name: str) -> bool:
        view = self.repo.store.registry.get_any_feature_view(name, self.repo.project)
        sources = view.source_feature_view_projections if isinstance(view, OnDemandFeatureView) else {}
        return bool(sources) and all(source.name_to_use() in self.views for source in sources.values())


def services(repo: Repo, name: str | None = None) -> list[LoggedService]:
    """The feature services whose answers are logged; raises `InputError` if there is none, or none of the name."""
    logging = [each for each in repo.store.list_feature_services() if each.logging_config]
    found = [LoggedService(repo, each) for each in logging if name in (None, each.name)]
    if not any(each.views for each in found):
        which = "no feature service of windowed views" if name is None else f"no feature service '{name}'"
        raise InputError(f"{repo.folder}: {which} has a logging_config; declare one and `feast apply` it.")
    return [each for each in found if each.views]


def audit(repo: Repo, since: int, name: str | None = None) -> Audit:
    """Derive again what services (by default all) have logged since an instant, microseconds UTC.

    Raises `InputError` if nothing was logged.
    """
    rows = waiting = untold = 0
    tally: dict[tuple[str, str], list[int]] = {}
    cells: list[Cell] = []
    for each in services(repo, name):
        for logged in each.batches(since):
            rows += len(logged)
            ready, late, silent = derivable_rows(each, logged)
            waiting, untold = waiting + late, untold + silent
            if len(ready):
                served, derived = _both(each, ready)
                wrong = differences(served, derived)
                for column in served:
                    counts = tally.setdefault((each.service.name, each.columns[column]), [0, 0])
                    counts[0] += len(ready)
                    counts[1] += sum(d.feature == column for d in wrong)
                cells += [_cell(each, ready, d) for d in wrong[: EXAMPLES - len(cells)]]
    if not rows:
        raise InputError(f"nothing was logged since {iso(since)}; ask a service that has a logging_config.")
    return Audit(rows, waiting, untold, tuple(Audited(*key, *n) for key, n in sorted(tally.items())), tuple(cells))


def derivable_rows(each: LoggedService, logged: pa.Table) -> tuple[pa.Table, int, int]:
    """The rows that can be derived; how many wait for record files; and how many do not say what they knew."""
    told, there = np.ones(len(logged), dtype=bool), np.ones(len(logged), dtype=bool)
    for name, column in each.tokens.items():
        if column not in logged.column_names:
            return logged.slice(0, 0), 0, len(logged)
        of_view, history = parts(each.views[name]), History(each.repo.root)
        complete = [history.complete(part) for part in of_view]
        sources = [part.source.name for part in of_view]
        tokens = logged[column].to_pylist()
        fences = {token: named(token, sources) for token in {*tokens}}
        told &= np.array([fences[token] is not None for token in tokens], dtype=bool)
        there &= np.array([all(map(le, fences[token] or (), complete)) for token in tokens], dtype=bool)
    return logged.filter(pa.array(told & there)), int((told & ~there).sum()), int((~told).sum())


def _both(each: LoggedService, logged: pa.Table) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """What was served and what is derived, by the columns `view__feature`."""
    table = each.derived(logged, {column: logged[column] for column in each.tokens.values()})
    served, derived = (
        {name: side[name].to_pylist(maps_as_pydicts="strict") for name in table.column_names}
        for side in (logged, table)
    )
    return served, derived


def _cell(each: LoggedService, logged: pa.Table, d: Difference) -> Cell:
    row = {name: column[0] for name, column in logged.slice(d.row, 1).to_pydict().items()}
    name, feature = each.columns[d.feature].split(":")
    of_view = [name] if name in each.views else [*each.views]
    return Cell(
        each.service.name,
        f"{name}:{feature}",
        {key: row[key] for key in each.keys if key in row},
        each.as_of(logged).cast(pa.int64())[d.row].as_py(),
        row[each.tokens[of_view[0]]],
        d.left,
        d.right,
        all(row[declaration_column(view)] == digest(each.views[view]) for view in of_view),
    )
