"""Logs what was served: Feast's feature logging, for answers to a feature service that has a `logging_config`.

A read only puts its answer into a bounded queue. A thread of its own makes rows of it and writes them through the
offline store, as `FeatureStore.write_logged_features` does. The rows have Feast's columns, with instants in
microseconds: the `__timestamp` of a windowed view's features is the row's `as_of`. `VIEW__declaration` names the
declaration that a windowed view was served by.
"""

import atexit
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any
from uuid import uuid4

import pyarrow as pa
from feast import FeatureService, RepoConfig
from feast.feature_logging import (
    LOG_DATE_FIELD,
    LOG_TIMESTAMP_FIELD,
    REQUEST_ID_FIELD,
    FeatureServiceLoggingSource,
)
from feast.infra.offline_stores.offline_utils import get_offline_store_from_config

from dualpath.feast.derived import cast, plain
from dualpath.feast.response import Response
from dualpath.feast.selection import Selection
from dualpath.kinds import INSTANT
from dualpath.view import digest

logger = logging.getLogger(__name__)
QUEUED_ROWS = 50_000
"""Rows that wait at most; more are dropped, and counted."""
FILE_ROWS = 10_000
"""Rows from which on what waits is written at once."""
FILE_SECONDS = 5.0
"""How long rows wait for others that go into the same file."""


@dataclass(frozen=True)
class Served:
    """One answer to a feature service: `data` are the columns of request data, `at` the present, microseconds UTC."""

    config: RepoConfig
    registry: Any
    service: FeatureService
    selection: Selection
    response: Response
    data: Mapping[str, Sequence[Any]]
    at: int

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.response.proto.results[0].values)

    def table(self) -> pa.Table:
        """Its rows as they are logged."""
        table, proto = self.response.to_arrow(), self.response.proto
        names = logged_names(self.selection)
        columns: dict[str, pa.Array] = {}
        for name, vector in zip(proto.metadata.feature_names.val, proto.results, strict=True):
            logged = names.get(name, name)
            columns[logged] = table[name]
            if logged != name or name in names:
                times = [t.seconds * 1_000_000 + t.nanos // 1000 for t in vector.event_timestamps]
                columns[f"{logged}__timestamp"] = pa.array(times, pa.int64()).cast(INSTANT)
                columns[f"{logged}__status"] = pa.array(vector.statuses, pa.int32())
        types = {
            field.name: plain(field.dtype)
            for view in self.selection.derived
            for request in view.source_request_sources.values()
            for field in request.schema
        }
        for name, values in self.data.items():
            kind = types.get(name)
            columns.setdefault(name, pa.array(values) if kind is None else cast(values, kind))
        for each in self.selection.views:
            if each.compiled:
                columns[declaration_column(each.name)] = _all(digest(each.compiled.plan.view), self.rows)
        now = pa.scalar(self.at, pa.int64()).cast(INSTANT)
        columns[LOG_TIMESTAMP_FIELD] = _all(now, self.rows)
        columns[LOG_DATE_FIELD] = _all(now.cast(pa.date32()), self.rows)
        columns[REQUEST_ID_FIELD] = _all(uuid4().hex, self.rows)
        return pa.table(columns)


def logged_names(selection: Selection) -> dict[str, str]:
    """The features' names in the log, `view__feature`, by their names in the answer."""
    found = {each.prefix + name: f"{each.name}__{name}" for each in selection.views for name in each.features}
    for view in selection.derived:
        name = view.projection.name_to_use()
        for feature in view.features:
            full = f"{name}__{feature.name}"
            found |= {n: full for n in (feature.name, full) if n in selection.places}
    return found


def declaration_column(view: str) -> str:
    """The column that names the declaration by which a view was served."""
    return f"{view}__declaration"


def _all(value: Any, rows: int) -> pa.Array:
    return pa.repeat(value, rows)


class ServedLog:
    """Takes answers from reads, and writes them in a thread of its own.

    `counts` says what became of the rows that were sampled: written, dropped because too many waited, or failed because
    they could not be written.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.sample = random.Random()
        self._changed = Condition()
        self._waiting: list[Served] = []
        self._rows = 0
        self._urgent = self._busy = False
        self._thread: Thread | None = None

    def wants(self, features: Any) -> bool:
        """Whether an answer to a request for `features` is to be logged: all of a service's, or a sample of them."""
        logging = getattr(features, "logging_config", None)
        return logging is not None and self.sample.random() < logging.sample_rate

    def offer(self, served: Served) -> None:
        """Take an answer, unless too many wait; never waits itself."""
        with self._changed:
            if self._rows + served.rows > QUEUED_ROWS or not self._runs():
                self.counts["dropped"] += served.rows
                return
            self._waiting.append(served)
            self._rows += served.rows
            self._changed.notify_all()

    def _runs(self) -> bool:
        """Whether the thread runs, which is started if it does not: a process that was forked has none."""
        if self._thread is not None and self._thread.is_alive():
            return True
        thread = Thread(target=self._run, name="dualpath-served-log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the process ends, or has too many threads; a read goes on
            return False
        self._thread = thread
        atexit.register(self.flush)
        return True

    def flush(self) -> None:
        """Write everything that waits, and return when it is written."""
        with self._changed:
            if self._thread is None or not self._thread.is_alive():
                return
            self._urgent = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and not self._busy)
            self._urgent = False

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                self._changed.wait_for(lambda: self._urgent or self._rows >= FILE_ROWS, FILE_SECONDS)
                taken, self._waiting, self._rows, self._busy = self._waiting, [], 0, True
            by_service = defaultdict(list)
            for each in taken:
                by_service[each.service.name].append(each)
            for group in by_service.values():
                self._write(group)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _write(self, group: Sequence[Served]) -> None:
        last, rows = group[-1], sum(each.rows for each in group)
        assert last.service.logging_config is not None, "others are not offered"
        try:
            table = pa.concat_tables([each.table() for each in group], promote_options="permissive")
            source = FeatureServiceLoggingSource(last.service, last.config.project)
            get_offline_store_from_config(last.config.offline_store).write_logged_features(
                last.config, table, source, last.service.logging_config, last.registry
            )
        except Exception:  # a full disk must not end the thread; reads go on whatever happens here
            self.counts["failed"] += rows
            logger.exception("%d served rows of '%s' could not be logged", rows, last.service.name)
        else:
            self.counts["written"] += rows
