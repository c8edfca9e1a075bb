"""`/livez`: the process answers. `/readyz`: a read of every windowed view would be answered."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool
from feast import FeatureStore
from pydantic import BaseModel, Field

from dualpath.declare import view_of
from dualpath.errors import DualpathError
from dualpath.serving.errors import RETRY_SECONDS


class Check(BaseModel):
    """One thing that must be well."""

    name: str = Field(examples=["redis"])
    ok: bool
    message: str | None = Field(description="What is wrong.")


class Readiness(BaseModel):
    """Whether requests should be sent here."""

    ready: bool
    checks: list[Check] = Field(description="Registry, Redis and views, up to the first that fails.")


def router(store: FeatureStore) -> APIRouter:
    """The routes of probes."""
    routes = APIRouter(tags=["health"])
    online: Any = store._get_provider().online_store

    async def registry() -> None:
        await run_in_threadpool(store.registry.list_projects, allow_cache=True)

    async def redis() -> None:
        await online.ping(store.config)

    async def views() -> None:
        """Ask about nobody: that reads the manifests and the high-water marks, and refuses as any read does."""
        windowed = [view for view in map(view_of, store.list_feature_views(allow_cache=True)) if view]
        if windowed:
            features = [f"{view.name}:{view.features[0].name}" for view in windowed]
            nobody = {key: [None] for view in windowed for key in view.keys}
            await online.get_columns(store.config, features, nobody, store.registry, True)

    @routes.get("/livez")
    async def livez() -> dict[str, bool]:
        """The process answers; whoever restarts processes asks this."""
        return {"alive": True}

    @routes.get("/readyz", responses={503: {"model": Readiness, "description": "A read would be refused."}})
    async def readyz(response: Response) -> Readiness:
        """The registry can be read, Redis answers, and what it has of every windowed view is whole and not stale.

        With `when_stale: mark` stale values are served, so that staleness is no reason to be not ready.
        """
        checks = []
        for check in (registry, redis, views):
            message = None
            try:
                await check()
            except Exception as error:  # a probe says what is wrong, whatever it is
                message = error.message if isinstance(error, DualpathError) else f"{type(error).__name__}: {error}"
            checks.append(Check(name=check.__name__, ok=message is None, message=message))
            if message is not None:
                response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
                response.headers["Retry-After"] = str(RETRY_SECONDS)
                break
        return Readiness(ready=checks[-1].ok, checks=checks)

    return routes
