"""Whether the system works, and who one is to it."""

from __future__ import annotations

import logging

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from operations.api.caller import Caller, Database
from operations.api.models import Exact
from operations.api.problems import RESPONSES
from operations.errors import OperationsError
from operations.migrations import current_revision, head_revision

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1", tags=["health"])


class Health(BaseModel):
    """`checks` by name: true when well. What is wrong is in the server's log and in the details."""

    status: str
    checks: dict[str, bool]


class HealthDetails(BaseModel):
    """`checks` by name: null when well, else a sentence."""

    status: str
    checks: dict[str, str | None]


class Me(BaseModel):
    username: str
    roles: list[str]
    amount_limit: Exact | None
    currency: str | None


def _checks(request: Request) -> dict[str, str | None]:
    def database() -> str | None:
        with request.app.state.engine.connect() as db:
            at = current_revision(db)
        return None if at == head_revision() else f"The database is at version {at}: run `stockflow setup`."

    found: dict[str, str | None] = {}
    for name, check in {"database": database, **request.app.state.health_checks}.items():
        try:
            found[name] = check()
        except (OperationsError, sa.exc.SQLAlchemyError, OSError) as error:
            found[name] = str(error) if isinstance(error, OperationsError) else f"{type(error).__name__}"
        if found[name] is not None:
            log.warning("health: %s: %s", name, found[name])
    return found


@router.get("/health")
def health(request: Request, response: Response) -> Health:
    """Whether the system works; 503 when it does not. Needs no token."""
    checks = _checks(request)
    well = not any(checks.values())
    response.status_code = 200 if well else 503
    return Health(status="ok" if well else "failing", checks={name: said is None for name, said in checks.items()})


@router.get("/health/details", responses=RESPONSES)
def health_details(request: Request, _: Caller) -> HealthDetails:
    """What is wrong, in sentences."""
    checks = _checks(request)
    return HealthDetails(status="failing" if any(checks.values()) else "ok", checks=checks)


@router.get("/me", responses=RESPONSES)
def me(who: Caller, _: Database) -> Me:
    """Who the token belongs to."""
    amount, currency = who.limit or (None, None)
    return Me(username=who.username, roles=sorted(who.roles), amount_limit=amount, currency=currency)
