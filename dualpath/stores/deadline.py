"""How long one read may wait for Redis: a budget that all its round trips, connections and retries share.

A timeout of the client's own bounds a single wait, so a read of many waits is bounded by none of them. Here each
wait of a connection ends when the budget of the read under way does. Time that is not spent with Redis does not
count: the first read of a process loads the kernel, and must not be refused for that.
"""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar, copy_context
from functools import lru_cache
from typing import Any

from redis import RedisError
from redis import TimeoutError as RedisTimeout
from redis.exceptions import RedisClusterException


class Budget:
    """Seconds that may be spent with Redis.

    >>> now = iter([10.0, 10.2, 50.0, 50.05])
    >>> budget = Budget(0.25, lambda: next(now))
    >>> with budget.spending():
    ...     pass
    >>> round(budget.left(), 2)
    0.05
    >>> with budget.spending():
    ...     pass
    >>> budget.left() > 1e-9
    False
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._left = seconds
        self._ends: float | None = None

    def left(self) -> float:
        """What is left now; none if it is not above zero."""
        return self._left if self._ends is None else self._ends - self._clock()

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Count the time, and end every wait of a client of `connect` by it.

        Raises `redis.TimeoutError` for what fails when nothing is left.
        """
        self._ends = self._clock() + self._left
        token = BUDGET.set(self)
        try:
            yield
        except (RedisError, RedisClusterException) as error:
            if self.left() > 0:
                raise
            raise self._overdrawn() from error
        finally:
            BUDGET.reset(token)
            self._left = self.left()
            self._ends = None

    @asynccontextmanager
    async def spending_async(self) -> AsyncIterator[None]:
        """The same for a client of `redis.asyncio`, which is cancelled; it closes a connection that owes a reply."""
        self._ends = self._clock() + self._left
        try:
            async with asyncio.timeout(self._left) as scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise self._overdrawn() from error
        finally:
            self._left = self.left()
            self._ends = None

    def _overdrawn(self) -> RedisTimeout:
        return RedisTimeout(f"no answer within {self.seconds * 1000:.0f} ms")


BUDGET: ContextVar[Budget | None] = ContextVar("BUDGET", default=None)
"""The budget of the read under way in this thread; None: waits have the timeouts of the connection string alone."""


def allowed(timeout: float | None) -> float | None:
    """How long a wait may last that has this timeout of its own; raises `TimeoutError` if nothing is left."""
    budget = BUDGET.get()
    if budget is None or timeout == 0:
        return timeout
    left = budget.left()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left if timeout is None else min(timeout, left)


@lru_cache
def bounded(connection_class: type) -> type:
    """A connection class of `redis` whose waits end with the budget: name lookup, connect, handshakes, replies."""
    return type(f"Bounded{connection_class.__name__}", (_Bounded, connection_class), {})


class _Bounded:
    socket_timeout: float | None
    _socket_connect_timeout: float | None

    @property
    def socket_connect_timeout(self) -> float | None:
        return allowed(self._socket_connect_timeout)

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: float | None) -> None:
        self._socket_connect_timeout = value

    def _connect(self) -> "_Socket":
        connect: Callable[[], socket.socket] = super()._connect  # type: ignore[misc]
        budget = BUDGET.get()
        return _Socket(connect() if budget is None else _in_time(connect, budget.left()), self.socket_timeout)

    def _wrap_socket_with_ssl(self, plain: socket.socket) -> socket.socket:
        plain.settimeout(allowed(self.socket_timeout))
        return super()._wrap_socket_with_ssl(plain)  # type: ignore[misc]


class _Socket:
    """A socket each of whose waits ends with the budget, though a reply may take many."""

    def __init__(self, connected: socket.socket, timeout: float | None) -> None:
        self._connected, self._timeout = connected, timeout

    def settimeout(self, timeout: float | None) -> None:
        self._timeout = timeout

    def recv(self, *arguments: Any) -> bytes:
        self._connected.settimeout(allowed(self._timeout))
        return self._connected.recv(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        self._connected.settimeout(allowed(self._timeout))
        return self._connected.recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        self._connected.settimeout(allowed(self._timeout))
        self._connected.sendall(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connected, name)


def _in_time(connect: Callable[[], socket.socket], seconds: float) -> socket.socket:
    """Connect on a thread, because nothing else ends the lookup of a name; a connection that comes late is closed."""
    done: Future[socket.socket] = Future()

    def work() -> None:
        try:
            done.set_result(connect())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=copy_context().run, args=(work,), daemon=True).start()
    try:
        return done.result(max(seconds, 0))
    except TimeoutError:
        done.add_done_callback(_close)
        raise


def _close(late: "Future[socket.socket]") -> None:
    if not late.exception():
        late.result().close()
