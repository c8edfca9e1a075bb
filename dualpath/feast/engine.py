"""Feast's batch engine: `feast materialize` with no wrapper.

The night of its source publishes a windowed view. Feast's local engine materialises ordinary views.
"""

from datetime import UTC, timedelta
from pathlib import Path
from typing import Any, Literal

from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.job import LocalMaterializationJob

from dualpath import extras
from dualpath.declare import view_of
from dualpath.errors import carried
from dualpath.feast.errors import translated
from dualpath.parts import parts
from dualpath.repo import Repo


class DualpathComputeEngineConfig(LocalComputeEngineConfig):
    """`batch_engine: {type: dualpath.feast.engine.DualpathComputeEngine}` in `feature_store.yaml`."""

    type: Literal["dualpath.feast.engine.DualpathComputeEngine"] = "dualpath.feast.engine.DualpathComputeEngine"  # type: ignore[assignment]


class DualpathComputeEngine(LocalComputeEngine):
    """Materialises a windowed view by running the night of the last day that ends by the task's end, with its gate: of
    each of its sources.

    The task's start does not matter, because a snapshot has all events up to its day. A night publishes all views of a
    source, so the tasks of the other views find their work done.
    """

    def _materialize_one(self, registry: Any, task: MaterializationTask, **kwargs: Any) -> LocalMaterializationJob:
        view = view_of(task.feature_view)
        if view is None:
            return super()._materialize_one(registry, task, **kwargs)
        repo, end = Repo(Path(self.repo_config.repo_path or ".")), task.end_time
        day = (end if end.tzinfo else end.replace(tzinfo=UTC)).astimezone(UTC).date() - timedelta(days=1)
        job = f"{view.name}-{day}"
        try:
            with translated(explain=carried):
                extras.require("gate")
                from dualpath.jobs.nightly import nightly
                from dualpath.jobs.publish import is_published
                from dualpath.jobs.session import session_of

                for part in parts(view):
                    if not is_published(repo, part, day):
                        nightly(session_of(repo, "dualpath-materialize"), repo, part.source, day)
        except Exception as error:
            return LocalMaterializationJob(job_id=job, status=MaterializationJobStatus.ERROR, error=error)
        return LocalMaterializationJob(job_id=job, status=MaterializationJobStatus.SUCCEEDED)
