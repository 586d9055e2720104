"""A limit on request bodies, whether their length is declared or not."""

from __future__ import annotations

import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from operations.api.problems import problem


class BodyTooLarge(Exception):
    """More bytes came than are allowed."""


class BodyLimit:
    """ASGI middleware that answers 413 as soon as a body is known to be too large, without reading the rest."""

    def __init__(self, app: ASGIApp, max_bytes: int):
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = problem(413, "The request is too large", f"At most {self._max_bytes} bytes are accepted.")
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._max_bytes:
            await refusal(scope, receive, send)
            return
        received, too_large, answered = 0, False, False

        async def counted() -> Message:
            nonlocal received, too_large
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                too_large = True
                raise BodyTooLarge
            return message

        async def unless_too_large(message: Message) -> None:
            # The application turns the error into an answer of its own; ours is the one that says what is wrong.
            nonlocal answered
            if not too_large or answered:
                answered = True
                await send(message)

        with contextlib.suppress(BodyTooLarge):
            await self._app(scope, counted, unless_too_large)
        if too_large and not answered:
            await refusal(scope, receive, send)
