"""A circuit breaker: after some failures in a row nobody is asked for a while, so that answers stay quick."""

from collections.abc import Callable
from threading import Lock
from typing import Literal

State = Literal["closed", "open", "half-open"]


class Breaker:
    """Opens after `failures` in a row. After `pause` seconds it lets one caller try; success closes it.

    >>> now = [0.0]
    >>> breaker = Breaker(failures=2, pause=1.0, clock=lambda: now[0])
    >>> breaker.failed(), breaker.failed(), breaker.state, breaker.allows()
    (None, None, 'open', False)
    >>> now[0] = 1.0
    >>> breaker.allows(), breaker.state, breaker.allows()
    (True, 'half-open', False)
    >>> breaker.succeeded(), breaker.state
    (None, 'closed')
    """

    def __init__(self, *, failures: int, pause: float, clock: Callable[[], float]) -> None:
        self.most, self.pause, self.clock = failures, pause, clock
        self._lock = Lock()
        self._failures = 0
        self._tries_at = 0.0
        self._trying = False

    @property
    def state(self) -> State:
        """`closed` lets everybody through, `open` nobody, `half-open` has let one through and waits for the outcome."""
        if self._failures < self.most:
            return "closed"
        return "half-open" if self._trying else "open"

    def allows(self) -> bool:
        """Whether to go on; who is allowed must say `succeeded` or `failed` afterwards."""
        with self._lock:
            if self._failures < self.most:
                return True
            if self._trying or self.clock() < self._tries_at:
                return False
            self._trying = True
            return True

    def succeeded(self) -> None:
        """Close it."""
        with self._lock:
            self._failures, self._trying = 0, False

    def failed(self) -> None:
        """Count a failure; the last one allowed opens it, and so does a failed try."""
        with self._lock:
            self._failures, self._trying = self._failures + 1, False
            self._tries_at = self.clock() + self.pause
