"""What a press of a button brings: Slack's signature, then who pressed what on which message.

Signatures: https://docs.slack.dev/authentication/verifying-requests-from-slack (version v0).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qs

TOLERANCE_SECONDS = 300
TOPIC = "press"


@dataclass(frozen=True)
class Press:
    """A button pressed: `user`, `channel` and `message_ts` are Slack's ids, `action` and `value` what we put on it."""

    user: str
    action: str
    value: str
    channel: str
    message_ts: str

    @classmethod
    def read(cls, payload: Mapping[str, Any]) -> Press:
        """Back from what was stored of it."""
        return cls(**payload)


@dataclass(frozen=True)
class VerifiedPress:
    """An event for the inbox: its id follows from the signed content, so that a replay is the same event."""

    event_id: str
    topic: str
    payload: dict[str, str]


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What Slack sends as X-Slack-Signature: HMAC-SHA256 over v0:<timestamp>:<raw body>."""
    return "v0=" + hmac.new(secret.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()


class SlackVerifier:
    """The press that a request carries; None unless Slack signed these very bytes within the last five minutes."""

    def __init__(self, signing_secret: str, clock: Callable[[], float] = time.time):
        self._secret = signing_secret
        self._clock = clock

    def __call__(self, headers: Mapping[str, str], body: bytes, url: str) -> VerifiedPress | None:
        timestamp = headers.get("x-slack-request-timestamp", "")
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
            return None
        if abs(self._clock() - int(timestamp)) > TOLERANCE_SECONDS:
            return None
        expected = signature(self._secret, timestamp, body)
        if not hmac.compare_digest(expected.encode(), headers.get("x-slack-signature", "").encode()):
            return None
        press = _press(body)
        if press is None:
            return None
        return VerifiedPress(hashlib.sha256(body).hexdigest(), TOPIC, asdict(press))


def _press(body: bytes) -> Press | None:
    """None for interactions of another kind, and for buttons that are not ours."""
    try:
        payload = json.loads(parse_qs(body.decode())["payload"][0])
        if payload["type"] != "block_actions":
            return None
        action, container = payload["actions"][0], payload["container"]
        return Press(
            user=payload["user"]["id"], action=action["action_id"], value=action["value"],
            channel=container["channel_id"], message_ts=container["message_ts"],
        )  # fmt: skip
    except (KeyError, IndexError, ValueError, TypeError):
        return None
