"""The application: its parts put together. `create_app` is the only thing to call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fastapi import FastAPI
from sqlalchemy import Engine

from operations.api import decisions, health, problems, records, webhooks
from operations.api.limits import BodyLimit
from operations.inbox import Verifier

log = logging.getLogger(__name__)

DESCRIPTION = """
Purchasing, sales and stock in one scheduled loop.

Authenticate with `Authorization: Bearer <token>` (`stockflow token create`). Failures are problem details (RFC 9457).
Pages are asked for with the cursor that the page before returned. Approving and rejecting may be repeated.
"""


class Explainer(Protocol):
    """Recomputes a proposal from its frozen inputs."""

    def __call__(self, proposal_id: str) -> Mapping[str, Any]:
        """What the number follows from, as JSON; the reason and whether the recomputed number is the proposed one."""
        ...


def create_app(
    engine: Engine,
    *,
    explainer: Explainer | None = None,
    health_checks: Mapping[str, Callable[[], str | None]] | None = None,
    verifiers: Mapping[str, Verifier] | None = None,
    on_event: Callable[[], object] | None = None,
    max_body_bytes: int = 1_000_000,
) -> FastAPI:
    """The API on one database, as the application's role.

    `health_checks` return None when all is well, else a sentence. `verifiers` know the signatures of the sources that
    may post to /webhooks/<source>; `on_event` is called after one was stored and acknowledged. Without an explainer, explanations are answered with 404.
    """
    app = FastAPI(title="Stockflow", version="1", description=DESCRIPTION, redoc_url=None)
    app.state.engine = engine
    app.state.explainer = explainer
    app.state.health_checks = dict(health_checks or {})
    app.state.verifiers = dict(verifiers or {})
    app.state.on_event = on_event
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)
    problems.install(app)
    for part in (health, decisions, records, webhooks):
        app.include_router(part.router)
    return app
