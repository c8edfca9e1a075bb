"""Errors that speak to the user: what is wrong, where, and what to do about it."""

import click


class DualpathError(click.ClickException):
    """The root of every error dualpath raises on purpose.

    It is a click exception so that both `dualpath` and stock `feast apply` print the one sentence
    it carries instead of a traceback, and exit with status 1.
    """


class DeclarationError(DualpathError):
    """A source, view or feature that cannot work; the message names the file, the view and the remedy."""


class InputError(DualpathError):
    """Something a caller passed (an entity row, an instant, a file) that cannot be used."""


class StateError(DualpathError):
    """Stored state that must not be read as if it were whole: unknown version, other declaration, lost."""


class CollisionError(StateError):
    """Two different strings with one 64-bit code: refused, because a served value would be wrong."""


class UnavailableError(DualpathError):
    """A service dualpath needs (Redis, Java) cannot be reached."""
