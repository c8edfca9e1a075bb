"""What a decoder is: how the bytes of a message become the JSON text that the stream reads."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from dualpath.errors import DeclarationError

PACKAGE = __name__.rpartition(".")[0]
Reader = Callable[[bytes], str]
"""From the bytes of a message to the text of a JSON object; it raises `Refused` for bytes that are none."""


class Refused(Exception):  # noqa: N818 - it is a verdict on a payload, which no job fails of
    """A payload cannot be decoded; the text is the reason in the dead-letter table."""


@dataclass(frozen=True)
class Decoder:
    """How the bytes of a message become JSON text, declared with `event_source(..., decoder=...)`. Abstract.

    A decoder of your own is a frozen dataclass in any module that the workers of Spark can import. Its fields travel in
    the Feast registry as JSON, so no secret may be one of them.
    """

    called: ClassVar[str] = "a decoder such as avro(registry=...)"
    known: ClassVar[dict[str, type["Decoder"]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        known = Decoder.known.setdefault(cls.__name__, cls)
        if known.__module__ != cls.__module__:
            raise DeclarationError(f"there is a decoder '{cls.__name__}' in {known.__module__}; rename this one.")
        Decoder.known[cls.__name__] = cls

    def settings(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        """What `reader` needs beside the declaration, such as passwords: the driver asks, once a start of the stream.

        Raises `DualpathError` if the stream cannot start so, for example without a package.
        """
        return {}

    def reader(self, settings: Mapping[str, str]) -> Reader:
        """The function that decodes a message; made once in each worker of Spark.

        It raises `Refused` for a payload that it cannot decode. A `DualpathError` says that no payload can be decoded
        now, as without a schema registry: the batch fails, and the stream stops if its repetitions fail too.
        """
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form with only what differs from the defaults, and the module of one outside this package."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        own = type(self).__module__.startswith(f"{PACKAGE}.")
        return {"decoder": type(self).__name__, **({} if own else {"module": type(self).__module__}), **given}

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> "Decoder":
        """The inverse of `to_dict`."""
        given = dict(plain)
        name, module = given.pop("decoder"), given.pop("module", "")
        if name not in Decoder.known and module:
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise DeclarationError(
                    f"the decoder '{name}' is in the module {module}, which this process cannot import ({error}); "
                    "install it, or name its folder in PYTHONPATH."
                ) from None
        if name not in Decoder.known:
            raise DeclarationError(f"unknown decoder '{name}'; this version has {', '.join(Decoder.known)}.")
        return Decoder.known[name](**given)
