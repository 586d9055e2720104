"""Events that other systems push: verified, stored, acknowledged. They are processed later, each once."""

from __future__ import annotations

from fastapi import APIRouter, BackgroundTasks, Request
from fastapi.concurrency import run_in_threadpool

from operations import inbox
from operations.api.models import Received
from operations.api.problems import RESPONSES
from operations.errors import NotAuthenticated

router = APIRouter(tags=["webhooks"])


@router.post("/webhooks/{source}", responses=RESPONSES)
async def receive(source: str, request: Request, background: BackgroundTasks) -> Received:
    """Takes an event of a source in. The signature is checked by the source's own rules over the raw body."""
    verify = request.app.state.verifiers.get(source)
    body = await request.body()
    headers = {name.lower(): value for name, value in request.headers.items()}
    event = None if verify is None else await run_in_threadpool(verify, headers, body, str(request.url))
    if event is None:
        # The same answer for a wrong signature and for a source that is not set up: nothing to learn here.
        raise NotAuthenticated("The event is not authentic: check the secret that it was signed with.")
    new = await run_in_threadpool(inbox.receive, request.app.state.engine, source, event)
    if new and request.app.state.on_event is not None:
        # After the answer: whoever sent it waits for seconds at most (Slack for three).
        background.add_task(request.app.state.on_event)
    return Received(new=new)
