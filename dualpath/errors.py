"""Errors that speak to the user: what is wrong, where, and what to do about it. Programs go by their `code`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import click

CARRIED = "dualpath-error: "
"""The start of the line that carries an error from one process to another."""


class DualpathError(click.ClickException):
    """Any error that dualpath raises on purpose.

    It is a click exception: `dualpath` and stock `feast apply` print its message instead of a traceback, and exit
    with status 1. A class that has a `code` of its own never changes it.
    """

    code = "error"


class DeclarationError(DualpathError):
    """A source, view or feature is declared in a way that cannot work.

    The message begins with the `place` in the user's files, once that is known.
    """

    code = "declaration"
    place = ""

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(f"{place}: {message}" if place else message)
        self.place = place


class InputError(DualpathError):
    """Something that a caller passed (an entity row, an instant, a file) cannot be used."""

    code = "input"


class NotFoundError(InputError):
    """A view, feature or service that a caller named does not exist."""

    code = "not-found"


class StateError(DualpathError):
    """Stored state cannot be used as it is."""

    code = "state"


class OtherDeclarationError(StateError):
    """Stored state was written for another declaration of a view."""

    code = "state-of-another-declaration"


class LostStateError(StateError):
    """The online store has no state, or has lost writes."""

    code = "state-lost"


class RebuildingError(StateError):
    """The online store is being rebuilt."""

    code = "state-being-rebuilt"


class StaleRecordsError(StateError):
    """The record files lack events of the log."""

    code = "stale-records"


class StaleStreamError(StateError):
    """The stream has not said for too long that the online store is up to date."""

    code = "stale-stream"


class LostCheckpointError(StateError):
    """The stream's checkpoint is gone, and its log is not."""

    code = "checkpoint-lost"


class RunningError(StateError):
    """Another process does this work already."""

    code = "already-running"


class CollisionError(StateError):
    """Two different texts have one 64-bit code, so a served value would be wrong."""

    code = "code-collision"


class UnavailableError(DualpathError):
    """A service that dualpath needs (Redis, Kafka, Java, an object store) cannot be reached, or refuses."""

    code = "unavailable"


def kinds() -> dict[str, type[DualpathError]]:
    """Every code, and the class that has it."""
    found, rest = {}, [DualpathError]
    for kind in rest:
        if "code" in vars(kind):
            found[kind.code] = kind
        rest += kind.__subclasses__()
    return found


def line(code: str, message: str) -> str:
    """The line that carries an error."""
    return CARRIED + json.dumps({"code": code, "message": message})


@contextmanager
def crossing() -> Iterator[None]:
    """Mark the errors of a block that runs in a Spark worker or is called by the JVM, so that `carried` finds them.

    Spark hands on the text of a traceback, and notes are part of that.
    """
    try:
        yield
    except DualpathError as error:
        if not hasattr(error, "__notes__"):
            error.add_note(line(error.code, error.message))
        raise


def carried(error: BaseException) -> DualpathError | None:
    """The error of dualpath's that another error carries from a Spark worker or the JVM; None if it carries none.

    >>> carried(RuntimeError("Traceback ...\\n" + line("state-lost", "view 'v': no; do so.") + "\\n\\tat org.apache"))
    LostStateError("view 'v': no; do so.")
    >>> carried(RuntimeError("view 'v': no; do so."))
    """
    _, found, rest = str(error).rpartition(CARRIED)
    if not found:
        return None
    said, _ = json.JSONDecoder().raw_decode(rest)
    return restored(kinds()[said["code"]], said["message"])


def restored(kind: type[DualpathError], message: str) -> DualpathError:
    """An error of a class, whatever its `__init__` takes."""
    error = kind.__new__(kind)
    DualpathError.__init__(error, message)
    return error
