"""Schemas by their ids, from a schema registry that speaks Confluent's protocol over HTTP."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from dualpath.decoders.base import Refused
from dualpath.errors import UnavailableError
from dualpath.extras import require

S = TypeVar("S")
USER, PASSWORD, TOKEN, CA = (f"DUALPATH_REGISTRY_{name}" for name in ("USER", "PASSWORD", "TOKEN", "CA"))
"""Variables of the environment: the registry's user and password, or token, and the file of who signed its TLS."""
TIMEOUT_SECONDS = 10
RETRIES = {"max.retries": 3, "retries.wait.ms": 200, "retries.max.wait.ms": 5_000}
UNKNOWN_SECONDS = 10
"""How long an unknown id is not asked for again; a producer registers a schema before it writes with it."""
NOT_FOUND = 40403
"""The registry's code of a schema that is not there."""


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The registry's settings of an environment; raises `UnavailableError` without the packages that ask it."""
    require("avro")
    return {name: environ[name] for name in (USER, PASSWORD, TOKEN, CA) if environ.get(name)}


class Registry(Generic[S]):
    """The schemas of a registry, each fetched once and made what `compiled` makes of it."""

    def __init__(self, url: str, settings: Mapping[str, str], compiled: Callable[["Registry[S]", Any], S]) -> None:
        from cachetools import TTLCache
        from confluent_kafka.schema_registry import SchemaRegistryClient

        client: dict[str, Any] = {"url": url, "timeout": TIMEOUT_SECONDS, **RETRIES}
        if CA in settings:
            client["ssl.ca.location"] = settings[CA]
        if USER in settings:
            client["basic.auth.user.info"] = f"{settings[USER]}:{settings.get(PASSWORD, '')}"
        elif TOKEN in settings:
            # These two are Confluent Cloud's; without any the client does not take a token.
            cloud = {"bearer.auth.logical.cluster": "", "bearer.auth.identity.pool.id": ""}
            client |= {"bearer.auth.credentials.source": "STATIC_TOKEN", "bearer.auth.token": settings[TOKEN], **cloud}
        self.url, self.compiled = url, compiled
        self.client = SchemaRegistryClient(client)
        self.known: dict[int, S] = {}
        self.refused: TTLCache[int, str] = TTLCache(10_000, UNKNOWN_SECONDS)

    def schema(self, number: int) -> S:
        """The schema of an id.

        Raises:
            Refused: there is none, or it cannot be used.
            UnavailableError: the registry does not answer, or not to this user; nothing is known of the schema.
        """
        if (found := self.known.get(number)) is not None:
            return found
        if reason := self.refused.get(number):
            raise Refused(reason)
        try:
            self.known[number] = self.compiled(self, self.ask(number))
        except Refused as refusal:
            self.refused[number] = f"schema id {number} {refusal}"
            raise Refused(self.refused[number]) from None
        return self.known[number]

    def ask(self, number: int) -> Any:
        """A schema as the registry has it."""
        return self._answer(lambda: self.client.get_schema(number))

    def reference(self, subject: str, version: int) -> Any:
        """The schema that another one names by its subject and version."""
        return self._answer(lambda: self.client.get_version(subject, version).schema)

    def _answer(self, question: Callable[[], Any]) -> Any:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return question()
        except SchemaRegistryError as error:
            if error.error_code == NOT_FOUND:
                raise Refused(f"is not in the registry {self.url}; see which registry the producer uses") from None
            remedy = f"see that it is the address of a schema registry, and {USER}, {PASSWORD} or {TOKEN}"
            said = f"{error.http_status_code}: {error.error_message}"
        except Exception as error:  # of the HTTP client, whose kinds depend on the client's version
            remedy, said = "start it, or correct its address", str(error) or type(error).__name__
        raise UnavailableError(f"The schema registry {self.url} does not answer ({said}); {remedy}.")
