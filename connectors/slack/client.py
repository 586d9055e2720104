"""Slack's Web API, as far as we use it: post, change, whisper, and find what was posted.

Slack offers no idempotency key. A message therefore carries a key of ours in its metadata, by which `find` tells
whether a call that was never answered arrived; whoever posts looks there before posting again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackRequestError
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler
from slack_sdk.web import SlackResponse

from connectors.errors import PermanentError, TransientError

EVENT_TYPE = "stockflow_notice"
_PAGE = 200
_READING = {"conversations.history", "conversations.replies"}
# What only Slack or time can mend; all other refusals need a person.
_TRANSIENT = {"ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout", "rate_limited"}
_ADVICE = {
    "channel_not_found": "check `slack.channel` in config.yaml",
    "not_in_channel": "invite the app to the channel",
    "is_archived": "choose another channel in config.yaml",
    "invalid_auth": "renew `slack.token` in config.yaml",
    "not_authed": "set `slack.token` in config.yaml",
    "token_revoked": "renew `slack.token` in config.yaml",
    "account_inactive": "renew `slack.token` in config.yaml",
    "missing_scope": "give the app the scopes chat:write and channels:history, and install it again",
}


@dataclass(frozen=True)
class Posted:
    """A message in Slack: `channel` is its id, `ts` the message's."""

    channel: str
    ts: str


class SlackClient:
    """Every call raises TransientError when trying again later may help, PermanentError when a person must act.

    `base_url` ends with a slash. A 429 is waited out as Slack asks, up to three times; nothing else is repeated here,
    since a message whose answer was lost may be there.
    """

    def __init__(self, token: str, base_url: str = "https://slack.com/api/", timeout: int = 10):
        self._web = WebClient(
            token, base_url=base_url, timeout=timeout, retry_handlers=[RateLimitErrorRetryHandler(max_retry_count=3)]
        )

    def post(
        self, channel: str, text: str, blocks: Sequence[dict[str, Any]], *, key: str, thread_ts: str | None = None
    ) -> Posted:
        """Posts a message that `find` finds by `key`; `text` is what notifications show."""
        answer = self._call(
            "chat.postMessage", channel=channel, text=text, blocks=list(blocks), thread_ts=thread_ts,
            unfurl_links=False, metadata={"event_type": EVENT_TYPE, "event_payload": {"key": key}},
        )  # fmt: skip
        return Posted(str(answer["channel"]), str(answer["ts"]))

    def update(self, message: Posted, text: str, blocks: Sequence[dict[str, Any]], *, key: str) -> None:
        """Replaces a message's content."""
        self._call(
            "chat.update", channel=message.channel, ts=message.ts, text=text, blocks=list(blocks),
            metadata={"event_type": EVENT_TYPE, "event_payload": {"key": key}},
        )  # fmt: skip

    def whisper(self, channel: str, user: str, text: str) -> None:
        """Shows a message to one person in a channel; nobody else sees it, and it does not stay."""
        self._call("chat.postEphemeral", channel=channel, user=user, text=text)

    def find(self, channel: str, key: str, *, since: dt.datetime, thread_ts: str | None = None) -> Posted | None:
        """The message of ours with this key, in the channel or in a thread, posted at or after `since`."""
        method = "conversations.history" if thread_ts is None else "conversations.replies"
        cursor = None
        while True:
            answer = self._call(
                method, channel=channel, ts=thread_ts, oldest=f"{since.timestamp():.6f}", limit=_PAGE, cursor=cursor,
                include_all_metadata=True,
            )  # fmt: skip
            for message in answer["messages"]:
                metadata = message.get("metadata") or {}
                if metadata.get("event_type") == EVENT_TYPE and metadata.get("event_payload", {}).get("key") == key:
                    return Posted(str(answer.get("channel") or channel), str(message["ts"]))
            cursor = (answer.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return None

    def _call(self, method: str, **values: Any) -> SlackResponse:
        given = {name: value for name, value in values.items() if value is not None}
        try:
            # Methods that read take a form and no JSON.
            if method in _READING:
                return self._web.api_call(method, params=given)
            return self._web.api_call(method, json=given)
        except SlackApiError as error:
            status = getattr(error.response, "status_code", 200)
            said = error.response.get("error") if isinstance(error.response.data, dict) else None
            if status == 429 or status >= 500 or said in _TRANSIENT:
                raise TransientError(f"Slack cannot take {method} now ({said or status}): it is tried again.") from None
            advice = _ADVICE.get(said or "", "look the error up in Slack's documentation of the method")
            raise PermanentError(f"Slack refused {method} ({said or status}): {advice}.") from None
        except (SlackRequestError, URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise TransientError(
                f"Slack did not answer {method} ({type(reason).__name__}): it is tried again."
            ) from None
