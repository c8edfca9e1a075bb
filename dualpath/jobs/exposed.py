"""Serves metrics to Prometheus over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

from dualpath.errors import UnavailableError


@contextmanager
def exposed(registry: CollectorRegistry, port: int) -> Iterator[int]:
    """Serve the metrics over HTTP, on all addresses; answers the port, a free one for 0.

    Raises `UnavailableError` if the port is taken.
    """
    try:
        server, thread = start_http_server(port, registry=registry)
    except OSError as error:
        raise UnavailableError(
            f"the metrics cannot be served on port {port} ({error.strerror}); choose another."
        ) from None
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
