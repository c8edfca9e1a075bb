"""dualpath's errors as Feast's, so that `feast serve` and Feast's remote clients know whose mistake it was.

A caller's mistake is a 422, or a 404 if what was asked for does not exist; what the online store cannot answer now is
a 503. Each class is also dualpath's own: who catches `dualpath.errors.InputError` catches it, in the process that
raised it and behind a remote client.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from feast.errors import FeastError, FeatureNameCollisionError
from grpc import StatusCode

from dualpath.errors import DualpathError, InputError, StateError, UnavailableError
from dualpath.online.connection import FAILED

UNKNOWN = 500
"""The status of an error of which Feast does not say whose fault it is."""


class _SpokenError(FeastError, DualpathError):
    """Feast makes an error that came over the wire without its `__init__`, and then sets what it says."""

    http, grpc = UNKNOWN, StatusCode.INTERNAL

    @property
    def __overridden_message__(self) -> str:
        return self.message

    @__overridden_message__.setter
    def __overridden_message__(self, said: str) -> None:
        DualpathError.__init__(self, said)

    def http_status_code(self) -> int:
        """What `feast serve` answers."""
        return self.http

    def grpc_status_code(self) -> StatusCode:
        """What a gRPC server answers."""
        return self.grpc


class BadRequestError(_SpokenError, InputError):
    """A request that cannot be used."""

    http, grpc = 422, StatusCode.INVALID_ARGUMENT


class NameCollisionError(BadRequestError, FeatureNameCollisionError):
    """A request for two features whose columns would have one name."""

    def __init__(self, message: str) -> None:
        DualpathError.__init__(self, message)


class NotFoundError(_SpokenError, InputError):
    """A request for something that the registry does not have."""

    http, grpc = 404, StatusCode.NOT_FOUND


class NotWholeError(_SpokenError, StateError):
    """State that cannot be read now."""

    http, grpc = 503, StatusCode.FAILED_PRECONDITION


class UnreachableError(_SpokenError, UnavailableError):
    """A service that does not answer."""

    http, grpc = 503, StatusCode.UNAVAILABLE


class RefusedError(_SpokenError):
    """Any other of dualpath's errors."""


KINDS = {
    InputError: BadRequestError,
    StateError: NotWholeError,
    UnavailableError: UnreachableError,
    DualpathError: RefusedError,
}


def spoken(error: DualpathError) -> DualpathError:
    """An error of dualpath's as the class that is Feast's too."""
    if isinstance(error, FeastError):
        return error
    return next(kind for cause, kind in KINDS.items() if isinstance(error, cause))(error.message)


@contextmanager
def translated(
    where: Callable[[], str] = str, mistake: Callable[[Exception], DualpathError | None] = lambda _: None
) -> Iterator[None]:
    """Raise dualpath's errors, and those of a Redis client, as Feast's.

    `where` says which Redis it is; `mistake` what the caller did wrong, if anything, where Feast says something else.
    """
    try:
        yield
    except DualpathError as error:
        raise spoken(error) from error
    except FAILED as error:
        raise UnreachableError(
            f"the online store cannot be used: Redis at {where()} says: {str(error).rstrip('.')}. Start it or fix "
            "online_store.connection_string."
        ) from error
    except Exception as error:
        known = isinstance(error, FeastError) and error.http_status_code() < UNKNOWN
        if not known and (found := mistake(error)):
            raise found from error
        raise
