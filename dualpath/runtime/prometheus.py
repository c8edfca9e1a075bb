"""Registries of metrics, and their way to Prometheus over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, disable_created_metrics, start_http_server, values

from dualpath.errors import UnavailableError


def new_registry() -> CollectorRegistry:
    """A registry whose numbers begin at 0 with this process, and live in it."""
    # Feast, once imported, sets PROMETHEUS_MULTIPROC_DIR here and in child processes; with it numbers would live in
    # files by process id and, in a container, go on after a restart.
    values.ValueClass = values.MutexValue
    disable_created_metrics()  # the time at which each number began
    return CollectorRegistry()


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
