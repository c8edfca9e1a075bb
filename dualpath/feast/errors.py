"""dualpath's errors as Feast's, so that `feast serve` and Feast's remote clients know what went wrong.

Each class of dualpath's errors that has a code has a twin here, of the same name, which is Feast's error as well.
Whoever catches `dualpath.errors.InputError` catches its twin, in the process that raised it and behind a remote client.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from feast import FeatureService, utils
from feast.errors import FeastError, FeatureNameCollisionError
from grpc import StatusCode

from dualpath import errors
from dualpath.files import objects
from dualpath.online.connection import FAILED

UNKNOWN = 500
"""The HTTP status of an error of which Feast does not say whose fault it is."""
STATUSES: dict[type[errors.DualpathError], tuple[int, StatusCode]] = {
    errors.NotFoundError: (404, StatusCode.NOT_FOUND),
    errors.InputError: (422, StatusCode.INVALID_ARGUMENT),
    errors.StateError: (503, StatusCode.FAILED_PRECONDITION),
    errors.UnavailableError: (503, StatusCode.UNAVAILABLE),
    errors.DualpathError: (UNKNOWN, StatusCode.INTERNAL),
}
"""The HTTP and gRPC statuses of an error: those of the first class here that it is an instance of."""


class TwinError(FeastError, errors.DualpathError):
    """The base of all twins."""

    @property
    def __overridden_message__(self) -> str:
        return self.message

    @__overridden_message__.setter
    def __overridden_message__(self, message: str) -> None:
        # Feast makes an error that came over the wire without its `__init__`, and then sets this.
        errors.DualpathError.__init__(self, message)

    def http_status_code(self) -> int:
        """What `feast serve` answers."""
        return statuses(type(self))[0]

    def grpc_status_code(self) -> StatusCode:
        """What a gRPC server answers."""
        return statuses(type(self))[1]

    def to_error_detail(self) -> str:
        """Feast's JSON with the code."""
        return json.dumps(json.loads(super().to_error_detail()) | {"code": self.code})


class NameCollisionError(TwinError, errors.InputError, FeatureNameCollisionError):
    """Two features that a request asks for would have the same name."""

    code = "name-collision"

    def __init__(self, message: str) -> None:
        errors.DualpathError.__init__(self, message)


def statuses(kind: type[errors.DualpathError]) -> tuple[int, StatusCode]:
    """The HTTP and gRPC statuses of a class of errors."""
    return next(found for known, found in STATUSES.items() if issubclass(kind, known))


@cache
def twin(code: str) -> type[errors.DualpathError]:
    """The twin of the class that has a code."""
    kind = errors.kinds()[code]
    return type(kind.__name__, (TwinError, kind), {"__module__": __name__, "__doc__": kind.__doc__})


def __getattr__(name: str) -> type[errors.DualpathError]:
    """The twin of that name. Feast looks here for the class of an error that came over the wire.

    So this module must not import a class of `dualpath.errors` by its own name.
    """
    for kind in errors.kinds().values():
        if kind.__name__ == name:
            return twin(kind.code)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def as_feast(error: errors.DualpathError) -> errors.DualpathError:
    """The twin of an error."""
    if isinstance(error, FeastError):
        return error
    return errors.restored(twin(error.code), error.message)


@contextmanager
def translated(
    where: Callable[[], str] = str, explain: Callable[[Exception], errors.DualpathError | None] = lambda _: None
) -> Iterator[None]:
    """Raise the twins of dualpath's errors and of a Redis client's.

    `where` names the Redis server; `explain` turns an error whose cause Feast does not say into one of dualpath's.
    """
    try:
        yield
    except errors.DualpathError as error:
        raise as_feast(error) from error
    except FAILED as error:
        message = (
            f"the online store cannot be used: Redis at {where()} says: {str(error).rstrip('.')}. Start it or fix "
            "online_store.connection_string."
        )
        raise as_feast(errors.UnavailableError(message)) from error
    except Exception as error:
        if said := objects.failure(error):
            raise as_feast(errors.UnavailableError(said)) from error
        known = isinstance(error, FeastError) and error.http_status_code() < UNKNOWN
        if not known and (found := explain(error)):
            raise as_feast(found) from error
        raise


def explain_request(registry: Any, project: str, features: Any, failure: Exception) -> errors.DualpathError | None:
    """The caller's mistake in the `features` of `get_online_features`; None if there is none.

    Feast fails on one with a bare `KeyError` or `IndexError`. A request is only looked at after it has failed.
    """
    if isinstance(failure, FeatureNameCollisionError):
        return NameCollisionError(" ".join(str(failure).split()))
    if not isinstance(features, FeatureService) and not (
        features and isinstance(features, list) and all(map(_is_ref, features))
    ):
        return errors.InputError(f"features is {features!r}; give a feature service, or a list of 'view:feature'.")
    try:
        utils._get_cached_request_context(registry, project, features, True)
    except KeyError as error:
        return errors.NotFoundError(f"{error.args[0]}; correct the name, or `feast apply` what is new.")
    except ValueError as error:
        # Feast has one bare error for both: a view that is being materialised is nobody's mistake.
        return (errors.StateError if "in state" in str(error) else errors.InputError)(str(error))
    return None


def _is_ref(feature: Any) -> bool:
    return isinstance(feature, str) and ":" in feature
