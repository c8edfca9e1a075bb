"""Who may ask what, and how often: API keys, scopes and rates.

The key is looked at before the body is read, so whoever has none costs next to nothing.
"""

import hashlib
import hmac
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Request, Security
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Asgi

from dualpath.serving.errors import Refusal
from dualpath.serving.settings import ANONYMOUS, Caller, Key, Scope, Settings

OPEN = frozenset({"/", "/livez", "/readyz", "/docs", "/openapi.json"})
OPEN_BELOW = "/page/"
"""Paths that need no key: probes have none, and neither the page nor the description is a secret."""
BEARER = HTTPBearer(auto_error=False, scheme_name="key", description="An API key, as `Authorization: Bearer KEY`.")


class TokenBucket:
    """Lets `rate` requests a second pass, and `burst` at once after a pause.

    >>> now = [0.0]
    >>> bucket = TokenBucket(rate=2, burst=1, clock=lambda: now[0])
    >>> bucket.take(), bucket.take()
    (0.0, 0.5)
    >>> now[0] = 0.5
    >>> bucket.take()
    0.0
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._at = float(burst), clock()

    def take(self) -> float:
        """Take one; 0.0, or the seconds after which there will be one."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._rate
        self._left -= 1
        return 0.0


class Access:
    """Middleware that finds the caller of a request, and refuses one that is unknown, too fast or too large."""

    def __init__(self, app: ASGIApp, settings: Settings, clock: Callable[[], float]) -> None:
        self.app, self.settings = app, settings
        callers: dict[str, Caller] = {key.name: key for key in settings.keys}
        if settings.anonymous:
            callers[ANONYMOUS] = settings.anonymous
        self.callers = callers
        self.buckets = {name: TokenBucket(each.rate, each.burst, clock) for name, each in callers.items()}

    async def __call__(self, asgi: Asgi, receive: Receive, send: Send) -> None:
        if asgi["type"] != "http":
            await self.app(asgi, receive, send)
            return
        try:
            headers = Headers(scope=asgi)
            if asgi["path"] not in OPEN and not asgi["path"].startswith(OPEN_BELOW):
                asgi.setdefault("state", {})["caller"] = self._admitted(headers.get("authorization"))
            self._refuse_large(headers.get("content-length", "0"))
        except Refusal as refused:
            await refused.response()(asgi, receive, send)
            return
        await self.app(asgi, self._limited(receive), send)

    def _admitted(self, authorization: str | None) -> Caller:
        kind, _, secret = (authorization or "").partition(" ")
        key = found(self.settings.keys, secret) if kind.lower() == "bearer" else None
        name = key.name if key else ANONYMOUS if authorization is None else ""
        if name not in self.callers:
            raise Refusal(
                HTTPStatus.UNAUTHORIZED,
                "no-key",
                "the request has no API key that is known here; send one as 'Authorization: Bearer KEY'.",
                "header.authorization",
                {"WWW-Authenticate": "Bearer"},
            )
        if wait := self.buckets[name].take():
            caller = self.callers[name]
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                "rate",
                f"'{name}' may ask {caller.rate:g} times a second and {caller.burst} at once; ask again later.",
                "header.authorization",
                {"Retry-After": str(math.ceil(wait))},
            )
        return self.callers[name]

    def _refuse_large(self, length: str) -> None:
        if length.isdecimal() and int(length) > self.settings.body_limit:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", self._too_large, "body", {})

    @property
    def _too_large(self) -> str:
        return f"the body is larger than {self.settings.body_limit} bytes; ask for fewer rows at once"

    def _limited(self, receive: Receive) -> Receive:
        """The body, up to the limit, of a request that does not say its length or lies."""
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.settings.body_limit:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large)
            return message

        return limited


def found(keys: tuple[Key, ...], secret: str) -> Key | None:
    """The key whose hash is that of a secret. Every key is compared, in constant time, whichever is right.

    >>> keys = (Key(name="app", sha256=hashlib.sha256(b"secret").hexdigest(), scopes={"features"}),)
    >>> found(keys, "secret").name, found(keys, "guess")
    ('app', None)
    """
    digest = hashlib.sha256(secret.encode()).hexdigest()
    same = [each for each in keys if hmac.compare_digest(each.sha256, digest)]
    return same[0] if same else None


def allowed(scope: Scope) -> Any:
    """A dependency of a route that only a caller with the scope may use."""

    async def check(request: Request, _: Annotated[Any, Security(BEARER)]) -> None:
        if scope not in request.state.caller.scopes:
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                "scope",
                f"the API key does not have the scope '{scope}'; use another, or ask for the scope.",
                "header.authorization",
                {},
            )

    return Security(check)
