"""`POST /features`: the values of features, as `get_online_features` has them, as plain JSON in columns."""

import base64
import json
import math
from decimal import Decimal
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from feast import FeatureService, FeatureStore
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import from_json

from dualpath import instants
from dualpath.errors import InputError
from dualpath.feast.columns import Columns
from dualpath.serving.access import allowed
from dualpath.serving.errors import ErrorBody

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": said}
    for status, said in {
        401: "There is no API key that is known here.",
        403: "The API key has not the scope.",
        404: "A feature, view or service does not exist.",
        413: "The body is too large.",
        422: "The request cannot be answered as it is.",
        429: "The API key is used too often; `Retry-After` says when to ask again.",
        503: "Redis does not answer, or what it has is not whole or not of the present; `Retry-After` as above.",
    }.items()
}
EXAMPLES: dict[str, Any] = {
    "features": {
        "summary": "Features of two users at the present",
        "value": {
            "features": ["user_activity:actions_30min", "user_activity:interests_1h"],
            "entities": {"user_id": ["ann", "bob"]},
        },
    },
    "service": {
        "summary": "A feature service at a given instant",
        "value": {
            "feature_service": "user_profile",
            "entities": {"user_id": ["ann", "bob"]},
            "as_of": "2026-03-04T12:00:00Z",
        },
    },
}
ANSWER: Any = {
    "metadata": {"rows": 2, "as_of": ["2026-03-04T12:00:00.000000Z"] * 2, "answered_by": "dualpath"},
    "results": {
        "user_id": ["ann", "bob"],
        "actions_30min": [3, 0],
        "interests_1h": [["books", "toys"], []],
    },
    "statuses": {
        "actions_30min": ["PRESENT", "NOT_FOUND"],
        "interests_1h": ["PRESENT", "NOT_FOUND"],
    },
}

SIMPLE = {str, int, bool, type(None)}
"""The types of values that JSON has as they are."""
NUMBERS = {float, int, bool, type(None)}
"""Those of columns whose sum tells whether all values are finite."""


class JsonRoute(APIRoute):
    """A route whose JSON is strict: no NaN, no half of a surrogate pair, and integers of any length stay integers."""

    def get_route_handler(self) -> Any:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return strictly


class JsonRequest(Request):
    """A request whose body is read by pydantic's parser."""

    async def json(self) -> Any:
        body = await self.body()
        try:
            return from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from None


class Question(BaseModel):
    """Which features of which entities, and at which instant."""

    model_config = ConfigDict(extra="forbid")

    features: list[str] | None = Field(None, description="Features as `view:feature`.")
    feature_service: str | None = Field(None, description="A feature service, in place of `features`.")
    entities: dict[str, list[Any]] = Field(
        description="Join keys, and request data of on-demand views: one value a row. A null key is nobody."
    )
    as_of: str | list[str] | None = Field(
        None, description="The instant of all rows or of each, ISO-8601, UTC without a zone; by default the present."
    )
    full_feature_names: bool = Field(False, description="Whether names in the answer begin with the view, `view__`.")

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> "Question":
        if (self.features is None) == (self.feature_service is None):
            raise ValueError("give either features or a feature_service")
        return self

    def rows(self) -> dict[str, list[Any]]:
        """The entity rows, as `get_online_features` takes them."""
        if self.as_of is None:
            return self.entities
        if instants.COLUMN in self.entities:
            raise InputError(f"the request has 'as_of' and entities with '{instants.COLUMN}'; leave one of them out.")
        count = len(next(iter(self.entities.values()), []))
        each = [self.as_of] * count if isinstance(self.as_of, str) else self.as_of
        return {**self.entities, instants.COLUMN: each}


class Metadata(BaseModel):
    """About the answer as a whole."""

    rows: int
    as_of: list[str] = Field(description="The instant of each row, ISO-8601 with microseconds, UTC.")
    answered_by: str = Field(
        description="`dualpath`, or `feast` for a request with an ordinary or an on-demand view, or for a feature "
        "service whose answers are logged."
    )


class Answer(BaseModel):
    """Columns with a value for each row of the request."""

    model_config = ConfigDict(json_schema_extra={"examples": [ANSWER]})

    metadata: Metadata
    results: dict[str, list[Any]] = Field(description="First the join keys, then the features in the order asked.")
    statuses: dict[str, list[str]] = Field(
        description="Of each feature: PRESENT, NOT_FOUND, or another of Feast's statuses."
    )


def router(store: FeatureStore) -> APIRouter:
    """The routes that read features."""
    routes = APIRouter(route_class=JsonRoute, dependencies=[allowed("features")], responses=REFUSALS, tags=["features"])
    online: Any = store._get_provider().online_store

    @routes.post("/features", response_model=Answer)
    async def features(question: Annotated[Question, Body(openapi_examples=EXAMPLES)]) -> Response:
        """The values of features: the same bits as `get_online_features` in Python.

        Floats are written with the fewest digits that give the same bits, integers of 64 bits in full, decimals as
        floats, ordinary timestamps in ISO-8601, UTC.
        """
        asked = _asked(store, question)
        found = await online.get_columns(
            store.config, asked, question.rows(), store.registry, question.full_feature_names
        )
        return Response(encoded(found), media_type="application/json")

    return routes


def _asked(store: FeatureStore, question: Question) -> FeatureService | list[str]:
    if question.feature_service is not None:
        return store.get_feature_service(question.feature_service, allow_cache=True)
    return question.features or []


def encoded(found: Columns) -> bytes:
    """An answer as JSON."""
    statuses: dict[int, orjson.Fragment] = {}
    for each in found.statuses.values():  # the features of a view share one list
        if id(each) not in statuses:
            statuses[id(each)] = orjson.Fragment(orjson.dumps(each))
    answer = {
        "metadata": {
            "rows": len(found.as_of),
            "as_of": [f"{each}Z" for each in found.as_of.astype("datetime64[us]").astype(str).tolist()],
            "answered_by": "feast" if found.by_feast else "dualpath",
        },
        "results": plain(found.values),
        "statuses": {name: statuses[id(each)] for name, each in found.statuses.items()},
    }
    return orjson.dumps(answer, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


def plain(value: Any) -> Any:
    """Values in forms that JSON has: NaN and the infinities are texts, as in protobuf's JSON, and bytes are base64.

    Sums of doubles may be infinite. Only ordinary and on-demand views have what else is not plain.

    >>> plain({"rate": [0.1, None, float("nan")], "hashed": [b"\\x00"], "counts": [{7: float("-inf")}]})
    {'rate': [0.1, None, 'NaN'], 'hashed': ['AA=='], 'counts': [{'7': '-Infinity'}]}
    """
    match value:
        case list() | tuple() | set():
            kinds = set(map(type, value))
            if kinds <= SIMPLE or (kinds <= NUMBERS and math.isfinite(sum(filter(None, value)))):
                return [*value]
            return [plain(each) for each in value]
        case dict():
            return {str(key): plain(each) for key, each in value.items()}
        case float():
            return value if math.isfinite(value) else "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"
        case bytes():
            return base64.b64encode(value).decode()
        case Decimal():
            return str(value)
    return value
