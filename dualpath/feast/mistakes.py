"""What is wrong with a request that Feast failed on: its own errors are a bare `KeyError`, `IndexError` and the like.

Looked for only after a failure, so that a request in order pays nothing for it.
"""

from typing import Any

from feast import FeatureService, utils
from feast.errors import FeatureNameCollisionError

from dualpath.errors import DualpathError
from dualpath.feast.refusals import BadRequestError, NameCollisionError, NotFoundError, NotWholeError


def find(registry: Any, project: str, features: Any, failure: Exception) -> DualpathError | None:
    """The caller's mistake in the arguments of `get_online_features`; None if there is none to be seen."""
    if isinstance(failure, FeatureNameCollisionError):
        return NameCollisionError(" ".join(str(failure).split()))
    if not isinstance(features, FeatureService) and not (
        features and isinstance(features, list) and all(map(_is_ref, features))
    ):
        return BadRequestError(f"features is {features!r}; give a feature service, or a list of 'view:feature'.")
    try:
        utils._get_cached_request_context(registry, project, features, True)
    except KeyError as error:
        return NotFoundError(f"{error.args[0]}; correct the name, or `feast apply` what is new.")
    except ValueError as error:
        # A view that is not servable now is nobody's mistake.
        return (NotWholeError if "in state" in str(error) else BadRequestError)(str(error))
    return None


def _is_ref(feature: Any) -> bool:
    return isinstance(feature, str) and ":" in feature
