"""Spans of time in `feature_store.yaml`: seconds, or an ISO-8601 duration."""

from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dualpath.errors import InputError

LONGEST = timedelta(days=36_500)
READ = TypeAdapter(timedelta)


def duration(given: Any, name: str) -> timedelta | None:
    """A setting as a span; raises `InputError` unless it is one from 0 to a hundred years.

    >>> duration(90, "online_store.max_staleness"), duration("PT1M30S", "online_store.max_staleness")
    (datetime.timedelta(seconds=90), datetime.timedelta(seconds=90))
    >>> duration(-1, "offline_store.known_lag")
    Traceback (most recent call last):
    dualpath.errors.InputError: feature_store.yaml: offline_store.known_lag is -1; give seconds, 0 or more, or an \
ISO-8601 duration like PT30S.
    """
    if given is None:
        return None
    try:
        found = None if isinstance(given, bool) else READ.validate_python(given)
    except ValidationError:
        found = None
    if found is None or not timedelta(0) <= found <= LONGEST:
        raise InputError(
            f"feature_store.yaml: {name} is {given!r}; give seconds, 0 or more, or an ISO-8601 duration like PT30S."
        )
    return found
