"""Reads the files that a declaration names, such as a schema."""

import sys
from pathlib import Path

from dualpath.errors import DeclarationError
from dualpath.signature import PACKAGE


def content(name: str) -> bytes:
    """The bytes of a file; a relative path starts at the folder of the user's file that declares it."""
    frame = sys._getframe()
    while frame.f_back and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    path = Path(frame.f_code.co_filename).parent / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise DeclarationError(f"{path} cannot be read ({error.strerror}); correct the path.") from None
