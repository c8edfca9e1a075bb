"""The settings of `online_store` in `feature_store.yaml`."""

from datetime import timedelta
from typing import Any, Literal

from feast.infra.online_stores.redis import RedisOnlineStoreConfig
from pydantic import PositiveInt, field_validator, model_validator

from dualpath.errors import InputError
from dualpath.feast.duration import duration
from dualpath.windows import SECOND


class OnlineSettings(RedisOnlineStoreConfig):
    """Feast's Redis settings, and dualpath's own.

    If `connection_string` is empty, DUALPATH_REDIS is used, else an embedded Redis beside the repo.
    `online_lookback_seconds` is how far before the present an `as_of` may lie online; null keeps everything, as a
    replay of old events needs. `read_deadline_ms` is how long a read may wait for Redis, in all.

    `max_staleness`, in seconds or as an ISO-8601 duration, is how long ago the stream may have said for the last time
    that the online store is up to date; null does not ask. `when_stale` says what a read does then: `refuse` raises
    `StaleStreamError`, `mark` gives the features the status OUTSIDE_MAX_AGE.
    """

    connection_string: str = ""
    online_lookback_seconds: int | None = 86_400
    read_deadline_ms: PositiveInt = 250
    max_staleness: timedelta | None = None
    when_stale: Literal["refuse", "mark"] = "refuse"

    @property
    def online_lookback(self) -> int | None:
        """The lookback in microseconds; None: any distance."""
        return None if self.online_lookback_seconds is None else self.online_lookback_seconds * SECOND

    @field_validator("max_staleness", mode="before")
    @classmethod
    def _is_span(cls, staleness: Any) -> timedelta | None:
        return duration(staleness, "online_store.max_staleness")

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, settings: Any) -> Any:
        """Take `slack_seconds`, the old name of `online_lookback_seconds`, for one release."""
        if not isinstance(settings, dict) or "slack_seconds" not in settings:
            return settings
        if "online_lookback_seconds" in settings:
            raise InputError(
                "feature_store.yaml: online_store has both online_lookback_seconds and its old name slack_seconds; "
                "remove slack_seconds."
            )
        rest = {name: value for name, value in settings.items() if name != "slack_seconds"}
        return rest | {"online_lookback_seconds": settings["slack_seconds"]}
