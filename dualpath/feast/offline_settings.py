"""The settings of the offline store in `feature_store.yaml`."""

from datetime import timedelta
from typing import Any, Literal

from feast.repo_config import FeastConfigBaseModel
from pydantic import ValidationInfo, field_validator

from dualpath.errors import InputError
from dualpath.feast.duration import duration
from dualpath.files import checkpoint_place
from dualpath.files.places import place


class OfflineSettings(FeastConfigBaseModel):
    """`path` is the folder of events and records, relative to the repo, or the place in an object store, `s3://...`.
    Spark's checkpoints are below `checkpoints`, an absolute path or a place in such a store; null: with the data.

    Spark computes training sets of more than `spark_above_rows` rows, this process computes smaller ones. `stale` says
    what happens if the record files lack events of the log: `refuse` the training set, or only `warn`. `known_lag`, in
    seconds or as an ISO-8601 duration, is how long after its arrival an event was served: a row counts the events that
    had arrived that long before its instant, unless the `entity_df` says what it knows; null counts all.
    """

    path: str = "data"
    checkpoints: str | None = None
    spark_above_rows: int = 2_000_000
    stale: Literal["refuse", "warn"] = "refuse"
    known_lag: timedelta | None = None

    @field_validator("known_lag", mode="before")
    @classmethod
    def _is_span(cls, lag: Any) -> timedelta | None:
        return duration(lag, "offline_store.known_lag")

    @field_validator("path")
    @classmethod
    def _is_known(cls, path: str) -> str:
        # Not a ValueError, which pydantic would wrap: Feast lets this one through as it is.
        try:
            place(path)
        except InputError as error:
            raise InputError(f"feature_store.yaml: offline_store.path is {error.message}") from None
        return path

    @field_validator("checkpoints")
    @classmethod
    def _can_be(cls, chosen: str | None, info: ValidationInfo) -> str | None:
        if chosen is not None:
            checkpoint_place.named(chosen, place(info.data["path"]))
        return chosen
