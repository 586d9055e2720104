"""Who is calling, and on which database."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Engine

from operations.access import Principal, authenticate

_bearer = HTTPBearer(auto_error=False, description="An API token")


def _engine(request: Request) -> Engine:
    return request.app.state.engine


Database = Annotated[Engine, Depends(_engine)]


def _caller(
    database: Database, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    who = authenticate(database, credentials.credentials if credentials else None)
    who.need("viewer")
    return who


Caller = Annotated[Principal, Depends(_caller)]
"""Somebody with at least one role. What more is needed, each function of operations checks itself."""
