"""The rows of a person in the logs of what feature services have served."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast import FeatureService, FeatureView
from feast.infra.offline_stores.file_source import FileLoggingDestination

from dualpath.erasure import files
from dualpath.erasure.keys import Keys
from dualpath.erasure.logged import Found
from dualpath.parity.audit import LoggedService
from dualpath.repo import Repo


class ServedRows:
    """Recognises a person's rows in the log of a feature service."""

    def __init__(self, repo: Repo, service: FeatureService, keys: Keys) -> None:
        self.folder = LoggedService(repo, service).folder
        self.keys: dict[str, pa.Array] = {}
        for projection in service.feature_view_projections:
            view = repo.store.registry.get_any_feature_view(projection.name, repo.project)
            for name in [c.name for c in view.entity_columns] if isinstance(view, FeatureView) else []:
                if name in keys:
                    self.keys[projection.join_key_map.get(name, name)] = pa.array(keys[name])

    def found(self) -> Found:
        """What there is."""
        counted = {file: pc.sum(self._mask(file)).as_py() or 0 for file in sorted(self.folder.rglob("*.parquet"))}
        return Found({file: rows for file, rows in counted.items() if rows})

    def remove(self, file: Path) -> None:
        """Rewrite a file without them."""
        files.keep_rows(file, pc.invert(self._mask(file)))

    def _mask(self, file: Path) -> pa.ChunkedArray:
        parquet = pq.ParquetFile(file)
        there = [name for name in self.keys if name in parquet.schema_arrow.names]
        rows = parquet.read(columns=there)
        mask = pa.chunked_array([pa.repeat(False, parquet.metadata.num_rows)])
        for name in there:
            mask = pc.or_(mask, pc.is_in(rows[name].cast(pa.string()), value_set=self.keys[name]))
        return mask


def logs(repo: Repo, keys: Keys) -> Iterator[ServedRows]:
    """Those of all services that log to files."""
    for service in repo.store.list_feature_services():
        if service.logging_config and isinstance(service.logging_config.destination, FileLoggingDestination):
            yield ServedRows(repo, service, keys)


def elsewhere(repo: Repo) -> list[str]:
    """The services that log to something else than files, which is out of reach."""
    logging = [(each.name, each.logging_config) for each in repo.store.list_feature_services()]
    return [n for n, how in logging if how and not isinstance(how.destination, FileLoggingDestination)]
