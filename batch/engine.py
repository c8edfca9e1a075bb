"""Feast's batch engine: `feast materialize` with no wrapper.

For a windowed view it publishes state; ordinary views go through Feast's local engine.
"""

from datetime import UTC, timedelta
from pathlib import Path
from typing import Any, Literal

from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.job import LocalMaterializationJob

from dualpath.declare import view_of
from dualpath.repo import Repo
from dualpath.stores import refusals


class DualpathComputeEngineConfig(LocalComputeEngineConfig):
    """`batch_engine: {type: batch.engine.DualpathComputeEngine}` in `feature_store.yaml`."""

    type: Literal["batch.engine.DualpathComputeEngine"] = "batch.engine.DualpathComputeEngine"  # type: ignore[assignment]


class DualpathComputeEngine(LocalComputeEngine):
    """Materialises a windowed view by publishing the snapshot of the last day that ends by the task's end.

    The task's start does not matter: state is whole, and its records know their times.
    """

    def _materialize_one(self, registry: Any, task: MaterializationTask, **kwargs: Any) -> LocalMaterializationJob:
        view = view_of(task.feature_view)
        if view is None:
            return super()._materialize_one(registry, task, **kwargs)
        from batch.nightly import materialize
        from dualpath.spark.session import session

        job = f"{view.name}-{task.end_time}"
        try:
            end = task.end_time if task.end_time.tzinfo else task.end_time.replace(tzinfo=UTC)
            day = end.astimezone(UTC).date() - timedelta(days=1)
            with refusals.translated():
                materialize(session("dualpath-materialize"), Repo(Path(self.repo_config.repo_path or ".")), [view], day)
        except Exception as error:
            return LocalMaterializationJob(job_id=job, status=MaterializationJobStatus.ERROR, error=error)
        return LocalMaterializationJob(job_id=job, status=MaterializationJobStatus.SUCCEEDED)
