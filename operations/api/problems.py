"""How failures look on the wire: problem details, RFC 9457, with one sentence and never a secret."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from operations.errors import (
    Conflict,
    DatabaseUnavailable,
    Invalid,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    OperationsError,
)

log = logging.getLogger(__name__)

_STATUS: dict[type[OperationsError], tuple[int, str]] = {
    NotAuthenticated: (401, "Not authenticated"),
    NotAllowed: (403, "Not allowed"),
    NotFound: (404, "Not found"),
    Conflict: (409, "Conflict"),
    Invalid: (422, "Invalid"),
    DatabaseUnavailable: (503, "The database is not available"),
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": title,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, title in (*_STATUS.values(), (413, "The request is too large"))
}
"""For the routes' OpenAPI descriptions."""

SCHEMA = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "description": "Always about:blank: the status says what kind it is."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence: what happened and what to do."},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "Fields that are not as they must be."},
    },
}


def problem(
    status: int, title: str, detail: str | None = None, headers: dict[str, str] | None = None, **more: Any
) -> JSONResponse:
    """One problem as a response."""
    content = {
        "type": "about:blank",
        "title": title,
        "status": status,
        **({"detail": detail} if detail else {}),
        **more,
    }
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Makes every failure of the application a problem, and says so in its OpenAPI document."""

    @app.exception_handler(OperationsError)
    def _known(_: Request, error: OperationsError) -> JSONResponse:
        status, title = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), (500, "Failed"))
        headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "10"}}.get(status)
        return problem(status, title, str(error), headers)

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # What was sent is not sent back: it may be a secret in the wrong place.
        errors = [
            {"field": ".".join(str(part) for part in one["loc"]), "message": one["msg"]} for one in error.errors()
        ]
        return problem(422, "Invalid", "The request is not as it must be; see errors.", errors=errors)

    @app.exception_handler(DataError)
    def _not_storable(_: Request, error: DataError) -> JSONResponse:
        return problem(422, "Invalid", "A value is out of range, or a text holds characters that cannot be stored.")

    @app.exception_handler(HTTPException)
    def _http(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, HTTPStatus(error.status_code).phrase, None, dict(error.headers or {}))

    @app.exception_handler(Exception)
    def _unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem(500, "Failed", "Something unexpected happened; the server's log says what.")

    plain = app.openapi

    def with_problem() -> dict[str, Any]:
        document = plain()
        document.setdefault("components", {}).setdefault("schemas", {})["Problem"] = SCHEMA
        return document

    app.openapi = with_problem  # type: ignore[method-assign]
