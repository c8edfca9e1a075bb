"""How long one read may wait for Redis: a budget that all its round trips, connections and retries share.

A timeout of the client's own bounds a single wait, so a read of many waits is bounded by none of them. Here each wait
of a connection draws on the budget of the read under way. Time that is not spent waiting does not count, and a wait
counts in slices of at most twice their length: a process that is busy with something else, as with loading the kernel
for its first read, finds the reply when it comes back, instead of refusing it as late.
"""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar, copy_context
from functools import lru_cache, partial
from typing import Any, TypeVar

from redis import RedisError
from redis import TimeoutError as RedisTimeout
from redis.exceptions import RedisClusterException

T = TypeVar("T")
SLICE = 0.005
"""Seconds of a slice of a wait."""


class Budget:
    """Seconds that may be waited for Redis; `left` is what remains of them."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = self.left = seconds
        self._clock = clock

    def wait(self, attempt: Callable[[float], T]) -> T:
        """What `attempt` answers, which is given some seconds and raises `TimeoutError` if they do not suffice.

        Raises `TimeoutError` when nothing is left.

        >>> ticks = iter([0.0, 0.004, 7.0, 9.0])
        >>> budget = Budget(0.25, lambda: next(ticks))
        >>> budget.wait(lambda seconds: "reply"), round(budget.left, 3)
        ('reply', 0.246)
        >>> budget.wait(lambda seconds: "late, but there"), round(budget.left, 3)
        ('late, but there', 0.236)
        """
        while self.left > 0:
            began = self._clock()
            try:
                return attempt(min(SLICE, self.left))
            except TimeoutError:
                continue
            finally:
                self._charge(began)
        raise TimeoutError("the deadline has passed")

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Let every wait of a client of `connect` draw on the budget.

        Raises `redis.TimeoutError` for what fails when nothing is left.
        """
        token = BUDGET.set(self)
        try:
            yield
        except (RedisError, RedisClusterException) as error:
            if self.left > 0:
                raise
            raise self._overdrawn() from error
        finally:
            BUDGET.reset(token)

    @asynccontextmanager
    async def spending_async(self) -> AsyncIterator[None]:
        """The same for a client of `redis.asyncio`, which is cancelled; it closes a connection that owes a reply."""
        loop = asyncio.get_running_loop()
        began = self._clock()
        timer: asyncio.Handle

        def tick() -> None:
            nonlocal began, timer
            self._charge(began)
            began = self._clock()
            if self.left > 0:
                timer = loop.call_later(min(SLICE, self.left), tick)
            else:
                scope.reschedule(loop.time())

        try:
            async with asyncio.timeout(None) as scope:
                timer = loop.call_soon(tick) if self.left <= 0 else loop.call_later(min(SLICE, self.left), tick)
                try:
                    yield
                finally:
                    timer.cancel()
                    self._charge(began)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise self._overdrawn() from error

    def _charge(self, began: float) -> None:
        self.left -= min(self._clock() - began, 2 * SLICE)

    def _overdrawn(self) -> RedisTimeout:
        return RedisTimeout(f"no answer within {self.seconds * 1000:.0f} ms")


BUDGET: ContextVar[Budget | None] = ContextVar("BUDGET", default=None)
"""The budget of the read under way in this thread; None: waits have the timeouts of the connection string."""


@lru_cache
def bounded(connection_class: type) -> type:
    """A connection class of `redis` whose waits draw on the budget: name lookup, connect, handshakes, replies."""
    return type(f"Bounded{connection_class.__name__}", (_Bounded, connection_class), {})


class _Bounded:
    socket_timeout: float | None
    _socket_connect_timeout: float | None

    @property
    def socket_connect_timeout(self) -> float | None:
        return _all_that_is_left(self._socket_connect_timeout)

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: float | None) -> None:
        self._socket_connect_timeout = value

    def _connect(self) -> "_Socket":
        connect: Callable[[], socket.socket] = super()._connect  # type: ignore[misc]
        budget = BUDGET.get()
        return _Socket(connect() if budget is None else _in_time(connect, budget), self.socket_timeout)

    def _wrap_socket_with_ssl(self, plain: socket.socket) -> socket.socket:
        plain.settimeout(_all_that_is_left(self.socket_timeout))
        return super()._wrap_socket_with_ssl(plain)  # type: ignore[misc]


class _Socket:
    """A socket each of whose waits draws on the budget, however many a reply takes."""

    def __init__(self, connected: socket.socket, timeout: float | None) -> None:
        self._connected, self._timeout = connected, timeout

    def settimeout(self, timeout: float | None) -> None:
        self._timeout = timeout

    def recv(self, *arguments: Any) -> bytes:
        return self._receive(self._connected.recv, arguments)

    def recv_into(self, *arguments: Any) -> int:
        return self._receive(self._connected.recv_into, arguments)

    def _receive(self, receive: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        def attempt(seconds: float | None) -> T:
            self._connected.settimeout(seconds)
            return receive(*arguments)

        budget = BUDGET.get()
        return attempt(self._timeout) if budget is None or self._timeout == 0 else budget.wait(attempt)

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)

        def attempt(seconds: float) -> int:
            self._connected.settimeout(seconds)
            return self._connected.send(rest)

        if budget := BUDGET.get():
            while rest:
                rest = rest[budget.wait(attempt) :]
        else:
            self._connected.settimeout(self._timeout)
            self._connected.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connected, name)


def _all_that_is_left(timeout: float | None) -> float | None:
    """How long a wait may last that cannot be cut into slices; `timeout` where there is no budget."""
    budget = BUDGET.get()
    return timeout if budget is None else max(budget.left, SLICE)


def _in_time(connect: Callable[[], socket.socket], budget: Budget) -> socket.socket:
    """Connect on a thread, because nothing else ends the lookup of a name; a connection that comes late is closed."""
    done: Future[socket.socket] = Future()

    def work() -> None:
        try:
            done.set_result(connect())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=partial(copy_context().run, work), daemon=True).start()

    def attempt(seconds: float) -> None:
        if not futures.wait([done], seconds).done:
            raise TimeoutError

    try:
        budget.wait(attempt)
    except TimeoutError:
        done.add_done_callback(_close)
        raise
    return done.result()


def _close(late: "Future[socket.socket]") -> None:
    if not late.exception():
        late.result().close()
