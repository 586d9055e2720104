"""Which systems may post events to us, how their signatures are checked, and what their events do."""

from __future__ import annotations

from sqlalchemy import Engine

from operations import inbox
from operations.inbox import Handler, Verifier
from orchestration.settings import Settings


def verifiers(settings: Settings) -> dict[str, Verifier]:
    """By the name under which a source posts: /webhooks/<source>."""
    from connectors.slack import SlackVerifier

    slack = settings.business.slack
    return {} if slack is None else {"slack": SlackVerifier(slack.signing_secret)}


def sources(settings: Settings) -> list[str]:
    return [] if settings.business.slack is None else ["slack"]


def handlers(settings: Settings, engine: Engine) -> dict[str, Handler]:
    from orchestration.telling import Slack, press_handler

    slack = settings.business.slack
    return {} if slack is None else {"slack": press_handler(engine, Slack.of(slack))}


def process(settings: Settings, engine: Engine) -> inbox.Processed:
    """Handles what is in the inbox now."""
    return inbox.process(engine, handlers(settings, engine))
