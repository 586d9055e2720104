"""Slack: what people are told there, and what they press.

Belongs here: calling Slack's Web API, laying messages out in Block Kit, checking Slack's signatures and reading what a
press means. Does not belong here: what is told to whom and when, nor what a press leads to (orchestration wires that).

A Slack app needs the scopes chat:write and channels:history (groups:history for a private channel), and interactivity
switched on with the request URL https://<your host>/webhooks/slack.
"""

from connectors.slack.client import Posted, SlackClient
from connectors.slack.interaction import Press, SlackVerifier

__all__ = ["Posted", "Press", "SlackClient", "SlackVerifier"]
