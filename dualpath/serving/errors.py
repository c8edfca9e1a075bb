"""The one form of every refusal, `{"error": {"code", "message", "where"}}`, and the one place that says which it is."""

from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from feast.errors import FeastError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from dualpath.errors import DualpathError
from dualpath.feast.errors import statuses

RETRY_SECONDS = 1
"""After which a caller may ask again what was refused with 503: a Redis that comes back is used at once."""
CODES = {400: "input", 401: "no-key", 403: "scope", 404: "not-found", 405: "method", 413: "too-large"}
"""The codes of refusals that no error of dualpath's stands behind, by their HTTP status."""


class ErrorDetail(BaseModel):
    """What was refused."""

    code: str = Field(description="The kind of refusal, for programs; it never changes.", examples=["input"])
    message: str = Field(description="What is wrong, and what to do about it.")
    where: str | None = Field(description="The part of the request that is wrong, if it is a part.", examples=["body"])


class ErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorDetail


class Refusal(Exception):  # noqa: N818
    """A request that the application itself refuses."""

    def __init__(self, status: int, code: str, message: str, where: str, headers: dict[str, str]) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.where, self.headers = status, code, message, where, headers

    def response(self) -> Response:
        """What the caller gets."""
        return refusal(self.status, self.code, self.message, self.where, self.headers)


def refusal(
    status: int, code: str, message: str, where: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    """A response in the common form; one that is a 503 says when to ask again."""
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers = {"Retry-After": str(RETRY_SECONDS)} | (headers or {})
    body = orjson.dumps({"error": {"code": code, "message": message, "where": where}})
    return Response(body, status, headers, "application/json")


def of_error(error: Exception) -> tuple[int, str, str] | None:
    """The HTTP status, the code and the message of an error of dualpath's or Feast's; None for any other."""
    if isinstance(error, DualpathError):
        return statuses(type(error))[0], error.code, error.message
    if isinstance(error, FeastError) and error.http_status_code() < HTTPStatus.INTERNAL_SERVER_ERROR:
        return error.http_status_code(), CODES.get(error.http_status_code(), "input"), str(error)
    return None


def add(app: FastAPI) -> None:
    """Let the application answer every error in the common form."""

    async def known(_: Request, error: Exception) -> Response:
        found = of_error(error)
        if found is None:
            raise error
        return refusal(*found)

    async def refused(_: Request, error: Any) -> Response:
        return error.response()

    async def invalid(_: Request, error: Any) -> Response:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = f"{where}: {first.get('ctx', {}).get('error', first['msg'])}; correct it as /docs describes."
        return refusal(422, "input", message, where)

    async def of_http(_: Request, error: Any) -> Response:
        status = error.status_code
        return refusal(
            status, CODES.get(status, "input"), f"{error.detail}; see /docs.", None, dict(error.headers or {})
        )

    async def defect(_: Request, error: Exception) -> Response:
        # Starlette raises the error again, so that its traceback is in the server's log.
        return refusal(500, "defect", "the server failed; its log says why.")

    for kind, handler in (
        (Refusal, refused),
        (RequestValidationError, invalid),
        (HTTPException, of_http),
        (DualpathError, known),
        (FeastError, known),
        (Exception, defect),
    ):
        app.add_exception_handler(kind, handler)
