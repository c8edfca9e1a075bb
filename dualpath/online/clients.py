"""The Redis clients of an online store: one that all threads share, and one for each event loop."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from redis import TimeoutError as RedisTimeout
from redis.asyncio import RedisCluster

from dualpath.online.connection import connect, connect_async
from dualpath.online.deadline import Budget

ONCE_MORE = 1
"""A connection that the server closed while it lay idle is found out by using it."""


class _Held(NamedTuple):
    client: Any
    life: AsyncGenerator[None, None]
    """Ends with the loop: `asyncio.run` closes the generators that were begun in it."""


class Clients:
    """Makes clients when they are first asked for; safe to use from any thread and any running loop.

    A connection of `redis.asyncio` belongs to the loop it was made in. So each loop has a client, which is closed with
    its loop; what is left of a loop that closed nothing goes when the next one comes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shared: Any = None
        self._held: dict[asyncio.AbstractEventLoop, _Held] = {}

    def shared(self, address: str) -> Any:
        """The client of `redis`; a cluster is asked for its slots when it is made."""
        if self._shared is None:
            with self._lock:
                if self._shared is None:
                    self._shared = connect(address, ONCE_MORE)
        return self._shared

    async def of_loop(self, address: str) -> Any:
        """The client of `redis.asyncio` for the running loop."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is None:
            client = connect_async(address, ONCE_MORE)
            held = _Held(client, self._living(loop, client))
            with self._lock:
                for closed in [each for each in self._held if each.is_closed()]:
                    del self._held[closed]
                self._held[loop] = held
            await anext(held.life)
        return held.client

    @asynccontextmanager
    async def spending(self, budget: Budget) -> AsyncIterator[None]:
        """Wait for the running loop's client within a budget.

        A cluster's client that was cut off is not used again: it may be half made, and it forgets a connection that
        was cancelled while it was opened.
        """
        try:
            async with budget.spending_async():
                yield
        except RedisTimeout:
            loop = asyncio.get_running_loop()
            if (held := self._held.get(loop)) and isinstance(held.client, RedisCluster):
                self._forget(loop, held.client)
            raise

    async def close(self) -> None:
        """Close the client of the running loop."""
        if held := self._held.get(asyncio.get_running_loop()):
            await held.life.aclose()

    async def _living(self, loop: asyncio.AbstractEventLoop, client: Any) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._forget(loop, client)
            await client.aclose()

    def _forget(self, loop: asyncio.AbstractEventLoop, client: Any) -> None:
        with self._lock:
            if (held := self._held.get(loop)) and held.client is client:
                del self._held[loop]
