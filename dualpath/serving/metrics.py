"""`/metrics`: what the application measures of itself, for Prometheus."""

import time
from collections.abc import Callable

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dualpath.runtime.prometheus import new_registry
from dualpath.serving.access import allowed

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
OTHER = "other"
"""The route of requests for paths that there are not; a label of their own would let callers make labels."""


class Metrics:
    """The numbers of one application, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = new_registry()
        self.requests = Counter("dualpath_serving_requests", "Requests", ("route", "status"), registry=self.registry)
        self.seconds = Histogram(
            "dualpath_serving_request_seconds",
            "Durations of requests",
            ("route",),
            registry=self.registry,
            buckets=BUCKETS,
        )

    def router(self) -> APIRouter:
        """The route of the numbers."""
        routes = APIRouter(dependencies=[allowed("admin")], tags=["health"])

        @routes.get("/metrics", response_class=Response)
        async def metrics() -> Response:
            """The numbers, in the text format of Prometheus."""
            return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

        return routes


class Measured:
    """Middleware that counts and times every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics, clock: Callable[[], float] = time.perf_counter) -> None:
        self.app, self.metrics, self.clock = app, metrics, clock

    async def __call__(self, asgi: Scope, receive: Receive, send: Send) -> None:
        if asgi["type"] != "http":
            await self.app(asgi, receive, send)
            return
        began, status = self.clock(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(asgi, receive, watched)
        finally:
            route = getattr(asgi.get("route"), "path", OTHER)
            self.metrics.requests.labels(route, status).inc()
            self.metrics.seconds.labels(route).observe(self.clock() - began)
