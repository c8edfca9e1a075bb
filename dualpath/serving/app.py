"""The application: routers over one feature store, behind keys, limits and one form of errors."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import metadata
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from feast import FeatureStore

from dualpath.serving import errors, features, health, live, routes
from dualpath.serving.access import Access
from dualpath.serving.metrics import Measured, Metrics
from dualpath.serving.service import Service
from dualpath.serving.settings import Settings


def create_app(
    settings: Settings,
    store: FeatureStore,
    *,
    metrics: Metrics | None = None,
    service: Service | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """The application that serves a feature store, and decides if there is a `service` for it.

    `metrics` are those that the service counts in too; `clock` gives the seconds by which rates are limited.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if service:
            await service.start()
        yield
        if service:
            await service.close()
        online: Any = store._get_provider().online_store
        await online.close()

    app = FastAPI(
        title="dualpath",
        summary="Features whose served and training values are the same bits.",
        version=metadata.version("dualpath"),
        lifespan=lifespan,
        redoc_url=None,
    )
    metrics = metrics or Metrics()
    errors.add(app)
    app.include_router(features.router(store))
    app.include_router(health.router(store))
    if service:
        app.include_router(routes.router(service))
        app.include_router(live.router(service))
        app.mount("/page", live.files(), name="page")
    app.include_router(metrics.router())
    # The last one is asked first: a browser sees refusals, and every answer is counted.
    app.add_middleware(Access, settings=settings, clock=clock)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )
    app.add_middleware(Measured, metrics=metrics)
    return app
