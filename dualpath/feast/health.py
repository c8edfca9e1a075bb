"""`/health` of `feast serve`, with Redis: stock Feast asks its registry alone, and answers 200 without Redis.

Feast's feature server has one hook: at its start, each worker calls `load_artifacts` of the repo's
`static_artifacts.py` with its application.
"""

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from feast import FeatureStore
from feast.errors import FeastError


def answer_truly(app: FastAPI, folder: Path) -> None:
    """Answer `/health` of a feature server on the repo in `folder`: 200, or 503 with the reason."""
    store = FeatureStore(str(folder))
    online: Any = store._get_provider().online_store

    async def health() -> Response:
        try:
            await run_in_threadpool(store.registry.list_projects, allow_cache=True)
            await online.ping(store.config)
        except FeastError as error:
            return JSONResponse(error.to_error_detail(), 503)
        except Exception as error:
            return JSONResponse(f"the registry cannot be read: {error}", 503)
        return Response()

    # Before Feast's own route, because the first that matches answers.
    app.router.routes.insert(0, APIRoute("/health", health))
