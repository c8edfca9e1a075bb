"""The settings of the application: a TOML file, and environment variables that go before it."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from dualpath.errors import InputError

PREFIX = "DUALPATH_SERVING_"
"""What the names of the environment variables begin with; the rest is a setting's name in capitals."""
Scope = Literal["features", "rank", "replay", "admin"]
"""What a caller may do: read features, take decisions, replay decisions, see the metrics."""
ANONYMOUS = "anonymous"
"""The name of callers without a key."""


class Caller(BaseModel):
    """What a caller may do, and how often: `rate` requests a second, and `burst` at once after a pause."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scopes: frozenset[Scope]
    rate: PositiveFloat = 100.0
    burst: PositiveInt = 200


class Key(Caller):
    """A caller with an API key, of which only the SHA-256 is kept, in hexadecimal digits."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Settings(BaseModel):
    """`keys` are those who may ask; callers without a key are refused unless there is an `anonymous` one.

    `body_limit` is in bytes. `cors_origins` are the web pages that may ask from a browser, `["*"]` for all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: tuple[Key, ...] = ()
    anonymous: Caller | None = None
    body_limit: PositiveInt = 1_000_000
    cors_origins: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _tells_keys_apart(self) -> "Settings":
        names = [each.name for each in self.keys] + [ANONYMOUS]
        hashes = [each.sha256 for each in self.keys]
        if twice := [each for each in (*names, *hashes) if (names + hashes).count(each) > 1]:
            raise ValueError(f"two keys have the same name or hash, {twice[0]}")
        return self


def read(file: Path | None, environment: Mapping[str, str]) -> Settings:
    """The settings of a file, if one is named, and of the environment, where a value is JSON or else a text.

    Raises `InputError` for what cannot be read, and for an unknown name.

    >>> read(None, {"DUALPATH_SERVING_BODY_LIMIT": "2000", "PATH": "/bin"}).body_limit
    2000
    >>> read(None, {"DUALPATH_SERVING_BODY_SIZE": "2000"})
    Traceback (most recent call last):
    dualpath.errors.InputError: the environment: DUALPATH_SERVING_BODY_SIZE: Extra inputs are not permitted; correct it.
    """
    given: dict[str, Any] = {}
    if file is not None:
        try:
            given = tomllib.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"the settings cannot be read from {file}: {error}; correct it.") from None
    own = {n.removeprefix(PREFIX).lower(): _value(text) for n, text in environment.items() if n.startswith(PREFIX)}
    try:
        return Settings.model_validate(given | own)
    except ValidationError as error:
        # The value is left out: it may be a key.
        first = error.errors(include_url=False, include_input=False)[0]
        head, *rest = first["loc"] or ("settings",)
        here = head in own
        name = ".".join([f"{PREFIX}{head}".upper() if here else str(head), *map(str, rest)])
        where = "the environment" if here else file or "the environment"
        raise InputError(f"{where}: {name}: {first['msg']}; correct it.") from None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
