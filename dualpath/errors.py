"""Errors that speak to the user: what is wrong, where, and what to do about it."""

import re

import click

RAISED = re.compile(r"^(?:dualpath|batch|streaming)\.[\w.]+: (.+)$", re.MULTILINE)
"""One of dualpath's errors at the end of a Python traceback, as Spark quotes it."""


class DualpathError(click.ClickException):
    """The root of every error dualpath raises on purpose.

    It is a click exception so that both `dualpath` and stock `feast apply` print the one sentence
    it carries instead of a traceback, and exit with status 1.
    """


class DeclarationError(DualpathError):
    """A source, view or feature that cannot work; the message names the file, the view and the remedy.

    It begins with the `place` in the user's files, once that is known.
    """

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(f"{place}: {message}" if place else message)
        self.place = place


class InputError(DualpathError):
    """Something a caller passed (an entity row, an instant, a file) that cannot be used."""


class StateError(DualpathError):
    """Stored state that must not be read as if it were whole: unknown version, other declaration, lost."""


class CollisionError(StateError):
    """Two different strings with one 64-bit code: refused, because a served value would be wrong."""


class UnavailableError(DualpathError):
    """A service dualpath needs (Redis, Java) cannot be reached."""


def quoted(error: BaseException) -> str | None:
    """The sentence of one of dualpath's errors within another error, as of a Spark worker; None if it has none.

    >>> quoted(RuntimeError("Traceback ...\\ndualpath.errors.InputError: view 'v': no; do so.\\n"))
    "view 'v': no; do so."
    """
    said = RAISED.findall(str(error))
    return said[-1] if said else None
